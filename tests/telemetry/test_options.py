"""Wrong options raise when they are made; secrets are not shown."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.options import Telemetry


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"endpoint": "collector:4317"}, "Telemetry.endpoint"),
        ({"endpoint": "http://"}, "Telemetry.endpoint"),
        ({"endpoint": "http://[bad"}, "Telemetry.endpoint"),
        ({"endpoint": 4317}, "Telemetry.endpoint"),
        ({"endpoint": "http://user:s3cret@collector:4317"}, "Telemetry.headers"),
        ({"protocol": "http/json"}, "Telemetry.protocol"),
        ({"export_interval": 0}, "Telemetry.export_interval"),
        ({"export_interval": float("inf")}, "Telemetry.export_interval"),
        ({"flush_timeout": None}, "Telemetry.flush_timeout"),
        ({"flush_timeout": -1}, "Telemetry.flush_timeout"),
        ({"output_dir": ""}, "Telemetry.output_dir"),
        ({"headers": {"api-key": 5}}, "Telemetry.headers"),
        ({"headers": "api-key=s3cret"}, "Telemetry.headers"),
        ({"resource_attributes": [("a", "b")]}, "Telemetry.resource_attributes"),
    ],
)
def test_wrong_options(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        Telemetry(**options)
    assert "s3cret" not in str(caught.value)


def test_headers_are_not_shown_and_options_pickle() -> None:
    options = Telemetry(endpoint="https://collector:4317", headers={"api-key": "s3cret"})
    assert "s3cret" not in repr(options)
    assert pickle.loads(pickle.dumps(options)) == options
    assert hash(options) == hash(pickle.loads(pickle.dumps(options)))
    assert options != Telemetry(endpoint="https://collector:4317", headers={"api-key": "other"})

"""Where options and environment send spans and metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.options import Telemetry
from beam_zerobus.telemetry.destinations import check_destinations, describe_destinations, has_destination

COLLECTOR = "http://collector:4317"


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        (None, {}, False),
        (Telemetry(), {}, False),
        (Telemetry(endpoint=COLLECTOR), {}, True),
        (Telemetry(output_dir="/var/log"), {"OTEL_SDK_DISABLED": "true"}, True),
        (Telemetry(endpoint=COLLECTOR), {"OTEL_SDK_DISABLED": " True "}, False),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, True),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        (None, {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": COLLECTOR}, True),
        (None, {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": COLLECTOR, "OTEL_METRICS_EXPORTER": "none"}, False),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_METRICS_EXPORTER": "none"}, True),
    ],
)
def test_options_or_environment_name_a_destination(
    options: Telemetry | None, environment: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert has_destination(options) is expected


def test_a_signal_that_is_switched_off_has_no_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    (destination,) = describe_destinations(Telemetry(endpoint=COLLECTOR))
    assert destination.spans is None
    assert destination.metrics is not None


def test_each_signal_has_its_protocol_and_its_path(protocol: str) -> None:
    (destination,) = describe_destinations(Telemetry(endpoint=f"{COLLECTOR}/", protocol=protocol, headers={"Key": "1"}))
    assert destination.spans is not None
    assert destination.metrics is not None
    spans, metrics = destination.spans.keywords, destination.metrics.keywords
    assert spans["headers"] == metrics["headers"] == {"key": "1"}
    if protocol == "grpc":
        assert spans["endpoint"] == metrics["endpoint"] == f"{COLLECTOR}/"
    else:
        assert (spans["endpoint"], metrics["endpoint"]) == (f"{COLLECTOR}/v1/traces", f"{COLLECTOR}/v1/metrics")


def test_what_the_environment_says_is_left_to_the_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", COLLECTOR)
    (destination,) = describe_destinations(Telemetry())
    assert destination.spans is not None
    assert destination.spans.keywords == {}


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        ("http://user:s3cret@collector:4317/path?token=s3cret", "collector:4317"),
        ("s3cret@collector", "collector"),
        ("http://[s3cret", "the given address"),
    ],
)
def test_a_destinations_name_holds_no_credentials(endpoint: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    (destination,) = describe_destinations(Telemetry())
    assert destination.name == f"the OTLP receiver at {shown}"


def test_endpoint_and_directory_are_two_destinations(tmp_path: Path) -> None:
    one, other = describe_destinations(Telemetry(endpoint=COLLECTOR, output_dir=tmp_path))
    assert one.name == "the OTLP receiver at collector:4317"
    assert other.name == f"the files below {tmp_path}"


def test_an_unknown_protocol_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
    with pytest.raises(ConfigurationError, match=r"OTEL_EXPORTER_OTLP_PROTOCOL='http/json'.*use \"grpc\""):
        check_destinations(Telemetry(endpoint=COLLECTOR))

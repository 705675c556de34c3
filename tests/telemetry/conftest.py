"""A receiver of telemetry, and an environment without OpenTelemetry's variables."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from beam_zerobus.telemetry import providers
from tests.telemetry.receiver import Receiver


@pytest.fixture(autouse=True)
def no_otel_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_providers_left() -> Iterator[None]:
    yield
    providers.shutdown()


@pytest.fixture(params=["grpc", "http/protobuf"])
def protocol(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    """Start receivers that end with the test."""
    with ExitStack() as receivers:
        yield lambda *args, **kwargs: receivers.enter_context(Receiver(*args, **kwargs))
        providers.shutdown()  # while the receivers still run

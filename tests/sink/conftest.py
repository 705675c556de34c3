"""Shared by the sink's tests: a pipeline that runs here, and a sink to the emulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_zerobus import OAuthClientCredentials, WriteToZerobus
from beam_zerobus.emulator import Emulator
from beam_zerobus.writer.shared import close_all

TABLE = "main.iot.air"


@pytest.fixture
def sink(emulator: Emulator) -> Iterator[Callable[..., WriteToZerobus]]:
    """Make sinks to the emulator; their writers are closed at the end."""

    def make(table: str = TABLE, **settings: Any) -> WriteToZerobus:
        credentials = OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret)
        return WriteToZerobus(
            table,
            **{
                "endpoint": emulator.endpoint,
                "workspace_url": emulator.workspace_url,
                "credentials": credentials,
                **settings,
            },
        )

    yield make
    close_all()


@pytest.fixture
def run() -> Callable[..., Any]:
    """Build a pipeline with a function and run it on FnApiRunner; return its result."""

    def run_it(build: Callable[[beam.Pipeline], Any]) -> Any:
        pipeline = beam.Pipeline(runner=FnApiRunner())
        build(pipeline)
        result = pipeline.run()
        result.wait_until_finish()
        return result

    return run_it

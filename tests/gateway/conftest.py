"""A gateway in front of an emulator, and what a Flight client does with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

from beam_zerobus import OAuthClientCredentials, Retry
from beam_zerobus.emulator import Emulator
from beam_zerobus.emulator.tables.table import Table
from beam_zerobus.gateway import Gateway, GatewaySettings

TABLE = "main.iot.air"
COLUMNS = "id BIGINT NOT NULL, device STRING"


def batch(*ids: int | None) -> pa.RecordBatch:
    return pa.record_batch({"id": pa.array(ids, pa.int64()), "device": pa.array(["attic"] * len(ids))})


def path(table: str = TABLE) -> Any:
    return flight.FlightDescriptor.for_path(table)


def put(
    client: Any, batches: Iterable[pa.RecordBatch], table: str = TABLE, options: Any = None
) -> list[dict[str, Any]]:
    """Send batches in one call, and return their results; raises what the call ends with."""
    batches = list(batches)
    writer, reader = client.do_put(path(table), batches[0].schema, options)
    for one in batches:
        writer.write_batch(one)
    writer.done_writing()
    results = []
    while (answer := reader.read()) is not None:
        results.append(json.loads(answer.to_pybytes()))
    writer.close()
    return results


@pytest.fixture
def table(emulator: Emulator) -> Table:
    return emulator.create_table(TABLE, COLUMNS)


@pytest.fixture
def service(emulator: Emulator) -> dict[str, Any]:
    """Options of a writer that reach the emulator."""
    return {
        "endpoint": emulator.endpoint,
        "workspace_url": emulator.workspace_url,
        "credentials": OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret),
        "retry": Retry(max_retries=1, initial_backoff=0.05),
    }


@pytest.fixture
def start(service: dict[str, Any]) -> Iterator[Callable[..., Gateway]]:
    """Start gateways, which are stopped at the end; `defaults` are added to those that reach the service."""
    with ExitStack() as stack:

        def start(*, defaults: dict[str, Any] | None = None, **settings: Any) -> Gateway:
            defaults = {**service, **(defaults or {})}
            gateway = Gateway(GatewaySettings(**{"port": 0, "stop_timeout": 5, **settings}, defaults=defaults))
            stack.callback(gateway.stop)
            return gateway

        yield start


@pytest.fixture
def client(start: Callable[..., Gateway]) -> Iterator[Any]:
    with flight.connect(start().location) as client:
        yield client

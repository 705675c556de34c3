"""Schemas, actions and health."""

import json
from typing import Any

import pyarrow as pa
import pytest
import requests
from pyarrow import flight

from tests.gateway.conftest import TABLE, batch, path, put


def act(client: Any, name: str, body: str = "") -> dict[str, Any]:
    [result] = client.do_action(flight.Action(name, body.encode()))
    return json.loads(result.body.to_pybytes())


def test_the_schema_of_a_table(client, table):
    schema = client.get_schema(path()).schema
    assert (schema.names, schema.field("id").nullable) == (["id", "device"], False)
    info = client.get_flight_info(flight.FlightDescriptor.for_path("main", "iot", "air"))
    assert (info.schema, info.endpoints) == (schema, [])


def test_the_schema_of_a_missing_table(client):
    with pytest.raises(pa.ArrowKeyError, match="does not exist"):
        client.get_schema(path("main.iot.missing"))


def test_actions(client, table):
    assert {action.type for action in client.list_actions()} == {"check", "flush", "health"}
    state = act(client, "health")
    assert state.pop("credentials") in ("unknown", "accepted")  # a thread finds out
    assert state == {"status": "serving", "calls": 0}
    assert act(client, "check", TABLE) == {"table": TABLE, "columns": ["id", "device"]}
    put(client, [batch(1)])
    assert act(client, "flush", TABLE) == {"table": TABLE, "flushed": True}
    with pytest.raises(pa.ArrowInvalid, match="no action 'drop': use check, flush, health"):
        act(client, "drop")


def test_what_reads_is_rejected_with_a_reason(client):
    for read in (
        lambda: list(client.list_flights()),
        lambda: client.do_get(flight.Ticket(b"")).read_all(),
        client.do_exchange(path())[1].read_chunk,
    ):
        with pytest.raises(pa.ArrowNotImplementedError, match="The gateway only writes: send batches with DoPut"):
            read()


def test_health_over_http(start):
    gateway = start(health_port=0)
    answer = requests.get(f"http://127.0.0.1:{gateway.health_port}/health", timeout=20)
    assert (answer.status_code, answer.json()["status"]) == (200, "serving")
    assert requests.get(f"http://127.0.0.1:{gateway.health_port}/tables", timeout=20).status_code == 404

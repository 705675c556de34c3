"""The control API, as a test in another language uses it: plain HTTP and JSON."""

import json
from typing import Any

import grpc
import pytest
import requests
from openapi_spec_validator import validate

from beam_zerobus.emulator import Emulator, Faults

from .sdk import RawStream, Stream, eventually
from .test_rest import insert

TABLE = "main.iot.air"
DDL = "id BIGINT NOT NULL, name STRING"


def ask(emulator: Emulator, method: str, path: str, body: Any = None, token: str | None = None) -> requests.Response:
    headers = {"Authorization": f"Bearer {emulator.control_token if token is None else token}"}
    return requests.request(method, f"{emulator.workspace_url}{path}", json=body, headers=headers, timeout=20)


def asked(emulator: Emulator, method: str, path: str, body: Any = None) -> Any:
    answer = ask(emulator, method, path, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_without_its_token_it_does_nothing(emulator: Emulator) -> None:
    emulator.create_table(TABLE, DDL)
    for token in ("", "guess", emulator.issue_token(TABLE), emulator.client_secret):
        for method, path in (("DELETE", f"/control/tables/{TABLE}"), ("POST", "/control/reset"), ("PUT", "/control/x")):
            answer = ask(emulator, method, path, token=token)
            assert (answer.status_code, answer.json()["error_code"]) == (401, "UNAUTHENTICATED")
    assert [table.name for table in emulator.tables] == [TABLE]
    assert emulator.control_token not in repr(emulator) + repr(emulator._servers._control)
    assert requests.get(f"{emulator.workspace_url}/health", timeout=20).json() == {"status": "ok"}
    assert requests.post(f"{emulator.workspace_url}/health", timeout=20).status_code == 404


def test_tables_are_created_read_and_dropped(emulator: Emulator) -> None:
    made = asked(emulator, "POST", "/control/tables", {"name": TABLE, "columns": DDL})
    assert (made["name"], made["columns"]) == (TABLE, DDL)
    assert asked(emulator, "GET", "/control/tables") == {"tables": [made]}
    assert asked(emulator, "POST", "/control/tables", {"name": TABLE, "columns": DDL}) == made
    layout = {"partitioned_by": ["day"], "rescue_column": "_rescued"}
    asked(
        emulator, "POST", "/control/tables", {"name": "main.iot.b", "columns": "day DATE, _rescued VARIANT", **layout}
    )
    assert emulator.table("main.iot.b").layout.partitioned_by == ("day",)
    with Stream(emulator, TABLE, DDL) as stream:
        stream.send([{"id": number} for number in range(10)])
        stream.flush()
    found = asked(emulator, "GET", f"/control/tables/{TABLE}/rows?offset=8&limit=5")
    assert (found["count"], len(found["rows"])) == (10, 2)
    asked(emulator, "DELETE", f"/control/tables/{TABLE}")
    assert ask(emulator, "GET", f"/control/tables/{TABLE}/rows").status_code == 404
    assert ask(emulator, "DELETE", f"/control/tables/{TABLE}").status_code == 404


def test_columns_are_added_dropped_and_widened(emulator: Emulator) -> None:
    emulator.create_table(TABLE, "id INT, name STRING")
    path = f"/control/tables/{TABLE}/alter"
    for change, columns in (
        ({"add": "note STRING, x INT"}, "id INT, name STRING, note STRING, x INT"),
        ({"drop": "name"}, "id INT, note STRING, x INT"),
        ({"widen": "id", "to": "BIGINT"}, "id BIGINT, note STRING, x INT"),
    ):
        assert asked(emulator, "POST", path, change)["columns"] == columns
    for change in ({}, {"add": "a INT", "drop": "x"}, {"widen": "x"}, {"drop": "x", "to": "INT"}, {"drop": "none"}):
        assert ask(emulator, "POST", path, change).status_code == 400
    made = asked(emulator, "POST", "/control/tables", {"name": "main.otel.spans", "otlp": "traces"})
    assert made["columns"].startswith("record_id STRING, time TIMESTAMP, date DATE, service_name STRING")
    assert ask(emulator, "POST", "/control/tables", {"name": "main.otel.b", "otlp": "x"}).status_code == 400


def test_rows_read_back_as_they_were_inserted(emulator: Emulator) -> None:
    ddl = (
        "id BIGINT, f DOUBLE, g FLOAT, b BOOLEAN, raw BINARY, price DECIMAL(10,2), day DATE, at TIMESTAMP, "
        "local TIMESTAMP_NTZ, tags ARRAY<STRING>, m MAP<INT, DOUBLE>, p STRUCT<x: DATE, y: ARRAY<BIGINT>>, v VARIANT"
    )
    emulator.create_table(TABLE, ddl)
    full = {
        "id": 2**63 - 1,
        "f": 1.5,
        "g": "NaN",
        "b": True,
        "raw": "/wA=",
        "price": "-12345678.90",
        "day": -719162,
        "at": 253402300799999999,
        "local": -1,
        "tags": ["a", None],
        "m": {"1": 2.5, "2": "-Infinity"},
        "p": {"x": 3, "y": [1, 2]},
        "v": '{"a": [1]}',
    }
    rows = [full, dict.fromkeys(full)]
    assert insert(emulator, rows, table=TABLE).status_code == 200
    found = asked(emulator, "GET", f"/control/tables/{TABLE}/rows")["rows"]
    assert sorted(found, key=json.dumps) == sorted(rows, key=json.dumps)


def test_grants_faults_tokens_and_statistics(emulator: Emulator) -> None:
    emulator.create_table(TABLE, DDL)
    assert (
        "MODIFY" not in asked(emulator, "POST", f"/control/tables/{TABLE}/revoke", {"privileges": ["MODIFY"]})["grants"]
    )
    assert insert(emulator, [{"id": 1}]).status_code == 403
    asked(emulator, "POST", f"/control/tables/{TABLE}/grant", {})
    faults = {
        "script": [{"kind": "status", "at_call": 1, "code": "ABORTED"}],
        "reject_rows": [{"column": "id", "value": 7}],
        "ack_delay": 0,
    }
    assert asked(emulator, "PUT", "/control/faults", faults)["script"][0]["code"] == "ABORTED"
    assert asked(emulator, "GET", "/control/faults")["reject_rows"] == [{"column": "id", "value": 7, "table": None}]
    token = asked(emulator, "POST", "/control/tokens", {"table": TABLE})["access_token"]
    assert [insert(emulator, [{"id": number}], token).status_code for number in (1, 7, 2)] == [500, 400, 200]
    asked(emulator, "POST", "/control/tokens/revoke")
    assert insert(emulator, [{"id": 1}], token).status_code == 401
    found = asked(emulator, "GET", "/control/statistics")
    assert (found["tables"][TABLE]["calls"], found["faults"]) == (3, {"status": 1})


def test_the_clock_moves_without_waiting() -> None:
    with Emulator(readable_after=3600, token_life=7200) as emulator:
        table = emulator.create_table(TABLE, DDL)
        token = emulator.issue_token(TABLE)
        assert insert(emulator, [{"id": 1}], token).status_code == 200
        for seconds, rows in ((1800, 0), (1800, 1)):
            asked(emulator, "POST", "/control/clock", {"seconds": seconds})
            assert table.count_rows() == rows
        assert insert(emulator, [{"id": 2}], token).status_code == 200
        with RawStream(emulator, TABLE, token) as stream:
            stream.create(TABLE)
            assert stream.receive().create_stream_response.stream_id
            asked(emulator, "POST", "/control/clock", {"seconds": 3600})
            assert stream.end()[0] is grpc.StatusCode.UNAUTHENTICATED
        assert insert(emulator, [{"id": 3}], token).status_code == 401
        assert insert(emulator, [{"id": 4}]).status_code == 200, "a new token"
        assert ask(emulator, "POST", "/control/clock", {"seconds": -1}).status_code == 400
        assert sorted(table.to_arrow()["id"].to_pylist()) == [1, 2]


def test_streams_are_rotated(emulator: Emulator) -> None:
    emulator.create_table(TABLE, DDL)
    with RawStream(emulator, TABLE, emulator.issue_token(TABLE)) as stream:
        stream.create(TABLE)
        assert stream.receive().create_stream_response.stream_id
        asked(emulator, "POST", "/control/streams/rotate", {"seconds": 0.1})
        assert stream.receive().HasField("close_stream_signal")
        code, message = stream.end()
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "6002" in message


def test_reset_makes_it_as_new(emulator: Emulator) -> None:
    emulator.create_table(TABLE, DDL)
    emulator.faults = Faults(ack_delay=0.01)
    stream = Stream(emulator, TABLE, DDL)
    stream.wait(stream.send([{"id": 1}]))
    asked(emulator, "POST", "/control/reset")
    eventually(lambda: emulator.stats.streams_open == 0)
    assert (emulator.tables, emulator.faults) == ((), Faults())
    assert (emulator.stats.streams_opened, emulator.stats.calls, dict(emulator.stats.tables)) == (0, (), {})
    asked(emulator, "POST", "/control/tables", {"name": TABLE, "columns": "id BIGINT"})
    assert insert(emulator, [{"id": 2}]).status_code == 200
    assert asked(emulator, "GET", f"/control/tables/{TABLE}/rows") == {"count": 1, "rows": [{"id": 2}]}


@pytest.mark.parametrize(
    ("method", "path", "body", "reason"),
    [
        ("POST", "tables", {"name": "a.b", "columns": "id INT"}, "catalog.schema.table"),
        ("POST", "tables", {"name": "a.b.c", "columns": "id NOTHING"}, "NOTHING"),
        ("POST", "tables", {"columns": "id INT"}, "NewTable.name is missing"),
        ("POST", "tables", {"name": "a.b.c"}, "set columns, or otlp"),
        ("POST", "tables", {"name": "a.b.c", "columns": 5}, "NewTable.columns must be string or null"),
        ("POST", "tables", {"name": "a.b.c", "columns": "id INT", "colour": 1}, "no member 'colour'"),
        ("POST", "tables", [], "NewTable must be an object"),
        ("PUT", "faults", {"rate": 3}, "rate=3"),
        ("PUT", "faults", {"rate": True}, "Faults.rate must be number"),
        ("PUT", "faults", {"ack_delay": 1e300}, "Faults.ack_delay=1e+300: set seconds"),
        ("PUT", "faults", {"script": [{"kind": "slow_ack", "at_call": 1, "delay": -1}]}, "delay=-1: set seconds"),
        ("PUT", "faults", {"script": [{"kind": "token", "at_token": 1, "http_status": 99999}]}, "from 400 to 599"),
        ("PUT", "faults", {"rate": 0.5, "codes": []}, "Faults.codes is empty"),
        ("POST", "streams/rotate", {"seconds": 1e300}, "seconds=1e+300: set seconds"),
        ("POST", "streams/rotate", {"seconds": -1}, "seconds=-1: set seconds"),
        ("PUT", "faults", {"script": [{"kind": "bang"}]}, "script[0].kind must be one of"),
        ("PUT", "faults", {"script": [{"kind": "drop", "at_call": "1"}]}, "at_call must be integer or null"),
        ("PUT", "faults", {"reject_rows": [{"predicate": "x"}]}, "no member 'predicate'"),
        ("PUT", "faults", {"reject_rows": [{"column": "id", "value": [1]}]}, "value must be a string"),
        ("POST", f"tables/{TABLE}/grant", {"privileges": ["OWN"]}, "'OWN'"),
        ("GET", f"tables/{TABLE}/rows?limit=-1", None, "limit must be"),
        ("GET", f"tables/{TABLE}/rows?limit=20000", None, "limit must be"),
        ("GET", f"tables/{TABLE}/rows?offset=x", None, "offset must be"),
    ],
)
def test_wrong_requests_say_what_is_wrong(emulator: Emulator, method: str, path: str, body: Any, reason: str) -> None:
    emulator.create_table(TABLE, DDL)
    answer = ask(emulator, method, f"/control/{path}", body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert reason in answer.json()["message"]
    assert len(emulator.tables) == 1


def test_the_description_names_every_path(emulator: Emulator) -> None:
    described = requests.get(f"{emulator.workspace_url}/control/openapi.json", timeout=20).json()
    validate(described)
    for path, operations in described["paths"].items():
        for method in ("get", "post", "put", "delete"):
            answer = ask(emulator, method.upper(), path.replace("{name}", "a.b.c"), {})
            exists = answer.json().get("error_code") != "ENDPOINT_NOT_FOUND"
            assert exists == (method in operations), (method, path)
            is_open = requests.request(method, f"{emulator.workspace_url}{path}", timeout=20).status_code != 401
            assert is_open == (path in ("/health", "/control/openapi.json")), (method, path)
    faults = described["paths"]["/control/faults"]["put"]["requestBody"]["content"]["application/json"]["schema"]
    assert faults["properties"]["script"]["items"]["required"] == ["kind"]
    assert "predicate" not in faults["properties"]["reject_rows"]["items"]["properties"]

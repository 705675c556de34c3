"""REST insert; curl is the witness for the protocol, Delta for the rows."""

import json
import subprocess
from typing import Any

import pytest
import requests
from deltalake import DeltaTable

from beam_zerobus.emulator import Emulator, Faults, RejectRows, ScriptedFault

TABLE = "main.iot.air"
DDL = "id BIGINT NOT NULL, name STRING, tags ARRAY<STRING>, v VARIANT"
ROWS = [{"id": 1, "name": "é", "tags": ["a", "b"], "v": '{"x": 1}'}, {"id": 2}]


@pytest.fixture(autouse=True)
def table(emulator: Emulator) -> None:
    emulator.create_table(TABLE, DDL)


def url(emulator: Emulator, table: str = TABLE) -> str:
    return f"{emulator.workspace_url}/zerobus/v1/tables/{table}/insert"


def insert(emulator: Emulator, body: Any, token: str | None = None, table: str = TABLE) -> requests.Response:
    headers = {"Authorization": f"Bearer {token or emulator.issue_token(table)}"}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(url(emulator, table), data=data, headers=headers, timeout=20)


def ids(emulator: Emulator) -> list[int]:
    return sorted(DeltaTable(emulator.table(TABLE).path).to_pyarrow_table()["id"].to_pylist())


def test_curl_writes_rows_that_read_back_equal(emulator: Emulator) -> None:
    command = ["curl", "-sS", "--noproxy", "*", "-X", "POST", url(emulator), "-d", json.dumps(ROWS)]
    command += ["-H", "Content-Type: application/json", "-H", f"Authorization: Bearer {emulator.issue_token(TABLE)}"]
    done = subprocess.run([*command, "-w", "%{http_code}"], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "{}200", done.stderr
    found = DeltaTable(emulator.table(TABLE).path).to_pyarrow_table().to_pylist()
    assert sorted(found, key=lambda row: row["id"]) == [ROWS[0], {"id": 2, "name": None, "tags": None, "v": None}]
    stats = emulator.stats.tables[TABLE]
    assert (stats.calls, stats.rows_received, stats.rows_acknowledged, stats.streams_opened) == (1, 2, 2, 0)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"[{]", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        ({"id": 1}, "must be a JSON array"),
        ([1], "record 0 is not a JSON object"),
        ([{"id": 1}, {"id": None}], "'id'"),
        ([{"id": 1}, {"id": 2, "colour": "red"}], "Error 8001: column 'colour' is not in the table (record 1)"),
        ([{"id": 1}, {"id": "x"}], "'id'"),
        (b'[{"id": 1}, {"id": 1e999}]', "column 'id' is BIGINT and has a value that does not fit it (record 1)"),
    ],
)
def test_a_request_with_a_bad_row_is_rejected_whole(emulator: Emulator, body: Any, reason: str) -> None:
    answer = insert(emulator, body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert reason in answer.json()["message"]
    assert insert(emulator, [{"id": 7}]).status_code == 200
    assert ids(emulator) == [7]


def test_tokens_tables_and_grants_are_checked(emulator: Emulator) -> None:
    for token in ("guess", emulator.issue_token(TABLE, life=-1)):
        answer = insert(emulator, ROWS, token)
        assert (answer.status_code, answer.json()["error_code"]) == (401, "UNAUTHENTICATED")
    for token in (emulator.issue_token(), emulator.issue_token("main.iot.other")):
        answer = insert(emulator, ROWS, token)
        assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")
    answer = insert(emulator, ROWS, table="main.iot.none")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "NOT_FOUND")
    emulator.table(TABLE).revoke("MODIFY")
    answer = insert(emulator, ROWS)
    assert answer.status_code == 403
    assert "4024" in answer.json()["message"]
    assert ids(emulator) == []


def test_bodies_are_bounded(emulator: Emulator) -> None:
    row = json.dumps([{"id": 1, "name": "x" * (2 << 20)}]).encode()
    assert insert(emulator, row).status_code == 200
    with requests.Session() as session:
        for token, length in ((emulator.issue_token(TABLE), 11 << 20), ("guess", 2 << 20)):
            request = requests.Request("POST", url(emulator), headers={"Authorization": f"Bearer {token}"}).prepare()
            request.headers["Content-Length"] = str(length)
            assert session.send(request, timeout=20).status_code == 413
    assert ids(emulator) == [1]


def test_faults_strike_requests(emulator: Emulator) -> None:
    emulator.faults = Faults(
        script=(
            ScriptedFault("status", at_call=1),
            ScriptedFault("status", at_call=2, code="RESOURCE_EXHAUSTED", after_storing=True),
            ScriptedFault("drop", at_call=3),
            ScriptedFault("no_ack", at_call=4),
            ScriptedFault("slow_ack", at_call=5, delay=0.05),
            ScriptedFault("status", at_call=7, code="OK"),
        ),
        reject_rows=(RejectRows(column="id", value=13),),
    )
    assert insert(emulator, [{"id": 1}]).status_code == 503
    limited = insert(emulator, [{"id": 2}])
    assert (limited.status_code, limited.headers["Retry-After"]) == (429, "1")
    for number in (3, 4):
        with pytest.raises(requests.ConnectionError):
            insert(emulator, [{"id": number}])
    assert insert(emulator, [{"id": 5}]).status_code == 200
    assert insert(emulator, [{"id": 13}]).status_code == 400
    with pytest.raises(requests.ConnectionError):
        insert(emulator, [{"id": 7}])
    assert ids(emulator) == [2, 4, 5]
    assert emulator.stats.tables[TABLE].rows_acknowledged == 1


def test_a_stopped_emulator_says_so(emulator: Emulator) -> None:
    table = emulator.table(TABLE)
    table.close(commit=True)
    assert insert(emulator, [{"id": 1}]).status_code == 503
    table.open()
    assert insert(emulator, []).status_code == 200

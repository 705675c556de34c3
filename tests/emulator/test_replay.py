"""Recordings are sent again: the same rows and the same answers, with faults; and differences are reported."""

import gzip
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests

from beam_zerobus import OAuthClientCredentials, ZerobusWriter
from beam_zerobus.cli import main
from beam_zerobus.emulator import Emulator, Faults, ScriptedFault
from beam_zerobus.emulator.recording.lines import read_lines
from beam_zerobus.errors import ConfigurationError

from .otlp_calls import call_grpc, call_http, request_of, span, table_for
from .sdk import FORMATS, RawStream, Stream, eventually
from .test_command import process
from .test_control import asked
from .test_rest import insert

TABLE = "main.iot.air"
DDL = "id BIGINT NOT NULL, name STRING"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.jsonl"


def rows(emulator: Emulator, table: str = TABLE) -> list[dict[str, Any]]:
    return sorted(emulator.table(table).to_arrow().to_pylist(), key=json.dumps)


def replayed(path: Path, storage: Path, *arguments: str) -> int:
    return main(["replay-calls", str(path), "--speed", "0", "--storage-dir", str(storage), *arguments])


def write(emulator: Emulator, wire_format: str, first: int) -> None:
    """Write 20 rows with our own writer, which recovers from faults."""
    credentials = OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret)
    with ZerobusWriter(
        TABLE,
        endpoint=emulator.endpoint,
        workspace_url=emulator.workspace_url,
        credentials=credentials,
        wire_format=wire_format,  # type: ignore[arg-type]
    ) as writer:
        for number in range(first, first + 20, 5):
            result = writer.send([{"id": number + index, "name": "a"} for index in range(5)])
            assert result.success


FAULTS = Faults(
    script=(
        ScriptedFault("status", at_call=2, code="UNAVAILABLE", after_storing=True),
        ScriptedFault("drop", at_call=4),
        ScriptedFault("slow_ack", at_call=6, delay=0.05),
        ScriptedFault("close", at_call=7, delay=5.0),
        ScriptedFault("reject", at_stream=3, code="RESOURCE_EXHAUSTED"),
        ScriptedFault("token", at_token=2, http_status=503),
    )
)


@pytest.mark.parametrize(
    "wire_format", ["proto", *(pytest.param(one, marks=pytest.mark.hostile) for one in FORMATS[1:])]
)
def test_a_session_with_faults_gives_the_same_rows_and_answers(
    path: Path, tmp_path: Path, wire_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Emulator(record_to=path) as emulator:
        emulator.create_table(TABLE, DDL)
        emulator.faults = FAULTS
        write(emulator, wire_format, 0)
        emulator.faults = None
        expected = rows(emulator)
        counts = emulator.stats.tables[TABLE]
    assert counts.rows_received > 20
    assert replayed(path, tmp_path / "again") == 0, capsys.readouterr().out
    assert "0 answers differ from the recording" in capsys.readouterr().out
    with Emulator(tmp_path / "again") as emulator:
        assert rows(emulator) == expected


def test_every_way_in_and_every_answer(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Emulator(record_to=path, token_life=100) as emulator:
        asked(emulator, "POST", "/control/tables", {"name": TABLE, "columns": DDL})
        token = emulator.issue_token(TABLE)
        assert insert(emulator, [{"id": 1}, {"id": 2}], token).status_code == 200
        assert insert(emulator, [{"id": "x"}], token).status_code == 400
        assert insert(emulator, [{"id": 1}], "guess").status_code == 401
        emulator.faults = Faults(script=(ScriptedFault("drop", at_call=1, after_storing=True),))
        with pytest.raises(requests.ConnectionError):
            insert(emulator, [{"id": 3}], token)
        with RawStream(emulator, TABLE, token) as stream:
            stream.create(TABLE)
            stream.receive()
            stream.send_json(0, '{"id": 4}')
            stream.receive()
            emulator.advance_clock(100)
            assert "expired" in stream.end()[1]
        assert insert(emulator, [{"id": 5}], token).status_code == 401
        fresh = emulator.issue_token(TABLE)
        emulator.restart()
        with RawStream(emulator, TABLE, fresh) as stream:
            stream.create(TABLE)
            stream.receive()
            stream.send_json(0, '{"id": 6}')
            stream.receive()
            asked(emulator, "POST", "/control/streams/rotate", {"seconds": 0})
            assert "Error 6002" in stream.end()[1]
        for name in ("gone", "stays"):
            admin = {"Authorization": f"Bearer {emulator.issue_token(admin=True)}"}
            statement = {"warehouse_id": emulator.warehouse_id, "statement": f"CREATE TABLE main.iot.{name} (id INT)"}
            url = f"{emulator.workspace_url}/api/2.0/sql/statements"
            assert requests.post(url, json=statement, headers=admin, timeout=20).status_code == 200
        emulator.drop_table("main.iot.gone")
        expected = rows(emulator)
    assert [row["id"] for row in expected] == [1, 2, 3, 4, 6]
    assert replayed(path, tmp_path / "again") == 0, capsys.readouterr().out
    with Emulator(tmp_path / "again") as emulator:
        assert rows(emulator) == expected
        assert [table.name for table in emulator.tables] == [TABLE, "main.iot.stays"]


def test_differences_are_reported(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Emulator(record_to=path) as emulator:
        emulator.create_table(TABLE, DDL)
        with RawStream(emulator, TABLE, emulator.issue_token(TABLE)) as stream:
            stream.create(TABLE)
            stream.send_json(0, '{"id": 1}')
            stream.send_last()
            assert stream.end()[0].name == "OK"
        assert insert(emulator, [{"id": 1}]).status_code == 200
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    next(line for line in lines if line.get("kind") == "end").update(
        by="server", code="UNAVAILABLE", message="elsewhere"
    )
    [line for line in lines if line.get("kind") == "answer"][-1]["status"] = 503
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert replayed(path, tmp_path / "again") == 1
    out = capsys.readouterr().out
    assert "recorded UNAVAILABLE 'elsewhere', now OK" in out
    assert f"POST /zerobus/v1/tables/{TABLE}/insert: recorded 503, now 200" in out
    assert "2 answers differ from the recording" in out


def test_a_masked_recording_says_what_cannot_be_sent(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Emulator(record_to=path, mask_values=True) as emulator:
        emulator.create_table(TABLE, DDL)
        assert insert(emulator, [{"id": 5, "name": "canary"}]).status_code == 200
        headers = {"Authorization": f"Bearer {emulator.control_token}"}
        requests.post(f"{emulator.workspace_url}/control/unknown", data="canary", headers=headers, timeout=20)
    assert b"canary" not in path.read_bytes()
    assert replayed(path, tmp_path / "again") == 1
    assert "1 call not sent: the mask left the body out" in capsys.readouterr().out
    with Emulator(tmp_path / "again") as emulator:
        assert rows(emulator) == [{"id": 1, "name": "xxxxxx"}]


def test_masked_changes_through_python_are_sent(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Emulator(record_to=path, mask_values=True) as emulator:
        for name in ("main.iot.dropped", "main.iot.reset"):
            emulator.create_table(name, DDL)
        emulator.drop_table("main.iot.dropped")
        emulator.revoke_tokens()
        emulator.reset()
        emulator.create_table(TABLE, DDL)
    assert replayed(path, tmp_path / "again") == 0, capsys.readouterr().out
    with Emulator(tmp_path / "again") as emulator:
        assert [table.name for table in emulator.tables] == [TABLE]


def test_a_running_emulator_gets_the_calls(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Emulator(record_to=path, client_id="me") as emulator:
        emulator.create_table(TABLE, DDL)
        assert insert(emulator, [{"id": 5}]).status_code == 200
    arguments = ["replay-calls", str(path), "--running", "--speed", "0"]
    monkeypatch.delenv("ZEROBUS_CONTROL_TOKEN", raising=False)
    assert main(arguments) == 2
    assert "set ZEROBUS_ENDPOINT, " in capsys.readouterr().err
    with Emulator(client_id="me") as other:
        variables = {
            "ZEROBUS_ENDPOINT": other.endpoint,
            "DATABRICKS_HOST": other.workspace_url,
            "DATABRICKS_CLIENT_ID": "me",
            "DATABRICKS_CLIENT_SECRET": other.client_secret,
            "ZEROBUS_CONTROL_TOKEN": other.control_token,
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert main(arguments) == 0, capsys.readouterr().out
        assert rows(other) == [{"id": 5, "name": None}]
        monkeypatch.setenv("DATABRICKS_CLIENT_ID", "you")
        assert main(arguments) == 2
        assert "--client-id me" in capsys.readouterr().err
        monkeypatch.setenv("DATABRICKS_CLIENT_ID", "me")
        monkeypatch.setenv("ZEROBUS_CONTROL_TOKEN", "of another")
        assert main(arguments) == 2
        assert "is not the address of an emulator with this ZEROBUS_CONTROL_TOKEN" in capsys.readouterr().err
    assert main(arguments) == 2  # it has stopped
    said = capsys.readouterr()
    assert said.out == ""
    assert f"nothing listens at {other.endpoint} (ZEROBUS_ENDPOINT): start beam-zerobus emulator" in said.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not a recording"),
        ("{}", "is not a recording"),
        ('{"zerobus_recording": 2}', "of version 2; this release reads version 1"),
        ('{"zerobus_recording": 1}\n', "has no valid client_id"),
        ('{"zerobus_recording": 1, "client_id": "a", "token_life": "x"}\n', "has no valid token_life"),
        (None, "cannot be read: No such file"),
    ],
)
def test_another_file_is_an_error(
    path: Path, content: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        path.write_text(content)
    assert main(["replay-calls", str(path)]) == 2
    assert message in capsys.readouterr().err


REQUEST = {"at": 1, "kind": "request", "call": 1, "method": "GET", "path": "/", "headers": {}, "auth": None, "body": ""}


def test_a_broken_line_is_an_error(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Emulator(record_to=path, memory=True):
        pass
    head = path.read_text().splitlines()[0]
    for line in (
        "nonsense",
        '{"at": 1, "kind": "poke"}',
        '{"at": "x", "kind": "kill"}',
        '{"at": 1, "kind": "message"}',
        '{"at": 1e300, "kind": "kill"}',
        '{"at": 1, "kind": "half_close", "call": []}',
        '{"at": 1, "kind": "end", "call": 1, "by": {}, "code": null, "message": null, "details": null}',
        *(
            json.dumps({**REQUEST, name: value})
            for name, value in {
                "path": "@127.0.0.1:9/",  # the host would be another
                "method": {},
                "headers": {"a": "b\r\nc: d"},
                "auth": {"token": []},
            }.items()
        ),
    ):
        path.write_text(f"{head}\n{line}\n")
        with pytest.raises(ConfigurationError, match=r"calls.jsonl, line 2: this is not a line of a recording"):
            list(read_lines(path))
    assert replayed(path, tmp_path / "again") == 2
    assert "calls.jsonl, line 2" in capsys.readouterr().err


@pytest.mark.hostile
def test_the_command_records_and_keeps_the_pace(path: Path, tmp_path: Path) -> None:
    with process("--table", f"{TABLE}={DDL}", "--record", str(path), "--mask-values") as running:
        with Stream(running, TABLE, DDL) as stream:
            stream.send([{"id": 77, "name": "canary"}])
            stream.flush()
        running.process.terminate()
        assert running.process.wait(20) == 0
    assert b"canary" not in path.read_bytes()
    assert main(["replay-calls", str(path), "--speed", "10", "--storage-dir", str(tmp_path / "again")]) == 0
    with Emulator(tmp_path / "again") as emulator:
        assert rows(emulator) == [{"id": 1, "name": "xxxxxx"}]


def test_faults_strike_the_same_call_of_several_streams(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = ScriptedFault("status", at_call=4, code="RESOURCE_EXHAUSTED")
    with Emulator(record_to=path, faults=Faults(script=(fault,), ack_delay=0.3)) as emulator:
        emulator.create_table(TABLE, DDL)
        token = emulator.issue_token(TABLE)
        with RawStream(emulator, TABLE, token) as one, RawStream(emulator, TABLE, token) as two:
            for stream in (one, two):
                stream.create(TABLE)
                stream.receive()
            for number in range(4):  # nothing is acknowledged meanwhile
                (one, two)[number % 2].send_json(number // 2, json.dumps({"id": number}))
                eventually(lambda number=number: emulator.stats.tables[TABLE].calls == number + 1)
            assert two.end()[0].name == "RESOURCE_EXHAUSTED"
            one.send_last()
            assert one.end()[0].name == "OK"
    assert replayed(path, tmp_path / "again") == 0, capsys.readouterr().out
    with Emulator(tmp_path / "again") as emulator:
        assert [row["id"] for row in rows(emulator)] == [0, 1, 2]


def test_otlp_is_sent_again_and_left_out_where_it_is_masked(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def export(emulator: Emulator) -> int:
        table = table_for(emulator, "traces")
        call_grpc(emulator, "traces", request_of("traces", span(name="canary-1")))
        compressed = gzip.compress(request_of("traces", span(name="canary-2")).SerializeToString())
        assert call_http(emulator, "traces", compressed, **{"Content-Encoding": "gzip"}).status_code == 200
        emulator.faults = Faults(script=(ScriptedFault("drop", at_call=1),))
        with pytest.raises(grpc.RpcError):
            call_grpc(emulator, "traces", request_of("traces", span(name="canary-3")))
        return table.count_rows()

    with Emulator(record_to=path) as emulator:
        assert export(emulator) == 2
    assert replayed(path, tmp_path / "again") == 0, capsys.readouterr().out
    with Emulator(tmp_path / "again") as emulator:
        assert emulator.table("main.otel.shop_traces").count_rows() == 2
    masked = path.with_name("masked.jsonl")
    with Emulator(record_to=masked, mask_values=True) as emulator:
        export(emulator)
    assert [line["body"] for line in read_lines(masked) if line["kind"] == "message"] == [None, None]
    assert replayed(masked, tmp_path / "masked") == 1
    assert "3 calls not sent: the mask left the body out" in capsys.readouterr().out

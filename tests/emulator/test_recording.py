"""Recordings: what is in them, what never is, and what happens when they cannot be written."""

import base64
import http.client
import json
import os
import random
import struct
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from beam_zerobus.emulator import Emulator, Faults, RejectRows
from beam_zerobus.emulator.recording.lines import read_head, read_lines
from beam_zerobus.emulator.recording.masks import CallMask
from beam_zerobus.errors import ConfigurationError
from beam_zerobus.schema import TableSchema
from tests.hostile.mutations import damaged

from .sdk import FORMATS, RawStream, Stream, eventually
from .test_command import process
from .test_control import asked
from .test_rest import insert

TABLE = "main.iot.air"
DDL = (
    "id BIGINT NOT NULL, name STRING, raw BINARY, price DECIMAL(10,2), at TIMESTAMP, ok BOOLEAN, f DOUBLE, "
    "tags ARRAY<STRING>, m MAP<STRING, STRING>, place STRUCT<zip: STRING, n: INT>, v VARIANT"
)
TEXT = "canary-text"
NUMBER = 8_765_432_187_654_321
ROW = {
    "id": NUMBER,
    "name": TEXT,
    "raw": b"canary-raw!!",
    "price": "98765432.10",
    "at": NUMBER % 10**15,
    "ok": True,
    "f": 98765432.125,
    "tags": ["canary-tag-1", ""],
    "m": [("canary-key", "canary-value"), ("canary-kez", "")],
    "place": {"zip": "canary-zip", "n": 987654321},
    "v": '{"canary-name": ["canary-variant", 987654321, null]}',
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.jsonl"


def written(emulator: Emulator, wire_format: str) -> None:
    """Write a row with canaries, a second one with nulls, and close the stream."""
    with Stream(emulator, TABLE, DDL, wire_format) as stream:
        stream.send([sent(ROW), {"id": 7}])
        stream.flush()


def sent(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "price": Decimal(row["price"])}


def contents(path: Path) -> Iterator[bytes]:
    """Yield the file, and each body in it."""
    yield path.read_bytes()
    for line in read_lines(path):
        for member in ("body", "details"):
            if line.get(member):
                yield base64.b64decode(line[member])


def session(emulator: Emulator) -> None:
    """Make calls on each way in, good and bad."""
    table = emulator.create_table(TABLE, DDL)
    for wire_format in FORMATS:
        written(emulator, wire_format)
    json_row = {"id": 3, "name": TEXT, "m": {"canary-key": "x"}, "place": {"zip": TEXT, "n": 1}, "raw": "Y2FuYXJ5"}
    assert insert(emulator, [json_row]).status_code == 200
    assert insert(emulator, b"[canary-broken").status_code == 400
    with RawStream(emulator, TABLE, emulator.issue_token(TABLE)) as stream:
        stream.create(TABLE)
        stream.send_json(0, '{"canary-broken')
        stream.end()
    assert table.count_rows() == 7


def test_it_has_every_call_and_no_secret(path: Path) -> None:
    with Emulator(record_to=path) as emulator:
        assert os.name == "nt" or path.stat().st_mode & 0o077 == 0
        token = emulator.issue_token(TABLE)
        session(emulator)
        assert insert(emulator, [{"id": 1}], token).status_code == 200
        form = {
            "grant_type": "client_credentials",
            "scope": "all-apis",
            "client_id": emulator.client_id,
            "client_secret": emulator.client_secret,
        }
        answer = requests.post(f"{emulator.workspace_url}/oidc/v1/token", data=form, timeout=20)
        exchange = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "scope": "all-apis",
            "subject_token": "canary-subject",
        }
        requests.post(f"{emulator.workspace_url}/oidc/v1/token", data=exchange, timeout=20).raise_for_status()
        asked(emulator, "GET", "/control/activity")
        secrets = [token, answer.json()["access_token"], emulator.client_secret, emulator.control_token]
        for secret in secrets:
            odd = {"X-Databricks-Note": secret, "Cookie": secret}
            requests.post(f"{emulator.workspace_url}/no/{secret}?a={secret}", data=secret, headers=odd, timeout=20)
        with Stream(emulator, TABLE, DDL, "json") as stream:
            stream.send_records([json.dumps({"id": 9, "name": f"a row with {secret}"}) for secret in secrets])
            stream.flush()
    head, lines = read_head(path), list(read_lines(path))
    assert (head["zerobus_recording"], head["masked"]) == (1, False)
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    kinds = {"request", "answer", "stream", "message", "half_close", "response", "end", "start", "stop"}
    assert {line["kind"] for line in lines} | {"half_close"} == kinds
    assert not [line for line in lines if line.get("path") == "/control/activity"]
    assert [line["message"] for line in lines if line["kind"] == "end" and line["code"] == "INVALID_ARGUMENT"]
    for secret in (*secrets, "canary-subject"):
        for encoded in (secret.encode(), base64.b64encode(secret.encode())):
            assert not [content for content in contents(path) if encoded in content], secret[:6]
    assert any(TEXT.encode() in content for content in contents(path))


def test_masked_it_has_no_value(path: Path) -> None:
    with Emulator(record_to=path, mask_values=True) as emulator:
        emulator.faults = Faults(
            reject_rows=(RejectRows(column="name", value="canary-rule"), RejectRows(column="price", value=Decimal(7)))
        )
        session(emulator)
    assert read_head(path)["masked"] is True
    # Moments and random identifiers have digits too: shorter needles are there by chance.
    needles = [b"canary", b"98765432", b"Y2FuYXJ5", b"87654321"]
    varint = bytes([NUMBER >> shift & 0x7F | 0x80 for shift in range(0, 49, 7)])
    needles += [NUMBER.to_bytes(8, "little"), varint, struct.pack("<d", 98765432.125)]
    for content in contents(path):
        assert not [needle for needle in needles if needle in content]
    assert any(b"place" in content for content in contents(path)), "names of columns stay"


@pytest.mark.parametrize("wire_format", FORMATS)
def test_masked_rows_keep_their_shape(path: Path, wire_format: str) -> None:
    with Emulator(record_to=path, mask_values=True) as emulator:
        emulator.create_table(TABLE, DDL)
        written(emulator, wire_format)
    from beam_zerobus.emulator.recording.command import target_of
    from beam_zerobus.emulator.recording.replay import Replay

    with Emulator(client_id=read_head(path)["client_id"]) as emulator:
        outcome = Replay(target_of(emulator), speed=0).run(read_lines(path))
        assert outcome.differences == []
        emulator.start()
        rows = sorted(emulator.table(TABLE).to_arrow().to_pylist(), key=lambda row: row["name"] is None)
    assert rows[1] == {**dict.fromkeys(rows[1]), "id": 1} | {
        name: [] for name in ("tags", "m") if wire_format == "proto"
    }
    full = rows[0]
    assert (full["id"], full["name"], len(full["raw"])) == (1, "x" * len(TEXT), 12)
    assert full["raw"] != ROW["raw"]
    assert str(full["price"]) == "11111111.11"
    assert [len(tag) for tag in full["tags"]] == [12, 0]
    assert sorted(len(value) for _, value in full["m"]) == [0, 12]
    assert full["place"] == {"zip": "x" * 10, "n": 1}
    assert json.loads(full["v"]) == {"x" * 11: ["x" * 14, 1, None]}


def test_a_directory_gets_a_new_file_each_time(tmp_path: Path) -> None:
    for count in (1, 2, 3):
        with Emulator(memory=True, record_to=tmp_path):
            pass
        files = [*tmp_path.iterdir()]
        assert len(files) == count
        assert os.name == "nt" or not [file for file in files if file.stat().st_mode & 0o077]
    assert {read_head(file)["masked"] for file in files} == {False}


def test_a_file_that_exists_is_kept(path: Path, tmp_path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(ConfigurationError, match=r"calls.jsonl exists: a recording needs a new file"):
        Emulator(tmp_path / "tables", record_to=path)
    assert path.read_text() == "precious"
    with pytest.raises(ConfigurationError, match="cannot be written: No such file"):
        Emulator(tmp_path / "tables", record_to=tmp_path / "missing" / "calls.jsonl")
    with pytest.raises(ConfigurationError, match="mask_values needs record_to"):
        Emulator(mask_values=True)
    Emulator(tmp_path / "tables").stop()  # the directory is free


def test_a_full_disk_ends_the_recording_and_nothing_else(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Emulator(record_to=path) as recorded:
        recorder = recorded._host.recorder
        assert recorder is not None
        recorder._file.close()
        recorder._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115
        recorded.create_table(TABLE, "id BIGINT")
        assert insert(recorded, [{"id": 1}]).status_code == 200
        assert recorded.table(TABLE).count_rows() == 1
    assert caplog.text.count("ends, since the file cannot be written") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_what_a_full_disk_left_at_the_end_is_no_error(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Emulator(record_to=path, memory=True) as recorded:
        recorder = recorded._host.recorder
        assert recorder is not None
        recorder._file.close()
        recorder._file = Path("/dev/full").open("wb")  # noqa: SIM115
        recorder._file.write(b"what was not flushed")
    assert caplog.text.count("ends, since the file cannot be written") == 1


def test_a_column_named_as_a_token_changes_no_answer(path: Path) -> None:
    with Emulator(record_to=path, memory=True) as emulator:
        emulator.create_table(TABLE, "access_token STRING")
        headers = {"Authorization": f"Bearer {emulator.issue_token(admin=True)}"}
        url = f"{emulator.workspace_url}/api/2.1/unity-catalog/tables/{TABLE}"
        assert requests.get(url, headers=headers, timeout=20).json()["columns"][0]["name"] == "access_token"


def test_a_target_with_a_host_hides_its_secrets_too(path: Path) -> None:
    with Emulator(record_to=path, memory=True) as emulator:
        where = urlsplit(emulator.workspace_url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=20)
        body = "grant_type=client_credentials&client_id=me&client_secret=canary-secret"
        connection.request("POST", f"{emulator.workspace_url}/oidc/v1/token", body, {"X-Databricks-Note": "a\r\n b"})
        assert connection.getresponse().status == 401
        connection.close()
    assert not [content for content in contents(path) if b"canary-secret" in content]
    assert [line["path"] for line in read_lines(path) if line["kind"] == "request"][-1] == "/oidc/v1/token"


@pytest.mark.hostile
def test_a_kill_loses_at_most_the_last_line(path: Path) -> None:
    with process("--table", f"{TABLE}=id BIGINT", "--record", str(path)) as running:
        stream = Stream(running, TABLE, "id BIGINT")
        for number in range(5):
            stream.wait(stream.send([{"id": number}]))
        running.process.kill()
        running.process.wait(20)
    kinds = [line["kind"] for line in read_lines(path)]
    assert kinds.count("message") == 6
    assert kinds.count("response") >= 2
    with path.open("rb+") as file:
        file.seek(-4, os.SEEK_END)
        file.truncate()
    assert [line["kind"] for line in read_lines(path)] == kinds[:-1]


def test_a_stream_that_the_client_leaves_is_recorded_so(path: Path) -> None:
    with Emulator(record_to=path) as emulator:
        emulator.create_table(TABLE, "id BIGINT")
        with RawStream(emulator, TABLE, emulator.issue_token(TABLE)) as stream:
            stream.create(TABLE)
            stream.receive()
        eventually(lambda: [line for line in read_lines(path) if line["kind"] == "end"])
    (end,) = (line for line in read_lines(path) if line["kind"] == "end")
    assert (end["by"], end["code"]) == ("client", None)


@pytest.mark.parametrize("calls", [200, pytest.param(10_000, marks=[pytest.mark.hostile, pytest.mark.timeout(900)])])
def test_damaged_messages_are_masked_too(path: Path, calls: int) -> None:
    with Emulator(record_to=path) as emulator:
        emulator.create_table(TABLE, DDL)
        for wire_format in FORMATS:
            written(emulator, wire_format)
    methods = {line["call"]: line["method"] for line in read_lines(path) if line["kind"] == "stream"}
    messages: dict[int, list[bytes]] = {}
    for line in read_lines(path):
        if line["kind"] == "message":
            messages.setdefault(line["call"], []).append(base64.b64decode(line["body"]))
    assert [len(sent) for sent in messages.values()] == [2, 2, 2]
    chance = random.Random(20)
    columns = TableSchema.from_ddl(DDL).columns
    for number in range(calls):
        call = list(messages)[number % 3]
        mask = CallMask(methods[call], lambda _: columns)
        first, second = messages[call]
        mask.message(first if number % 2 else damaged(chance, first))
        assert mask.message(damaged(chance, second)) is not None or methods[call].endswith("EphemeralStream")


@pytest.mark.parametrize("name", [b"price", b"place", b"zip"])
def test_a_name_that_is_not_utf8_leaves_no_values(path: Path, name: bytes) -> None:
    with Emulator(record_to=path) as emulator:
        emulator.create_table(TABLE, DDL)
        written(emulator, "arrow")
    method = next(line["method"] for line in read_lines(path) if line["kind"] == "stream")
    first, second = (base64.b64decode(line["body"]) for line in read_lines(path) if line["kind"] == "message")
    mask = CallMask(method, lambda _: TableSchema.from_ddl(DDL).columns)
    assert mask.message(first.replace(name, b"\x98" + name[1:])) is not None
    masked = mask.message(second)
    assert masked is not None
    assert b"canary" not in masked

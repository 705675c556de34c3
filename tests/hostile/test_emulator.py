"""Attacks on the emulator: kills, foreign files, values out of range, and clients that mean harm or are broken."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pyarrow as pa
import pytest
import requests
from deltalake import DeltaTable, write_deltalake

from beam_zerobus.emulator import Emulator
from beam_zerobus.emulator.__main__ import main
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.rows import ArrowReader, JsonReader, ProtoReader
from beam_zerobus.emulator.wire import Request
from beam_zerobus.errors import ConfigurationError
from beam_zerobus.schema import TableSchema
from tests.emulator.sdk import RawStream
from tests.emulator.test_checks import descriptor, proto_call, schema_header

TABLE = "main.iot.air"
SEED = 16

needs_sigkill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")


# ---- kills and storage

# Creates tables, writes a row into each and drops some, and prints what is acknowledged once it is.
LOAD = """
    import sys
    from beam_zerobus.emulator import Emulator
    from tests.emulator.sdk import RawStream
    with Emulator(sys.argv[1]) as emulator:
        print("ready", flush=True)
        for number in range(int(sys.argv[2]), 1_000_000):
            name = f"main.iot.t{number}"
            print("creating", flush=True)
            emulator.create_table(name, "id BIGINT NOT NULL")
            with RawStream(emulator, name, emulator.issue_token(name)) as stream:
                stream.create(name)
                stream.receive()
                stream.send_json(0, '{"id": %d}' % number)
                stream.receive()
            if number % 5:
                print(number, flush=True)
            else:
                emulator.drop_table(name)
"""


@needs_sigkill
@pytest.mark.hostile
@pytest.mark.timeout(400)
def test_a_kill_at_any_moment_leaves_storage_that_opens_with_every_acknowledged_row(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    acknowledged: set[int] = set()
    for _ in range(8):
        command = [sys.executable, "-c", textwrap.dedent(LOAD), str(tmp_path), str(max(acknowledged, default=0) + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout.readline() == "ready\n", "the storage opens"
            lines = [running.stdout.readline() for _ in range(chance.randint(1, 8))]
            while lines[-1] != "creating\n":
                lines.append(running.stdout.readline())
            time.sleep(chance.uniform(0, 0.01))  # about as long as a table takes
            os.kill(running.pid, signal.SIGKILL)
            # A number cut in the middle was not acknowledged as far as anybody knows.
            lines += [line for line in running.stdout if line.endswith("\n")]
            acknowledged |= {int(line) for line in lines if line.strip().isdigit()}
    assert acknowledged
    with Emulator(tmp_path) as emulator:
        stored = {row for table in emulator.tables for row in table.to_arrow().column("id").to_pylist()}
        assert acknowledged <= stored
        number = max(stored) + 1
        emulator.create_table(f"main.iot.t{number}", "id BIGINT NOT NULL")


def test_a_creation_that_was_interrupted_is_done_again(tmp_path: Path) -> None:
    """What a kill left behind before tables were created whole."""
    for name, entry in (("empty", ""), ("temporary", "_commit_0a1b.json.tmp")):
        log = tmp_path / "main" / "iot" / name / "_delta_log"
        log.mkdir(parents=True)
        if entry:
            (log / entry).write_text("{")
    with Emulator(tmp_path) as emulator:
        assert emulator.tables == ()
        for name in ("empty", "temporary"):
            emulator.create_table(f"main.iot.{name}", "id INT")
    with Emulator(tmp_path) as emulator:
        assert len(emulator.tables) == 2


def test_what_is_not_a_table_of_the_emulator_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Emulator(tmp_path) as emulator:
        emulator.create_table(TABLE, "id INT")
        emulator.create_table("main.iot.broken", "id INT")
    write_deltalake(tmp_path / "main" / "iot" / "foreign", pa.table({"id": [1]}))
    write_deltalake(tmp_path / "main" / "iot" / "no-name", pa.table({"id": [1]}))
    (tmp_path / "main" / "iot" / "file").mkdir()
    (tmp_path / "main" / "iot" / "file" / "notes.txt").write_text("mine")
    (tmp_path / "other").write_text("mine")
    next((tmp_path / "main" / "iot" / "broken" / "_delta_log").glob("*.json")).write_text("{")
    with Emulator(tmp_path) as emulator:
        assert [table.name for table in emulator.tables] == [TABLE]
        for name, reason in (
            ("foreign", "not made by the emulator"),
            ("no-name", "not a table name"),
            ("broken", "open"),
        ):
            assert any(name in line and reason in line for line in caplog.messages), caplog.messages
        for name in ("main.iot.foreign", "main.iot.file", "main.iot.broken"):
            with pytest.raises(ConfigurationError, match="is not a table of the emulator"):
                emulator.create_table(name, "id INT")
        with pytest.raises(ConfigurationError, match="cannot be created"):
            emulator.create_table("other.iot.air", "id INT")
    assert DeltaTable(tmp_path / "main" / "iot" / "foreign").to_pyarrow_table().num_rows == 1
    assert (tmp_path / "main" / "iot" / "file" / "notes.txt").read_text() == "mine"


def test_a_second_emulator_on_a_directory_does_not_start(tmp_path: Path) -> None:
    with Emulator(tmp_path) as first:
        with pytest.raises(ConfigurationError, match=f"in use by another emulator .process {os.getpid()}."):
            Emulator(tmp_path)
        command = [sys.executable, "-m", "beam_zerobus.emulator", "--storage-dir", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert f"in use by another emulator (process {os.getpid()})" in done.stderr
        first.kill()
        with Emulator(tmp_path), pytest.raises(ConfigurationError, match="in use"):
            first.start()
        first.start()


@needs_sigkill
def test_a_killed_emulator_leaves_no_lock(tmp_path: Path) -> None:
    script = (
        "import sys, time; from beam_zerobus.emulator import Emulator\n"
        "emulator = Emulator(sys.argv[1]); print(); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-uc", script, str(tmp_path)], stdout=subprocess.PIPE) as running:
        assert running.stdout.readline()
        with pytest.raises(ConfigurationError, match=str(running.pid)):
            Emulator(tmp_path)
        running.kill()
    Emulator(tmp_path).stop()


# ---- values and types that the storage cannot hold

LAST_DAY, LAST_MICROSECOND = 2_932_896, 253_402_300_799_999_999
TIMES = [
    ("DATE", -719_162, LAST_DAY, [-(2**31), -719_163, LAST_DAY + 1, 10**8, 2**31 - 1]),
    *(
        (name, -62_135_596_800_000_000, LAST_MICROSECOND, [-(2**63), -62_135_596_800_000_001, LAST_MICROSECOND + 1])
        for name in ("TIMESTAMP", "TIMESTAMP_NTZ")
    ),
]
SHAPES = [("{}", "{}"), ("ARRAY<{}>", "[{}]"), ("STRUCT<x: {}>", '{{"x": {}}}'), ("MAP<STRING, {}>", '{{"k": {}}}')]


@pytest.mark.parametrize(("shape", "json"), SHAPES)
@pytest.mark.parametrize("times", TIMES, ids=lambda times: times[0])
def test_a_date_outside_the_years_1_to_9999_is_rejected(
    times: tuple[str, int, int, list[int]], shape: str, json: str
) -> None:
    kind, first, last, outside = times
    schema = TableSchema.from_ddl(f"c {shape.format(kind)}")
    reader = JsonReader(schema)
    rows = reader.read([f'{{"c": {json.format(value)}}}' for value in (first, last)])
    arrow = ArrowReader(schema, schema_header(schema.to_ddl()))
    assert arrow.convert(rows).num_rows == 2
    for value in outside:
        with pytest.raises(Rejection, match=f"is {kind} and has a value outside the years 1 to 9999"):
            reader.read(['{"c": null}', f'{{"c": {json.format(value)}}}'])
        wrong = _replaced(rows.column(0), value)
        with pytest.raises(Rejection, match=f"is {kind} and has a value outside the years 1 to 9999"):
            arrow.convert(pa.RecordBatch.from_arrays([wrong], schema=rows.schema))


def _replaced(array: pa.Array, value: int) -> pa.Array:
    """An array of one row of the same type with another value in its leaf."""
    leaf = pa.array([value], pa.int32() if value.bit_length() <= 32 and "date32" in str(array.type) else pa.int64())
    if pa.types.is_list(array.type):
        return pa.ListArray.from_arrays([0, 1], leaf.cast(array.type.value_type), type=array.type)
    if pa.types.is_map(array.type):
        keys = pa.array(["k"], array.type.key_type)
        return pa.MapArray.from_arrays([0, 1], keys, leaf.cast(array.type.item_type), type=array.type)
    if pa.types.is_struct(array.type):
        return pa.StructArray.from_arrays([leaf.cast(array.type.field(0).type)], fields=list(array.type))
    return leaf.cast(array.type)


def test_protobuf_dates_outside_the_years_1_to_9999_are_rejected() -> None:
    schema = TableSchema.from_ddl("d DATE")
    reader = ProtoReader(schema, descriptor("d DATE"))
    records = [b"\x08\x01", b"\x08\xff\xff\xff\xff\x07"]  # 2**31 - 1
    with pytest.raises(Rejection, match=r"years 1 to 9999 \(record 1\)"):
        reader.read(proto_call(records), records)


def nested(levels: int, kind: str) -> str:
    return f"c {kind * levels}INT{('>' if '<' in kind else '') * levels}"


@pytest.mark.parametrize("kind", ["ARRAY<", "STRUCT<x: ", "MAP<STRING, "])
def test_types_nest_20_levels_deep_and_no_deeper(emulator: Emulator, kind: str) -> None:
    table = emulator.create_table(TABLE, nested(20, kind))
    assert DeltaTable(table.path).version() == 0
    with pytest.raises(ConfigurationError, match="'c' nests 21 levels deep"):
        emulator.create_table("main.iot.deep", nested(21, kind))
    with pytest.raises(ConfigurationError, match="'d' nests 21 levels deep"):
        table.add_column("d" + nested(21, kind)[1:])
    emulator.stop()
    with Emulator(emulator.storage_dir) as again:
        assert again.table(TABLE).schema == table.schema


# ---- HTTP


def ask(emulator: Emulator, request: bytes, seconds: float = 10) -> bytes:
    """Send bytes to the HTTP port; return all that is answered until the server closes the connection."""
    address = ("127.0.0.1", int(emulator.workspace_url.rpartition(":")[2]))
    with socket.create_connection(address, timeout=seconds) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while chunk := connection.recv(65536):
                answer += chunk
        return answer


def post(*headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join(["POST /oidc/v1/token HTTP/1.1", "Host: x", *headers, "", ""]).encode("latin-1") + body


MALFORMED = {
    "no request": (b"nonsense\r\n\r\n", 400),
    "junk": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
    "version": (b"GET / HTTP/9.9\r\n\r\n", 505),
    "path": (b"GET http://[ HTTP/1.1\r\n\r\n", 400),
    "long line": (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431),
    "length -1": (post("Content-Length: -1", body=b"a=b"), 400),
    "length text": (post("Content-Length: many", body=b"a=b"), 400),
    "length superscript": (post("Content-Length: \xb2", body=b"ab"), 400),
    "two lengths": (post("Content-Length: 3", "Content-Length: 4", body=b"a=b"), 400),
    "length huge": (post("Content-Length: " + "9" * 5000), 413),
    "length above the limit": (post(f"Content-Length: {(1 << 20) + 1}"), 413),
    "chunked": (post("Transfer-Encoding: chunked", body=b"3\r\na=b\r\n0\r\n\r\n"), 411),
    "body cut": (post("Content-Length: 100", body=b"a=b"), 400),
    "body not UTF-8": (post("Content-Length: 3", body=b"a=\xff"), 400),
    "many fields": (post("Content-Length: 3000", body=b"a=&" * 1000), 400),
    "method": (b"BREW / HTTP/1.1\r\n\r\n", 501),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_http_is_answered(emulator: Emulator, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    request, status = MALFORMED[name]
    answer = ask(emulator, request)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer[:200]
    assert answer.count(b"HTTP/1.1 ") == 1, "one answer"
    assert "Traceback" not in capfd.readouterr().err
    assert requests.get(f"{emulator.workspace_url}/nothing", timeout=5).status_code == 404, "it serves on"


@pytest.mark.parametrize(
    "changes",
    [
        {"authorization_details": "[" * 100_000},
        {"authorization_details": '[{"object_type": []}]'},
        {"authorization_details": '{"object_type": 1}'},
        {"grant_type": "\udcff"},
        {"client_id": "é\0", "client_secret": "é"},
    ],
    ids=["deep", "unhashable", "no list", "surrogate", "no ASCII"],
)
def test_odd_forms_are_answered(emulator: Emulator, changes: dict[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    form = {"grant_type": "client_credentials", "scope": "all-apis", "client_id": emulator.client_id}
    form |= {"client_secret": emulator.client_secret} | changes
    body = "&".join(f"{key}={requests.utils.quote(value, errors='surrogateescape')}" for key, value in form.items())
    answer = requests.post(f"{emulator.workspace_url}/oidc/v1/token", data=body, timeout=10)
    assert answer.status_code in (400, 401)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("authorization", ["Basic é", "Basic =", "Basic", "Bearer é", "Basic " + "A" * 60_000])
def test_odd_authorization_is_rejected(emulator: Emulator, authorization: str) -> None:
    body = b"grant_type=client_credentials&scope=all-apis"
    answer = ask(emulator, post(f"Authorization: {authorization}", f"Content-Length: {len(body)}", body=body))
    assert answer.startswith(b"HTTP/1.1 401 ")


@contextlib.contextmanager
def impatient(emulator: Emulator, seconds: float) -> Iterator[None]:
    emulator._servers._http.request_seconds = seconds
    yield


@pytest.mark.parametrize(
    "drip", [b"G", b"GET / HTTP/1.1\r\n", post("Content-Length: 1000")], ids=["line", "headers", "body"]
)
def test_a_slow_client_is_cut_off(emulator: Emulator, drip: bytes) -> None:
    address = ("127.0.0.1", int(emulator.workspace_url.rpartition(":")[2]))
    with impatient(emulator, 1.0), socket.create_connection(address, timeout=20) as connection:
        connection.sendall(drip)
        ended = threading.Event()

        def trickle() -> None:
            with contextlib.suppress(OSError):
                while not ended.wait(0.1):
                    connection.sendall(b"a")

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            with contextlib.suppress(ConnectionError):
                assert connection.recv(1) == b"", "the server closes, however many bytes drip in"
        finally:
            ended.set()
            thread.join()


def test_connections_are_bounded(emulator: Emulator) -> None:
    address = ("127.0.0.1", int(emulator.workspace_url.rpartition(":")[2]))
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection(address, timeout=20)) for _ in range(300)]
        with contextlib.suppress(ConnectionError):
            assert held[-1].recv(1) == b"", "one too many is closed"
        threads = [thread for thread in threading.enumerate() if "process_request_thread" in thread.name]
        assert len(threads) <= 256
    deadline = time.monotonic() + 20
    while True:  # until the closed ones are noticed
        with contextlib.suppress(requests.ConnectionError):
            assert requests.get(f"{emulator.workspace_url}/nothing", timeout=5).status_code == 404
            break
        assert time.monotonic() < deadline
        time.sleep(0.1)


# ---- gRPC and Arrow


def test_a_compressed_grpc_message_is_bounded(emulator: Emulator) -> None:
    emulator.create_table(TABLE, "s STRING")
    request = Request()
    request.ingest_record.json_record = '{"s": "' + "a" * (100 << 20) + '"}'
    channel = grpc.insecure_channel(
        emulator.endpoint.removeprefix("http://"), options=[("grpc.max_send_message_length", -1)]
    )
    create = Request(create_stream={"table_name": TABLE, "record_type": 2})
    metadata = [("authorization", f"Bearer {emulator.issue_token(TABLE)}"), ("x-databricks-zerobus-table-name", TABLE)]
    with channel:
        stream = channel.stream_stream("/databricks.zerobus.Zerobus/EphemeralStream")
        messages = iter([create.SerializeToString(), request.SerializeToString()])
        call = stream(messages, metadata=metadata, compression=grpc.Compression.Gzip, timeout=60)
        with pytest.raises(grpc.RpcError, match="larger than max") as raised:
            list(call)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_stream_without_a_first_message_ends(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beam_zerobus.emulator.session.FIRST_MESSAGE_SECONDS", 0.5)
    emulator.create_table(TABLE, "id INT")
    with RawStream(emulator, TABLE, emulator.issue_token(TABLE)) as stream:
        assert stream.end()[0] is grpc.StatusCode.CANCELLED


def zstd_bomb(ddl: str, megabytes: int) -> tuple[bytes, bytes]:
    """Header and body of a small RecordBatch message that decompresses to many megabytes."""
    schema = TableSchema.from_ddl(ddl).to_arrow()
    batch = pa.RecordBatch.from_arrays([pa.array(["a" * (megabytes << 20)], pa.large_string())], schema=schema)
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        writer.write_batch(batch)
    message = list(pa.ipc.MessageReader.open_stream(sink.getvalue()))[1]
    return message.metadata.to_pybytes(), message.body.to_pybytes()


def test_a_compressed_batch_is_bounded_before_it_is_decompressed() -> None:
    reader = ArrowReader(TableSchema.from_ddl("s STRING"), schema_header("s STRING"))
    header, body = zstd_bomb("s STRING", 285)
    assert len(body) < 64 << 10
    before = pa.total_allocated_bytes()
    with pytest.raises(Rejection, match="decompresses to 298844176 bytes"):
        reader.batch(header, body)
    assert pa.total_allocated_bytes() == before
    header, body = zstd_bomb("s STRING", 5)
    assert reader.batch(header, body).num_rows == 1, "compression itself is fine"


def test_a_batch_of_rows_without_values_is_bounded() -> None:
    """With every column missing, a few bytes could stand for any number of rows."""
    schema = TableSchema.from_ddl("s STRING")
    empty = pa.schema([]).serialize().to_pybytes()
    with pytest.raises(Rejection, match="no column"):
        ArrowReader(schema, empty[8 : 8 + int.from_bytes(empty[4:8], "little")])


@pytest.mark.parametrize("metadata", [b"", b"{", b"[" * 100_000, b'{"offset_id": ' + b"9" * 5000 + b"}", b"[]"])
def test_odd_metadata_of_a_flight_message_is_rejected(metadata: bytes) -> None:
    from beam_zerobus.emulator.calls import FlightProtocol
    from beam_zerobus.emulator.wire import FlightData

    protocol = FlightProtocol()
    protocol.table_of(FlightData(data_header=schema_header("id INT")).SerializeToString())
    protocol.bind(TableSchema.from_ddl("id INT"))
    with pytest.raises(Rejection, match="app_metadata"):
        protocol.call(FlightData(app_metadata=metadata).SerializeToString())


def test_mutated_arrow_messages_are_rejected_or_read() -> None:
    chance = random.Random(SEED)
    reader = ArrowReader(TableSchema.from_ddl("s STRING"), schema_header("s STRING"))
    header, body = zstd_bomb("s STRING", 1)
    for _ in range(2000):
        parts = [bytearray(header), bytearray(body)]
        for _ in range(chance.randint(1, 4)):
            part = parts[chance.random() < 0.3]
            part[chance.randrange(len(part))] = chance.randrange(256)
        with contextlib.suppress(Rejection):
            reader.convert(reader.batch(bytes(parts[0]), bytes(parts[1])))


def test_a_status_names_no_more_than_fits(emulator: Emulator) -> None:
    emulator.create_table(TABLE, "id INT")
    with RawStream(emulator, TABLE, emulator.issue_token(TABLE)) as stream:
        stream.create(TABLE)
        stream.receive()
        stream.send_json(0, '{"%s": 1}' % ("x" * 1_000_000))
        code, message = stream.end()
    assert code.name == "INVALID_ARGUMENT", message
    assert len(message) < 1000


# ---- options


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--port", "99999"], "port 99999: set a port from 1 to 65535"),
        (["--port", "-1"], "port -1: set a port"),
        (["--http-port", "70000"], "http_port 70000: set a port"),
        (["--token-life", "-5"], "token_life -5.0: set a number of seconds above 0"),
        (["--token-life", "nan"], "token_life nan: set a number"),
        (["--token-life", "inf"], "token_life inf: set a number"),
        (["--storage-dir", __file__], "is a file; name a directory"),
        (["--storage-dir", f"{__file__}/below"], "cannot be written"),
    ],
)
def test_options_out_of_range_are_rejected(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="needs a directory that even root cannot write")
def test_a_directory_that_cannot_be_written_is_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--storage-dir", "/proc/self"]) == 2
    assert "/proc/" in (error := capsys.readouterr().err)
    assert "cannot be written" in error


@pytest.mark.parametrize("package", ["grpc", "deltalake"])
def test_without_its_extra_the_command_says_what_to_install(package: str) -> None:
    script = (
        f"import sys, runpy; sys.modules[{package!r}] = None\n"
        "runpy.run_module('beam_zerobus.emulator', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"needs the package {package}" in done.stderr
    assert "pip install" in done.stderr

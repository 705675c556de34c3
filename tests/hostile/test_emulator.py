"""Attacks on the emulator's streams: values out of range, compressed and mutated messages, options out of range."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys

import grpc
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from beam_zerobus.emulator import Emulator
from beam_zerobus.emulator.__main__ import main
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.rows import ArrowReader, JsonReader, ProtoReader
from beam_zerobus.emulator.wire import Request
from beam_zerobus.errors import ConfigurationError
from beam_zerobus.schema import TableSchema
from tests.emulator.payloads import descriptor, proto_call, schema_header
from tests.emulator.sdk import RawStream

TABLE = "main.iot.air"
SEED = 16


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


@pytest.mark.parametrize("kind", ["STRING", "VARIANT"])
def test_protobuf_text_that_is_not_utf_8_is_rejected(kind: str) -> None:
    reader = ProtoReader(TableSchema.from_ddl(f"s {kind}"), descriptor(f"s {kind}"))
    records = [b"\x0a\x011", b"\x0a\x01\xff"]
    with pytest.raises(Rejection, match=rf"column 's' is {kind} .* \(record 1\)"):
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
    monkeypatch.setattr("beam_zerobus.emulator.streams.session.FIRST_MESSAGE_SECONDS", 0.5)
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
    from beam_zerobus.emulator.streams.calls import FlightProtocol
    from beam_zerobus.emulator.wire import FlightData

    protocol = FlightProtocol()
    protocol.table_of(FlightData(data_header=schema_header("id INT")).SerializeToString())
    protocol.bind(TableSchema.from_ddl("id INT"))
    with pytest.raises(Rejection, match="app_metadata"):
        protocol.call(FlightData(app_metadata=metadata).SerializeToString())


def test_an_arrow_stream_begins_with_its_schema() -> None:
    header = bytearray(schema_header("s STRING"))
    batch, _ = zstd_bomb("s STRING", 1)
    kind = header.index(b"\x01\x04\x00")  # Message.header_type of a schema is 1, Message.version is 4
    for number in (0, 41, 255):
        header[kind] = number
        with pytest.raises(Rejection, match="must hold its schema"):
            ArrowReader(TableSchema.from_ddl("s STRING"), bytes(header))
    with pytest.raises(Rejection, match="must hold its schema"):
        ArrowReader(TableSchema.from_ddl("s STRING"), batch)


def test_an_arrow_name_that_is_not_utf_8_is_rejected() -> None:
    header = schema_header("p STRUCT<latitude: DOUBLE>").replace(b"latitude", b"latitud\xff")
    with pytest.raises(Rejection, match="a name that is not UTF-8"):
        ArrowReader(TableSchema.from_ddl("p STRUCT<latitude: DOUBLE>"), header)


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


@pytest.mark.parametrize("package", ["grpc", "deltalake", "cryptography"])
def test_without_its_extra_the_command_says_what_to_install(package: str) -> None:
    script = (
        f"import sys, runpy; sys.modules[{package!r}] = None; sys.argv[1:] = ['--tls', '--memory']\n"
        "runpy.run_module('beam_zerobus.emulator', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"needs {package}, which is missing" in done.stderr
    assert "pip install" in done.stderr

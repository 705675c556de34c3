"""JSON lines, Avro, Parquet and compressed files, compared with independent readers."""

from __future__ import annotations

import bz2
import datetime as dt
import decimal
import gzip
import io
import json
import lzma
import uuid
import zlib

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_zerobus.programs import open_files, read_json
from beam_zerobus.programs.command import InputError
from beam_zerobus.programs.read_avro import CODECS
from tests.pipelines.readers import avro_records, csv_rows, json_lines, metadata, parquet_tables

here = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)


def deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


COMPRESSIONS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "zst": zstandard.ZstdCompressor().compress,
    "xz": lzma.compress,
    "deflate": deflate,
}
LINES = [f'{{"id": {number}, "square": {number**2}}}'.encode() for number in range(5_000)]


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_a_compressed_file_is_read_whole_or_fails_with_its_name(tmp_path, ending):
    path = tmp_path / f"in.jsonl.{ending}"
    data = COMPRESSIONS[ending](b"\n".join(LINES))
    path.write_bytes(data)
    assert json_lines(path) == LINES
    for cut in (1, 5, len(data) // 2, len(data) - 10, len(data)):
        path.write_bytes(data[:-cut])
        with pytest.raises(InputError, match=rf"in\.jsonl\.{ending} cannot be read"):
            json_lines(path)


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_a_compressed_csv_that_is_cut_off_fails_with_its_name(tmp_path, ending):
    path = tmp_path / f"in.csv.{ending}"
    data = COMPRESSIONS[ending](b"id,square\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(5_000)))
    path.write_bytes(data)
    assert len(csv_rows(path, "id INT, square BIGINT")[0]) == 5_000
    path.write_bytes(data[: len(data) * 4 // 5])
    with pytest.raises(InputError, match=rf"in\.csv\.{ending} cannot be read"):
        csv_rows(path, "id INT, square BIGINT")


@here
@given(
    # A file that begins with a bracket is an array.
    lines=st.lists(st.binary(max_size=12).filter(lambda line: not set(b"\n[") & set(line)), max_size=12),
    part_bytes=st.integers(4, 60),
    chunk_bytes=st.integers(4, 30),
    mark=st.booleans(),
    ended=st.booleans(),
)
def test_each_line_is_read_once_whatever_the_parts(
    *, tmp_path, monkeypatch, lines, part_bytes, chunk_bytes, mark, ended
):
    monkeypatch.setattr(read_json, "_CHUNK_BYTES", chunk_bytes)
    lines = [line.removeprefix(b"\xef\xbb\xbf") for line in lines]
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" * mark + b"\n".join(lines) + b"\n" * ended)
    expected = [line for line in lines if line.strip()]
    assert json_lines(path) == json_lines(path, part_bytes) == expected


@here
@given(
    elements=st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
            max_leaves=6,
        ),
        max_size=6,
    ),
    chunk_bytes=st.integers(4, 60),
    indent=st.sampled_from([None, 0, 2]),
    as_escapes=st.booleans(),
    mark=st.booleans(),
)
def test_each_element_of_an_array_is_read_as_it_is_written(
    *, tmp_path, monkeypatch, elements, chunk_bytes, indent, as_escapes, mark
):
    monkeypatch.setattr(read_json, "_CHUNK_BYTES", chunk_bytes)
    path = tmp_path / "in.json"
    text = json.dumps(elements, indent=indent, ensure_ascii=as_escapes)
    path.write_bytes(b"\xef\xbb\xbf" * mark + text.encode(errors="replace") + b"\n")
    assert [json.loads(element) for element in json_lines(path)] == json.loads(text.encode(errors="replace"))


def test_numbers_of_an_array_keep_their_digits_and_what_follows_is_no_row(tmp_path):
    path = tmp_path / "in.json"
    path.write_text(f'[{{"a": 1.10}}, {{"b": {"9" * 5_000}}}]')
    assert json_lines(path) == [b'{"a": 1.10}', b'{"b": %s}' % (b"9" * 5_000)]
    for text in ('[{"a": 1}', '[{"a": 1},]', '[{"a": 1} {"a": 2}]', '[{"a": 1}] [', '[{"a": tru}, 1]', '[{"a": "x'):
        path.write_text(text)
        with pytest.raises(InputError, match=r"in\.json cannot be read"):
            json_lines(path)
    path.write_text('[{"a": 1}, nothing' + " " * 100)
    with pytest.raises(InputError, match=r"in\.json cannot be read after element 1: the array is not valid JSON"):
        json_lines(path)


def test_a_large_array_is_not_divided(tmp_path, monkeypatch):
    monkeypatch.setattr(open_files, "_PART_BYTES", 16)
    for name, text, parts in (("a.json", "[{}, {}, {}, {}, {}]", 1), ("b.json", "{}\n" * 10, 2)):
        (tmp_path / name).write_text(text)
        assert len(list(read_json.parts_of_json(metadata(tmp_path / name)))) == parts


def test_a_line_too_long_to_be_a_row_fails_with_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(read_json, "_MAX_LINE_BYTES", 100)
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"x" * 200)
    with pytest.raises(InputError, match=r"in\.jsonl: a line is longer than 100 bytes"):
        json_lines(path)


AVRO = {
    "type": "record",
    "name": "Reading",
    "fields": [
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "day", "type": ["null", {"type": "int", "logicalType": "date"}]},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-nanos"}},
        {"name": "millis", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "local", "type": {"type": "long", "logicalType": "local-timestamp-micros"}},
        {"name": "time", "type": {"type": "int", "logicalType": "time-millis"}},
        {"name": "fine", "type": {"type": "long", "logicalType": "time-micros"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 2}},
        {"name": "inner", "type": {"type": "array", "items": {"type": "int", "logicalType": "date"}}},
    ],
}


def without_logical_types(schema):
    if isinstance(schema, dict):
        return {key: without_logical_types(value) for key, value in schema.items() if key != "logicalType"}
    return [without_logical_types(inner) for inner in schema] if isinstance(schema, list) else schema


def record(**changes):
    unscaled = (123456789012345678901234567890).to_bytes(13, "big", signed=True)
    return {
        "id": "9b0e1c4e-8f7b-4d7e-9b64-0e6a2f9d1a55",
        "day": 0,
        "at": 123_000_000_000,
        "millis": -1,
        "local": 1,
        "time": 1,
        "fine": 86_399_999_999,
        "price": unscaled,
        "inner": [0, 1],
    } | changes


def write_avro(path, records, codec="null", **options):
    with path.open("wb") as file:
        fastavro.writer(file, without_logical_types(AVRO), records, codec="null", metadata={}, **options)
    # The schema with its logical types, as other writers have them.
    plain = path.read_bytes()
    header = io.BytesIO()
    fastavro.writer(header, AVRO, [], codec="null", sync_marker=plain[-16:])
    old = io.BytesIO()
    fastavro.writer(old, without_logical_types(AVRO), [], codec="null", sync_marker=plain[-16:])
    path.write_bytes(header.getvalue() + plain[len(old.getvalue()) :])


def test_every_logical_type_of_avro_has_a_value_that_the_sink_reads(tmp_path):
    path = tmp_path / "in.avro"
    far = {"day": 3_000_000, "millis": 10**15, "local": -(10**18), "time": -1}
    write_avro(path, [record(), record(at=1, day=None), record(**far)])
    first, second, third = avro_records(path)
    assert first == {
        "id": str(uuid.UUID("9b0e1c4e-8f7b-4d7e-9b64-0e6a2f9d1a55")),
        "day": dt.date(1970, 1, 1),
        "at": dt.datetime(1970, 1, 1, 0, 2, 3, tzinfo=dt.UTC),
        "millis": dt.datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=dt.UTC),
        "local": dt.datetime(1970, 1, 1, 0, 0, 0, 1),
        "time": "00:00:00.001000",
        "fine": "23:59:59.999999",
        "price": decimal.Decimal("1234567890123456789012345678.90"),
        "inner": [dt.date(1970, 1, 1), dt.date(1970, 1, 2)],
    }
    assert (second["at"], second["day"]) == ("1970-01-01T00:00:00.000000001Z", None)
    # Beyond Python's years: the sink's own units, which it rejects with their row.
    assert {name: third[name] for name in far} == {**far, "millis": 10**18}


def compressed(codec, block):
    if codec == "snappy":
        return pa.compress(block, "snappy", asbytes=True) + zlib.crc32(block).to_bytes(4, "big")
    return {
        "null": bytes,
        "deflate": deflate,
        "zstandard": zstandard.ZstdCompressor().compress,
        "bzip2": bz2.compress,
        "xz": lzma.compress,
    }[codec](block)


def zigzag(value):
    value, encoded = value << 1, bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def write_blocks(path, codec, blocks):
    """Write a file of records with one long, block by block, as the specification says."""
    schema = {"type": "record", "name": "R", "fields": [{"name": "n", "type": "long"}]}
    sync = bytes(range(16))
    meta = {"avro.schema": json.dumps(schema).encode(), "avro.codec": codec.encode()}
    entries = b"".join(zigzag(len(part)) + part for name, value in meta.items() for part in (name.encode(), value))
    data = b"Obj\x01" + zigzag(len(meta)) + entries + b"\0" + sync
    for numbers in blocks:
        block = compressed(codec, b"".join(zigzag(number) for number in numbers))
        data += zigzag(len(numbers)) + zigzag(len(block)) + block + sync
    path.write_bytes(data)


@here
@given(
    codec=st.sampled_from(sorted(CODECS)),
    blocks=st.lists(st.lists(st.integers(0, 2**40), min_size=1, max_size=9), max_size=6),
    part_bytes=st.integers(20, 400),
)
def test_each_avro_record_is_read_once_in_any_codec_and_parts(tmp_path, codec, blocks, part_bytes):
    path = tmp_path / "in.avro"
    write_blocks(path, codec, blocks)
    expected = [{"n": number} for block in blocks for number in block]
    assert avro_records(path) == avro_records(path, part_bytes) == expected


def test_an_avro_codec_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "in.avro"
    write_blocks(path, "null", [[1]])
    path.write_bytes(path.read_bytes().replace(b"\x08null", b"\x08lz99"))
    with pytest.raises(InputError, match=r"in\.avro has the Avro codec lz99, .* use one of null, deflate, snappy"):
        avro_records(path)


@pytest.mark.parametrize("count", [b"\x00", b"\x04", b"\x08"])
def test_an_avro_block_with_a_wrong_count_fails_instead_of_losing_records(tmp_path, count):
    path = tmp_path / "in.avro"
    write_blocks(path, "null", [[1, 2, 3]])
    path.write_bytes(path.read_bytes().replace(b"\x06\x06\x02\x04\x06", count + b"\x06\x02\x04\x06"))
    with pytest.raises(InputError, match=r"in\.avro cannot be read at byte"):
        avro_records(path)


def test_a_damaged_avro_file_fails_with_its_name_and_place(tmp_path):
    path = tmp_path / "in.avro"
    write_blocks(path, "snappy", [[1, 2], [3]])
    data = path.read_bytes()
    for damaged in (data[:-1], data[:-17], data[:-20], data[:-1] + b"x", b"", b"Obj\x01", b"not Avro"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"in\.avro cannot be read at byte \d+"):
            avro_records(path)


def test_a_damaged_parquet_file_fails_with_its_name_and_row_group(tmp_path):
    path = tmp_path / "in.parquet"
    table = pa.table({"id": range(1_000), "name": [f"name {number}" for number in range(1_000)]})
    pq.write_table(table, path, row_group_size=400, write_page_checksum=True)
    assert pa.concat_tables(parquet_tables(path)).equals(table)
    data = path.read_bytes()
    second = pq.ParquetFile(path).metadata.row_group(1).column(0)
    middle = second.dictionary_page_offset + second.total_compressed_size // 2
    path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    with pytest.raises(InputError, match=r"in\.parquet cannot be read at row group 1"):
        parquet_tables(path)
    for damaged in (b"", data[:-1], data[: len(data) // 2], b"PAR1"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"in\.parquet cannot be read"):
            parquet_tables(path)


def test_a_parquet_file_without_rows_and_one_that_is_compressed(tmp_path):
    pq.write_table(pa.table({"id": pa.array([], pa.int32())}), tmp_path / "none.parquet")
    assert parquet_tables(tmp_path / "none.parquet") == []
    buffer = io.BytesIO()
    pq.write_table(pa.table({"id": [1]}), buffer)
    (tmp_path / "one.parquet.gz").write_bytes(gzip.compress(buffer.getvalue()))
    assert parquet_tables(tmp_path / "one.parquet.gz")[0].to_pylist() == [{"id": 1}]

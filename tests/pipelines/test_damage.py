"""Random files, randomly damaged, through the whole program: no row is lost without an error.

Either each row of the file is in the table or kept, or the exit code is not zero and the message names the file.
"""

from __future__ import annotations

import bz2
import csv
import datetime as dt
import decimal
import gzip
import io
import json
import lzma
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from beam_zerobus.programs import files_to_zerobus

TABLE = "main.files.readings"
COLUMNS = "id INT, name STRING, at TIMESTAMP, price DECIMAL(10,2)"
AVRO = {
    "type": "record",
    "name": "Reading",
    "fields": [
        {"name": "id", "type": ["null", "int"]},
        {"name": "name", "type": ["null", "string"]},
        {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
        {"name": "price", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 11, "scale": 2}]},
    ],
}
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    ".xz": lzma.compress,
    ".deflate": lambda data: zlib.compress(data)[2:-4],
}
CHECKED = ["", ".gz", ".bz2", ".zst", ".xz"]  # deflate alone does not notice a changed byte
Reading = tuple[int, str, dt.datetime | None, decimal.Decimal | None]
readings = st.lists(
    st.tuples(
        st.integers(-9, 2**31),  # the largest does not fit the table
        st.text('ab,;"\n\r\\é\U0001f30d ', max_size=12),
        st.none() | st.datetimes(timezones=st.just(dt.UTC)),
        st.none() | st.decimals(-(10**8) + 1, 10**8, places=2),  # the largest has too many digits
    ),
    min_size=1,
    max_size=30,
)
damages = st.one_of(
    st.just(("none", 0.0, 0)),
    st.tuples(st.just("cut"), st.floats(0, 1), st.just(0)),
    st.tuples(st.just("flip"), st.floats(0, 1), st.integers(0, 7)),
    st.tuples(st.just("drop"), st.floats(0, 1), st.integers(1, 9)),
)


@dataclass(frozen=True)
class File:
    """A file, and a function that returns how many rows it has; it is called only if the run says that all is well."""

    name: str
    data: bytes
    rows: Callable[[], int]


def damaged(data: bytes, damage: tuple[str, float, int]) -> bytes:
    kind, place, number = damage
    at = min(int(place * len(data)), max(len(data) - 1, 0))
    if kind == "cut":
        return data[:at]
    if kind == "flip" and data:
        return data[:at] + bytes([data[at] ^ (1 << number)]) + data[at + 1 :]
    return data[:at] + data[at + number :] if kind == "drop" else data


@st.composite
def csv_files(draw) -> File:
    text = io.StringIO()
    style = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    csv.writer(text, quoting=style).writerows([("id", "name", "at", "price"), *map(as_text, draw(readings))])
    return draw(text_files(text.getvalue(), "in.csv", rows_of_csv))


@st.composite
def json_files(draw) -> File:
    lines = (
        json.dumps(dict(zip(("id", "name", "at", "price"), as_text(row), strict=True)), ensure_ascii=False)
        for row in draw(readings)
    )
    return draw(text_files("\n".join(lines), "in.jsonl", rows_of_json))


def as_text(row: Reading) -> tuple[Any, ...]:
    id_, name, at, price = row
    return id_, name, at and at.isoformat(), None if price is None else str(price)


@st.composite
def text_files(draw, text: str, name: str, rows_of: Callable[[bytes], int]) -> File:
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "latin-1", "utf-16"]))
    data = text.encode(encoding, errors="replace")
    damage = draw(damages)
    if not (ending := draw(st.sampled_from(["", *COMPRESSIONS]))):
        data = damaged(data, damage)
        return File(name, data, lambda: rows_of(data))
    if damage[0] != "cut" and ending not in CHECKED:
        damage = ("none", 0.0, 0)
    # However compressed bytes are damaged, the rows are those that were compressed.
    return File(name + ending, damaged(COMPRESSIONS[ending](data), damage), lambda: rows_of(data))


def rows_of_csv(data: bytes) -> int:
    text = io.StringIO(data.removeprefix(b"\xef\xbb\xbf").decode("latin-1"), newline="")
    return max(sum(1 for record in csv.reader(text) if record) - 1, 0)


def rows_of_json(data: bytes) -> int:
    return sum(1 for line in data.split(b"\n") if line.strip())


@st.composite
def parquet_files(draw) -> File:
    rows = draw(readings)
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "latin-1"]))
    unit = draw(st.sampled_from(["ms", "us"]))
    ids, names, times, prices = zip(*rows, strict=True)
    table = pa.table(
        {
            "id": pa.array(ids),
            "name": pa.array([name.encode(encoding, errors="replace") for name in names]),
            "at": pa.array(times, pa.timestamp("us", "UTC")).cast(pa.timestamp(unit, "UTC"), safe=False),
            "price": pa.array(prices, pa.decimal128(11, 2)),
        }
    )
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        row_group_size=7,
        compression=draw(st.sampled_from(["none", "snappy", "gzip", "zstd", "lz4", "brotli"])),
        use_dictionary=draw(st.booleans()),
        data_page_version=draw(st.sampled_from(["1.0", "2.0"])),
        write_page_checksum=draw(st.booleans()),
    )
    ending = draw(st.sampled_from(["", "", ".gz"]))
    data = damaged(COMPRESSIONS[ending](buffer.getvalue()), draw(damages))
    return File("in.parquet" + ending, data, lambda: len(rows))


@st.composite
def avro_files(draw) -> File:
    rows = draw(readings)
    records = [{"id": min(id_, 2**31 - 1), "name": name, "at": at, "price": price} for id_, name, at, price in rows]
    codec = draw(st.sampled_from(["null", "deflate", "bzip2", "xz"]))
    buffer = io.BytesIO()
    fastavro.writer(buffer, AVRO, records, codec=codec, sync_interval=60)
    damage = draw(damages)
    data = damaged(buffer.getvalue(), damage)

    def count() -> int:
        # A file that is cut off right after a block is whole.
        return sum(1 for _ in fastavro.reader(io.BytesIO(data))) if damage[0] in ("cut", "drop") else len(rows)

    return File("in.avro", data, count)


FILES = {"csv": csv_files(), "jsonl": json_files(), "parquet": parquet_files(), "avro": avro_files()}


# A run takes a fifth of a second. An example is short, so shrinking it is worth less than the time.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("examples", [6, pytest.param(60, marks=pytest.mark.hostile)])
@pytest.mark.parametrize("file_format", FILES)
def test_each_row_is_written_or_kept_or_the_run_fails(zerobus, capsys, file_format, examples):
    table = zerobus.create_table(TABLE, COLUMNS)

    @settings(
        deadline=None,
        max_examples=examples,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(FILES[file_format], st.booleans())
    def check(file: File, keep: bool) -> None:
        before = table.count_rows()
        with tempfile.TemporaryDirectory() as directory:
            path, dead = Path(directory, file.name), Path(directory, "dead")
            path.write_bytes(file.data)
            arguments = ["--zerobus_table", TABLE, "--input", str(path)]
            code = files_to_zerobus.main([*arguments, "--dead_letters", str(dead)] if keep else arguments)
            captured = capsys.readouterr()
            kept = sum(len(letters.read_text().splitlines()) for letters in dead.glob("*.jsonl"))
        said = captured.out + captured.err
        if code:
            assert code in (1, 2)
            assert file.name in said, said
            assert "Traceback" not in said
        else:
            assert table.count_rows() - before + kept == file.rows()
            assert keep or not kept

    check()

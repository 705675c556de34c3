"""Random files, randomly damaged, through the whole program: no row is lost without an error.

Either each row of the file is in the table or kept, or the exit code is not zero and the message names the file.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import tempfile
from pathlib import Path

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipelines import files_to_zerobus

pytestmark = pytest.mark.hostile  # seconds each

TABLE = "main.files.readings"
# A run takes a fifth of a second. An example is short, so shrinking it is worth less than the time.
here = settings(
    deadline=None,
    max_examples=8,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
AVRO = {
    "type": "record",
    "name": "Reading",
    "fields": [{"name": "id", "type": ["null", "int"]}, {"name": "name", "type": ["null", "string"]}],
}
COMPRESSIONS = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    ".xz": lzma.compress,
}
rows = st.lists(
    st.tuples(st.integers(-9, 2**31), st.text('ab,;"\n\r\\é\U0001f30d ', max_size=12)), min_size=1, max_size=30
)
damages = st.one_of(
    st.just(("none", 0.0, 0)),
    st.tuples(st.just("cut"), st.floats(0, 1), st.just(0)),
    st.tuples(st.just("flip"), st.floats(0, 1), st.integers(0, 7)),
    st.tuples(st.just("drop"), st.floats(0, 1), st.integers(1, 9)),
)


def damaged(data: bytes, damage: tuple[str, float, int]) -> bytes:
    kind, place, number = damage
    at = min(int(place * len(data)), max(len(data) - 1, 0))
    if kind == "cut":
        return data[:at]
    if kind == "flip" and data:
        return data[:at] + bytes([data[at] ^ (1 << number)]) + data[at + 1 :]
    return data[:at] + data[at + number :] if kind == "drop" else data


def as_csv(rows, encoding) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([("id", "name"), *rows])
    return text.getvalue().encode(encoding, errors="replace")


def as_json(rows, encoding) -> bytes:
    lines = (json.dumps({"id": id_, "name": name}, ensure_ascii=False) for id_, name in rows)
    return "\n".join(lines).encode(encoding, errors="replace")


def as_parquet(rows, encoding) -> bytes:
    names = [name.encode(encoding, errors="replace") for _, name in rows]
    table = pa.table({"id": [id_ for id_, _ in rows], "name": names})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=7, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def as_avro(rows, codec) -> bytes:
    buffer = io.BytesIO()
    records = [{"id": min(id_, 2**31 - 1), "name": name} for id_, name in rows]
    fastavro.writer(buffer, AVRO, records, codec=codec, sync_interval=60)
    return buffer.getvalue()


def rows_of_csv(data: bytes) -> int:
    text = io.StringIO(data.removeprefix(b"\xef\xbb\xbf").decode("latin-1"), newline="")
    return max(sum(1 for record in csv.reader(text) if record) - 1, 0)


def rows_of_json(data: bytes) -> int:
    return sum(1 for line in data.split(b"\n") if line.strip())


def check(zerobus, capsys, name: str, data: bytes, count, *, keep: bool) -> None:
    """Send a file; `count` returns how many rows it has, and is called only if the run says that all is well."""
    table = zerobus.table(TABLE)
    before = table.count_rows()
    with tempfile.TemporaryDirectory() as directory:
        path, dead = Path(directory, name), Path(directory, "dead")
        path.write_bytes(data)
        arguments = ["--zerobus_table", TABLE, "--input", str(path)]
        code = files_to_zerobus.main([*arguments, "--dead_letters", str(dead)] if keep else arguments)
        captured = capsys.readouterr()
        kept = sum(len(file.read_text().splitlines()) for file in dead.glob("*.jsonl"))
    said = captured.out + captured.err
    if code:
        assert code in (1, 2)
        assert re.search(rf"{re.escape(name)}|rows rejected for table|row \d+: ", said), said
        assert "Traceback" not in said
    else:
        assert table.count_rows() - before + kept == count()
        assert keep or not kept


@pytest.fixture(autouse=True)
def _table(zerobus):
    zerobus.create_table(TABLE, "id INT, name STRING")


endings = st.sampled_from(["", "", *COMPRESSIONS])
encodings = st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "utf-16"])


@pytest.mark.parametrize(
    ("name", "write", "rows_of"), [("in.csv", as_csv, rows_of_csv), ("in.jsonl", as_json, rows_of_json)]
)
@here
@given(rows=rows, damage=damages, ending=endings, encoding=encodings, keep=st.booleans())
def test_text(*, zerobus, capsys, name, write, rows_of, rows, damage, ending, encoding, keep):
    data = write(rows, encoding)
    if not ending:
        data = damaged(data, damage)
    # However compressed bytes are damaged, the rows are those that were compressed.
    written = damaged(COMPRESSIONS[ending](data), damage) if ending else data
    check(zerobus, capsys, name + ending, written, lambda: rows_of(data), keep=keep)


@here
@given(rows=rows, damage=damages, encoding=st.sampled_from(["utf-8", "latin-1"]), keep=st.booleans())
def test_parquet(*, zerobus, capsys, rows, damage, encoding, keep):
    data = damaged(as_parquet(rows, encoding), damage)
    check(zerobus, capsys, "in.parquet", data, lambda: len(rows), keep=keep)


@here
@given(rows=rows, damage=damages, codec=st.sampled_from(["null", "deflate", "bzip2", "xz"]), keep=st.booleans())
def test_avro(*, zerobus, capsys, rows, damage, codec, keep):
    data = damaged(as_avro(rows, codec), damage)

    def count() -> int:
        # A file that is cut off right after a block is whole.
        return sum(1 for _ in fastavro.reader(io.BytesIO(data))) if damage[0] in ("cut", "drop") else len(rows)

    check(zerobus, capsys, "in.avro", data, count, keep=keep)

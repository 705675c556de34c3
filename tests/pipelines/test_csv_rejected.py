"""CSV: what is kept of rows that are rejected, and why they are."""

from __future__ import annotations

import json

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_zerobus.batching import element_converter
from beam_zerobus.programs import csv_blocks
from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.time_rules import TimeRules
from beam_zerobus.sink.dead_letters import RawText, to_element, to_json
from tests.pipelines.readers import csv_rows

here = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)


def test_numbers_beyond_their_column_are_numbers_in_dead_letters(tmp_path):
    """Messages advise a larger type in the table; it takes no text once the rows are replayed."""
    path = tmp_path / "numbers.csv"
    path.write_bytes(
        b"t,i,f,d\n 300 ,1,1,1\n1,-3000000000,1,1\n1,1,16777217,1\n1,1,1e300,1\n1,1,1,9007199254740993\n"
        b"x,99999999999999999999,1e999,\xff\n"
    )
    _, failed = csv_rows(path, "t TINYINT, i INT, f FLOAT, d DOUBLE")
    assert [tuple(letter.element.values()) for letter in failed] == [
        (300, 1, 1.0, 1.0),
        (1, -3_000_000_000, 1.0, 1.0),
        (1, 1, 16_777_217, 1.0),
        (1, 1, 1e300, 1.0),
        (1, 1, 1.0, 9_007_199_254_740_993),
        ("x", "99999999999999999999", "1e999", RawText(b"\xff")),
    ]


def test_blanks_that_a_column_does_not_read_are_not_in_dead_letters(tmp_path):
    """The sink, which reads the text when the rows are replayed, accepts none."""
    path = tmp_path / "blanks.csv"
    path.write_bytes(b"t,n,d,at,s\nx, 1.5, 2026-01-31 , 2026-01-31T12:00:00Z, a\nx,\xff, 2026-01-31,\xff,\n")
    _, failed = csv_rows(path, "t TINYINT, n DECIMAL(5,2), d DATE, at TIMESTAMP, s STRING")
    raw = RawText(b"\xff")
    assert [tuple(letter.element.values()) for letter in failed] == [
        ("x", "1.5", "2026-01-31", "2026-01-31T12:00:00Z", " a"),
        ("x", raw, "2026-01-31", raw, None),
    ]


def test_times_outside_of_the_years_of_python_are_kept_exactly(tmp_path):
    """The row is rejected for another value, and is replayed with any unit."""
    path = tmp_path / "years.csv"
    path.write_bytes(b"t,at,ntz\nx,253402300800,-62135596801\nx,5,\nx,,999999999999\n")
    ddl = "t TINYINT, at TIMESTAMP, ntz TIMESTAMP_NTZ"
    _, failed = csv_rows(path, ddl, times=TimeRules(epoch_unit="s"))
    corrected = [to_element(json.loads(to_json(letter)), None) | {"t": 1} for letter in failed]
    table = TableSchema.from_ddl(ddl)
    for times in (TimeRules(), TimeRules(epoch_unit="ms"), TimeRules(assume_timezone="Europe/Berlin")):
        converted = element_converter("row", table, times=times)(corrected)
        assert not converted.rejected
        at, ntz = (column.cast(pa.int64()).to_pylist() for column in converted.whole.columns[1:])
        assert at == [253_402_300_800_000_000, 5_000_000, None]
        assert ntz == [-62_135_596_801_000_000, None, 999_999_999_999_000_000]


def test_bytes_are_bytes_once_the_rest_of_their_row_is_corrected(tmp_path):
    """As text they would be rejected: base64 is only what bytes are in JSON."""
    path = tmp_path / "bytes.csv"
    path.write_bytes(b"t,raw\nx,YWI=\nx,YW\nx,\nx,caf\xe9\n")
    _, failed = csv_rows(path, "t TINYINT, raw BINARY")
    letters = [json.loads(to_json(letter)) for letter in failed]
    assert [letter["element"]["raw"] for letter in letters] == ["YWI=", "YW", None, "caf\\xe9"]
    values = [to_element(letter)["raw"] for letter in letters]
    assert [(type(value), value) for value in values] == [
        (bytes, b"ab"),
        (str, "YW"),
        (type(None), None),
        (RawText, b"caf\xe9"),
    ]


cells = st.one_of(
    st.sampled_from([b"", b" 7 ", b"300", b"-3000000000", b"16777217", b"1e300", b"1.5", b"true", b"NULL", b"x"]),
    st.sampled_from([b"2026-01-31", b" 2026-02-30", b"caf\xe9", b" \xff", "é ".encode(), b'"a\n\xe9"', b'"\xff\\"']),
)


@here
@given(rows=st.lists(st.tuples(*[cells] * 7), min_size=2, max_size=6))
def test_rows_are_rejected_alike_together_and_alone(tmp_path, monkeypatch, rows):
    """Columns are checked and kept as a whole, also where some values are not UTF-8."""
    ddl = "t TINYINT, f FLOAT, b BOOLEAN, s STRING, n DECIMAL(5,2), d DATE, raw BINARY"
    path = tmp_path / "in.csv"
    monkeypatch.setattr(csv_blocks, "_BLOCK_BYTES", 1 << 16)  # a new buffer for each file takes its time

    def read(*some):
        lines = [b"t,f,b,s,n,d,raw", *map(b",".join, some)]
        path.write_bytes(b"\n".join(lines) + b"\n")
        good, failed = csv_rows(path, ddl)
        reasons = [letter.message.partition(", column")[2] for letter in failed]
        return good, list(zip([repr(letter.element) for letter in failed], reasons, strict=True))

    alone = [read(row) for row in rows]
    good, failed = read(*rows)
    assert len(good) + len(failed) == len(rows)
    assert repr(good) == repr([row for rows_of_one, _ in alone for row in rows_of_one])
    assert failed == [letter for _, letters in alone for letter in letters]

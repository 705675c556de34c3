"""CSV: blocks, quotes, text to values, compared with Python's own reader."""

from __future__ import annotations

import csv
import datetime as dt
import io
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_zerobus.errors import ConversionError
from beam_zerobus.programs import csv_blocks, read_csv
from beam_zerobus.programs.command import InputError
from beam_zerobus.programs.csv_records import quotes_of, records_of
from beam_zerobus.schema.time_rules import TimeRules
from tests.pipelines.readers import csv_lines, csv_rows

here = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def strict(text: str, delimiter: str = ",") -> list[list[str]] | None:
    """Return the records as Python's strict reader sees them; None if it rejects the text."""
    try:
        records = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return list(filter(None, records))


@here
@given(text=st.text('ab,"\r\n', max_size=40))
def test_records_are_those_of_a_strict_reader(text):
    data = text.encode()
    quotes = quotes_of(data, ord(","))
    expected = strict(text)
    if expected is None:
        assert quotes.unclosed is not None or len(quotes.stray)
    else:
        assert quotes.unclosed is None
        assert not len(quotes.stray)
        assert records_of(data, ord(","), quotes).values.tolist() == list(map(len, expected))


@here
@given(
    rows=st.lists(st.tuples(st.integers(0, 9), st.text('x"\r\n, é', max_size=12)), min_size=1, max_size=12),
    block_bytes=st.integers(120, 200),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    mark=st.booleans(),
)
def test_values_do_not_depend_on_where_a_block_ends(*, tmp_path, monkeypatch, rows, block_bytes, line_end, mark):
    monkeypatch.setattr(csv_blocks, "_BLOCK_BYTES", block_bytes)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    writer.writerows([("id", "name"), *rows])
    path = tmp_path / "in.csv"
    path.write_bytes(b"\xef\xbb\xbf" * mark + text.getvalue().encode())
    assert csv_rows(path, "id INT, name STRING") == ([{"id": id_, "name": name} for id_, name in rows], [])


@here
@given(
    rows=st.lists(st.none() | st.tuples(st.integers(0, 9), st.text('x"\n, é', max_size=12)), min_size=1, max_size=12),
    block_bytes=st.integers(120, 200),
    line_end=st.sampled_from(["\n", "\r\n"]),
    ended=st.booleans(),
    bad=st.booleans(),
)
def test_each_row_has_the_line_where_it_starts(*, tmp_path, monkeypatch, rows, block_bytes, line_end, ended, bad):
    monkeypatch.setattr(csv_blocks, "_BLOCK_BYTES", block_bytes)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=line_end)
    for row in [("id", "name"), *rows, ("0", "last")]:
        if row is None:
            text.write(line_end)  # an empty line
        else:
            writer.writerow((row[0], "\ufffd") if bad and row[1] == "" else row)
    path = tmp_path / "in.csv"
    data = text.getvalue() if ended else text.getvalue().removesuffix(line_end)
    path.write_bytes(data.encode().replace("\ufffd".encode(), b"\xff"))
    expected, before = [], 0
    reader = csv.reader(io.StringIO(data, newline=""))
    for record in reader:
        if record and "\ufffd" not in record:
            expected.append(before + 1)
        before = reader.line_num
    assert csv_lines(path, "id INT, name STRING") == expected[1:]


def test_a_quoted_line_end_at_the_end_of_a_block_stays(tmp_path):
    path = tmp_path / "in.csv"
    head = b'name\n"'
    path.write_bytes(head + b"x" * ((16 << 20) - len(head) - 1) + b'\r\ny"\nlast\n')
    rows, failed = csv_rows(path, "name STRING")
    assert not failed
    assert [row["name"][-3:] for row in rows] == ["\r\ny", "ast"]


@pytest.mark.parametrize("dead_letters", [True, False])
def test_a_quote_that_is_never_closed_fails_with_its_line(tmp_path, dead_letters):
    path = tmp_path / "in.csv"
    path.write_text('id,name\n1,"two\nlines"\n2,"open\n3,x\n4,"y"\n5,z\n' + "6,zz\n" * 100)
    text = path.read_text().replace('"y"', "y")
    path.write_text(text)
    with pytest.raises(InputError, match=r"in\.csv, line 4: a quote is opened and not closed"):
        csv_rows(path, "id INT, name STRING", dead_letters=dead_letters)


def test_text_after_a_closing_quote_is_rejected_with_its_line(tmp_path):
    path = tmp_path / "in.csv"
    path.write_bytes(b'id,name\n1,"pedro"bla\n2,3" pipe\n3,"open\n4,"Anna"\n5,latin \xe9,more\n6,"a ""b"""\n')
    rows, failed = csv_rows(path, "id INT, name STRING")
    assert rows == [{"id": 2, "name": '3" pipe'}, {"id": 6, "name": 'a "b"'}]
    assert [str(row.element) for row in failed] == ['1,"pedro"bla', '3,"open\n4,"Anna"', r"5,latin \xe9,more"]
    assert [row.message.partition("in.csv, ")[2].partition(":")[0] for row in failed] == ["line 2", "line 4", "line 6"]
    assert [row.error_type for row in failed] == ["invalid_text"] * 3


def test_the_reason_of_a_malformed_row_says_what_to_write(tmp_path):
    path = tmp_path / "in.csv"
    path.write_bytes(b'id,name\n1\n1,"pedro"bla\n')
    _, failed = csv_rows(path, "id INT, name STRING")
    assert [row.message.partition("in.csv, ")[2] for row in failed] == [
        "line 2: it has 1 value, the header 2; correct the row",
        "line 3: text follows a closing quote; write each quote inside a value twice",
    ]


def test_a_row_that_is_rejected_may_hold_a_time_that_python_cannot(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("at,day,co2\n0001-01-01T00:00:00+01:00,0000-02-29,x\n")
    rows, (failed,) = csv_rows(path, "at TIMESTAMP, day DATE, co2 INT")
    assert not rows
    assert failed.element == {"at": "0001-01-01T00:00:00+01:00", "day": "0000-02-29", "co2": "x"}


@pytest.mark.parametrize("text", ["", "\n\n", "id,name", "id,name\n", "\ufeffid,name\r\n\r\n"])
def test_a_file_without_rows_has_none(tmp_path, text):
    path = tmp_path / "in.csv"
    path.write_bytes(text.encode())
    assert csv_rows(path, "id INT, name STRING") == ([], [])


def test_one_row_without_a_line_end(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text('id,name\n1,"x"')
    assert csv_rows(path, "id INT, name STRING") == ([{"id": 1, "name": "x"}], [])


INTEGERS = {"TINYINT": 8, "SMALLINT": 16, "INT": 32, "BIGINT": 64}
number_texts = st.one_of(
    st.integers(-(2**65), 2**65).map(str),
    st.integers(-200, 200).map(str),
    st.integers(-(2**31) - 2, 2**31 + 2).map(str),
    st.integers(0, 99).map(lambda number: f"{number:040}"),
    st.sampled_from(["0x10", "+5", "1_0", "1.0", "", "-", "--1", "NULL", "\uff19", "1e3", "-0"]),
)
blanks = st.sampled_from(["", " ", "\t"])


def read_one_by_one(tmp_path, monkeypatch, ddl, texts):
    """Return for each text its value, and "rejected" where it has none; texts are read together, and so affect none."""
    path = tmp_path / "in.csv"
    monkeypatch.setattr(csv_blocks, "_BLOCK_BYTES", 1 << 16)  # a new buffer for each file takes its time
    path.write_text("n,v\n" + "".join(f"{number},{text}\n" for number, text in enumerate(texts)))
    rows, failed = csv_rows(path, f"n INT, v {ddl}")
    found = {row["n"]: row["v"] for row in rows} | {row.element["n"]: row.error_type for row in failed}
    assert len(found) == len(rows) + len(failed) == len(texts)
    return [found[number] for number in range(len(texts))]


@here
@given(kind=st.sampled_from(sorted(INTEGERS)), texts=st.lists(st.tuples(blanks, number_texts), min_size=1, max_size=8))
def test_whole_numbers_are_exact_or_rejected(tmp_path, monkeypatch, kind, texts):
    limit = 2 ** (INTEGERS[kind] - 1)

    def expected(text):
        if not text:
            return None
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()):
            return "invalid_text"
        return int(text) if -limit <= int(text) < limit else "out_of_range"

    # Blanks alone are text.
    written = [blank * bool(text) + text + blank * bool(text) for blank, text in texts]
    assert read_one_by_one(tmp_path, monkeypatch, kind, written) == [expected(text) for _, text in texts]


@here
@given(
    texts=st.lists(
        st.one_of(
            st.floats(allow_nan=False, allow_infinity=False).map(repr),
            st.integers(-(2**60), 2**60).map(str),
            st.sampled_from(["1e400", "-1e400", "inf", "-Infinity", "1.", ".5", "x", "1;5", "1e3", "+1.5", "0x10"]),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_floats_are_exact_or_rejected(tmp_path, monkeypatch, texts):
    def expected(text):
        try:
            value = float(text)
        except ValueError:
            return "invalid_text"
        if math.isinf(value) and "inf" not in text.lower():
            return "out_of_range"
        return "inexact" if text.removeprefix("-").isdigit() and int(text) != int(value) else value

    assert read_one_by_one(tmp_path, monkeypatch, "DOUBLE", texts) == [expected(text) for text in texts]


moments = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30))
fractions = st.one_of(st.just(""), st.text("0123456789", min_size=1, max_size=9), st.text("0", min_size=7, max_size=9))
zones = st.sampled_from(["Z", "+00:00", "-05:30", "+0100", "+14"])
separators = st.sampled_from(["T", " "])


@here
@given(texts=st.lists(st.tuples(moments, separators, fractions, zones, st.booleans()), min_size=1, max_size=8))
def test_timestamps_are_exact_or_rejected(tmp_path, monkeypatch, texts):
    def of(moment, separator, fraction, zone, wrong):
        start = moment.replace(microsecond=0)
        text = f"{start.isoformat(separator)}{f'.{fraction}' if fraction else ''}{zone}"
        if wrong:
            return text.replace("-", "/"), "invalid_text"
        if fraction[6:].strip("0"):
            return text, "inexact"
        offset = {"Z": "+0000", "+00:00": "+0000", "-05:30": "-0530", "+0100": "+0100", "+14": "+1400"}[zone]
        aware = start.replace(tzinfo=dt.datetime.strptime(offset, "%z").tzinfo)
        return text, aware + dt.timedelta(microseconds=int(f"{fraction:0<6}"[:6]))

    written = [of(*text) for text in texts]
    assert read_one_by_one(tmp_path, monkeypatch, "TIMESTAMP", [text for text, _ in written]) == [
        value for _, value in written
    ]


@here
@given(texts=st.lists(st.tuples(st.integers(1, 9999), st.integers(0, 13), st.integers(0, 32)), min_size=1, max_size=8))
def test_dates_are_exact_or_rejected(tmp_path, monkeypatch, texts):
    def expected(year, month, day):
        try:
            return dt.date(year, month, day)
        except ValueError:
            return "invalid_text"

    written = [f"{year:04}-{month:02}-{day:02}" for year, month, day in texts]
    assert read_one_by_one(tmp_path, monkeypatch, "DATE", written) == [expected(*text) for text in texts]


def test_without_dead_letters_the_first_bad_block_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_blocks, "_BLOCK_BYTES", 1_000)
    seen = []
    monkeypatch.setattr(read_csv, "_split", lambda *block, split=read_csv._split: seen.append(1) or split(*block))
    path = tmp_path / "in.csv"
    path.write_text("n,v\n" + "1,NULL\n" * 10_000)
    with pytest.raises(Exception, match=r"rows rejected .*in\.csv, line 2, column 'v' is INT"):
        csv_rows(path, "n INT, v INT", dead_letters=False)
    assert len(seen) == 1


def test_without_dead_letters_rejected_rows_are_in_the_order_of_lines_each_with_its_own_index(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("id,n\n1,1\n2,2,3\n\n3,x\n4,4\n5\n6,y\n")
    with pytest.raises(ConversionError, match=r"4 of 6 rows .* line 3: .* line 5, .* line 7: .*; and 1 more") as raised:
        csv_rows(path, "id INT, n INT", dead_letters=False)
    assert [error.index for error in raised.value.row_errors] == [1, 2, 4, 5]


def test_blanks_around_values_are_ignored_but_in_text(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("i,d,p,b,day,s\n 7 ,\t1.5, +2.50 , TRUE ,2026-01-31 , x \n")
    rows, failed = csv_rows(path, "i INT, d DOUBLE, p DECIMAL(5,2), b BOOLEAN, day DATE, s STRING")
    assert not failed
    assert rows == [{"i": 7, "d": 1.5, "p": "+2.50", "b": True, "day": dt.date(2026, 1, 31), "s": " x "}]


def test_options_for_times_hold_for_csv(tmp_path):
    path = tmp_path / "times.csv"
    texts = [
        "1700000000",
        " 2026-01-01T01:00:00",
        "2026-01-01T00:00:00Z",
        "2026-03-29T02:30:00",
        "1.5",
        "99999999999999999",
    ]
    path.write_text("t,n\n" + "".join(f"{text},\n" for text in texts) + ",1700000000\n")
    times = TimeRules(assume_timezone="Europe/Berlin", epoch_unit="s")
    rows, failed = csv_rows(path, "t TIMESTAMP, n TIMESTAMP_NTZ", times=times)
    new_year, autumn = dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2023, 11, 14, 22, 13, 20)
    assert [row["t"] for row in rows] == [autumn.replace(tzinfo=dt.UTC), new_year, new_year, None]
    assert rows[-1]["n"] == autumn
    assert [letter.error_type for letter in failed] == ["inexact", "invalid_text", "out_of_range"]
    assert "change of the clocks in Europe/Berlin" in failed[0].message
    assert "nor a whole number of seconds" in failed[1].message


def test_times_without_options_name_them(tmp_path):
    path = tmp_path / "times.csv"
    path.write_text("t\n2026-01-01T01:00:00\n1700000000\n")
    rows, failed = csv_rows(path, "t TIMESTAMP")
    assert not rows
    for letter in failed:
        assert "assume_timezone" in letter.message
        assert "epoch_unit" in letter.message

import dataclasses
import pickle
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import beam_zerobus
from beam_zerobus import (
    ConfigurationError,
    ConversionError,
    RejectedError,
    RowError,
    TransientError,
    TransmissionResult,
    ZerobusError,
)
from beam_zerobus.errors import RowErrors, about_table, redact_url, summarize

PACKAGE = Path(beam_zerobus.__file__).parent
ROW = RowError(3, "null_in_not_null_column", "column 'id' is NOT NULL")


@pytest.mark.parametrize(
    "error",
    [
        ZerobusError("plain"),
        ConversionError("rows", row_errors=[ROW]),
        RejectedError("rejected", row_errors=[ROW]),
        RejectedError("rejected: 'x'", row_errors=[ROW]).quoting("'x'"),
        ConfigurationError("rejected: 'x'").quoting("'x'"),
        ConversionError("rows", row_errors=[ROW]).introduced_by("table a.b.c: "),
        ConfigurationError.of_faults(["one", "two"], about="options"),
        TransientError("busy", retry_after=7.5),
        TransientError(
            "gone",
            attempts=6,
            cause="UNAVAILABLE",
            acknowledged_rows=1,
            unacknowledged_rows=2,
            unacknowledged=[pa.record_batch({"id": [1, 2]})],
        ),
    ],
)
def test_errors_survive_pickling_with_all_they_carry(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.__dict__ == error.__dict__
    assert "pyarrow" not in repr(copy)
    augmented = type(error)(error.args[0] + " [while running 'Write']", *error.args[1:])  # as Beam does it
    assert str(augmented) == f"{error} [while running 'Write']"
    assert augmented.__dict__ == error.__dict__


def test_every_error_is_a_zerobus_error():
    errors = [
        getattr(beam_zerobus, name) for name in beam_zerobus.__all__ if name.endswith("Error") and name != "RowError"
    ]
    assert len(errors) == 7
    assert all(issubclass(error, ZerobusError) for error in errors)


def test_the_package_exports_each_name_once_in_order():
    names = [name for name in beam_zerobus.__all__ if not name.startswith("_")]
    assert names == sorted(set(names))
    assert {"Credentials", "EnvironmentVariable"} < set(names)
    assert all(getattr(beam_zerobus, name).__name__ == name for name in names)


def test_the_problem_of_an_error_is_its_message_without_what_introduces_it():
    error = ConversionError("column 'id' does not fit")
    assert [error.problem, error.introduced_by("a: ").introduced_by("b: ").problem] == [str(error)] * 2


def test_an_error_with_the_tables_name_keeps_its_rows():
    with pytest.raises(ConversionError, match="table a.b.c: rows") as raised, about_table("a.b.c"):
        raise ConversionError("rows", row_errors=[ROW])
    assert raised.value.row_errors == (ROW,)


REASONS = [("null", "schema"), ("null", "service"), ("large", "schema")]
rows_of_parts = st.lists(st.integers(0, 30), unique=True).flatmap(
    lambda rows: st.lists(st.sampled_from(range(len(REASONS))), min_size=len(rows), max_size=len(rows)).map(
        lambda which: list(zip(rows, which, strict=True))
    )
)


def in_columns(rows):
    reasons = [RowError(99, error_type, f"reason {error_type}", stage) for error_type, stage in REASONS]
    indices, which = np.array(rows, np.int64).reshape(-1, 2).T
    return RowErrors(indices, which, reasons)


@given(rows_of_parts, st.integers(0, 30), st.slices(30))
def test_errors_in_columns_are_those_of_a_tuple(rows, cut, part):
    columns = in_columns(rows)
    plain = tuple(RowError(row, REASONS[n][0], f"reason {REASONS[n][0]}", REASONS[n][1]) for row, n in rows)
    assert columns == plain
    assert plain == columns
    assert hash(columns) == hash(plain)
    assert repr(columns) == repr(plain)
    assert pickle.loads(pickle.dumps(columns)) == plain
    assert [columns[n] for n in range(len(columns))] == [*plain]
    assert columns[part] == plain[part]
    assert len(columns[part].reasons) <= len(columns[part])  # so that parts do not hold the reasons of all
    joined = RowErrors.joined([columns[:cut], plain[cut:], ()])
    assert joined == tuple(sorted(plain, key=lambda error: error.index))
    assert joined.by_type() == Counter(error.error_type for error in plain)
    assert joined.by_service() == any(error.stage == "service" for error in plain)
    firsts = {(error.error_type, error.stage): error for error in reversed(joined)}
    assert {(error.error_type, error.stage): error for error, _ in reversed(joined.summed())} == firsts
    assert sum(count for _, count in joined.summed()) == len(plain)


def test_a_result_has_its_failed_rows_as_a_tuple():
    facts = {"success": False, "error": "", "attempts": 1, "latency_ms": 1.0, "batch_size_bytes": 0, "total_rows": 9}
    columns = in_columns([(2, 0), (5, 2)])
    result, same = (
        TransmissionResult(**facts, successful_count=7, failed_count=2, failed_rows=rows)
        for rows in (columns, tuple(columns))
    )
    assert type(result.failed_rows) is tuple
    assert result.failed_rows is result.failed_rows
    assert result.rejected is columns
    assert result == same == pickle.loads(pickle.dumps(result)) == dataclasses.replace(result)
    assert hash(result) == hash(same)
    assert dataclasses.asdict(result)["failed_rows"] == tuple(map(dataclasses.asdict, columns))
    assert TransmissionResult(**facts, successful_count=9, failed_count=0).failed_rows == ()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host:443/path", "https://host:443/path"),
        ("host:443", "host:443"),
        ("https://user:p@ss/w?rd#@host/path", "https://***@host/path"),
        ("user:password@host", "***@host"),
        ("https://host?token=a#b", "https://host?***"),
        ("https://host#b?c", "https://host?***"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_secrets(url, shown):
    assert redact_url(url) == shown


def test_a_summary_counts_all_and_shows_the_first():
    rows = [ROW.at(index) for index in range(8)]
    text = summarize(rows, table="a.b.c", total_rows=10)
    assert text.startswith("8 of 10 rows rejected for table a.b.c: row 0: column 'id' is NOT NULL; row 1")
    assert text.endswith("and 3 more")


def test_a_summary_names_every_kind_of_rejected_row():
    rows = [*(ROW.at(index) for index in range(8)), RowError(9, "out_of_range", "column 'co2' is INT")]
    text = summarize(rows, table="a.b.c", total_rows=10)
    assert text.startswith(f"9 of 10 rows rejected for table a.b.c (8 {ROW.error_type}, 1 out_of_range): row 0")
    assert text.endswith("row 9: column 'co2' is INT; and 4 more")


_TEXT_OF_ERROR = re.compile(
    r"(?<!for line )in str\((error|failure)\)"
    r"|str\((error|failure)\)\.(replace|remove\w+|r?partition|\w+swith|split\([^)])"
)


def test_no_code_looks_into_the_text_of_an_error():
    """An error has what others need as an attribute or a class; what Beam returns of one is a text of its own."""
    modules = PACKAGE.rglob("*.py")
    assert [path for path in modules if _TEXT_OF_ERROR.search(path.read_text("utf-8"))] == []

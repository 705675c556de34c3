import pickle

import pyarrow as pa
import pytest

import beam_zerobus
from beam_zerobus import ConfigurationError, ConversionError, RejectedError, RowError, TransientError, ZerobusError
from beam_zerobus.errors import about_table, redact_url, summarize

ROW = RowError(3, "null_in_not_null_column", "column 'id' is NOT NULL")


@pytest.mark.parametrize(
    "error",
    [
        ZerobusError("plain"),
        ConversionError("rows", row_errors=[ROW]),
        RejectedError("rejected", row_errors=[ROW]),
        RejectedError("rejected: 'x'", row_errors=[ROW]).quoting("'x'"),
        ConfigurationError("rejected: 'x'").quoting("'x'"),
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


def test_an_error_with_the_tables_name_keeps_its_rows():
    with pytest.raises(ConversionError, match="table a.b.c: rows") as raised, about_table("a.b.c"):
        raise ConversionError("rows", row_errors=[ROW])
    assert raised.value.row_errors == (ROW,)


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

"""What we rely on in the SDK: each error is made to happen at a real server, and the SDK's class and text are compared.

Runs with the SDK that is installed; `sdk_matrix.py` runs it with the oldest and the newest that we allow.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from zerobus.sdk.sync import NonRetriableException, ZerobusException

from beam_zerobus import ConfigurationError, ConversionError, RejectedError
from beam_zerobus.delivery.failures import FailureKind
from beam_zerobus.delivery.sdk_errors import ERRORS
from beam_zerobus.emulator import Emulator, Faults, ScriptedFault
from tests.delivery.sdk_failures import DDL, FORMATS, PLACES, ROWS, TABLE, expected_texts, fail, injected

COMPATIBILITY = Path(__file__).parents[2] / "docs" / "compatibility.md"
FINAL = ("INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "OUT_OF_RANGE", "UNIMPLEMENTED", "NOT_FOUND")


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(memory=True) as running:
        running.create_table(TABLE, DDL)
        yield running


def statuses() -> Iterator[tuple[str, str, int]]:
    """Yield every gRPC status, message and row of the table that belong together."""
    for index, row in enumerate(ERRORS):
        if row.source in ("status", "number"):
            for status in row.conditions:
                if row.number is not None:
                    yield status, f"Error {row.number}: the words after it are free", index
                elif status != "OK":
                    yield status, 'no "number" \\ here\nat all', index
                    yield status, "", index


@FORMATS
@PLACES
@pytest.mark.parametrize("case", list(statuses()), ids=str)
def test_each_status_has_its_row(emulator, wire_format, place, case):
    status, message, index = case
    emulator.faults = injected(place, status, message)
    failure, text, error_class = fail(emulator, wire_format)
    assert text in expected_texts(place, wire_format, status, message)
    assert error_class is (NonRetriableException if status in FINAL else ZerobusException)
    row = ERRORS[index]
    assert (failure.kind, failure.cause) == (row.kind, status)
    assert (failure.blocked, failure.schema_changed) == (row.blocked, row.schema_changed)
    assert failure.while_opening is (place == "opening")
    assert str(failure) == (message or f"{status}, without a message")


@FORMATS
@PLACES
@pytest.mark.parametrize("number", [6002, 6006, 8001])
@pytest.mark.parametrize(
    "case",
    [
        ("NOT_FOUND", FailureKind.NOT_FOUND),
        ("INVALID_ARGUMENT", FailureKind.REJECTED),
        ("UNAVAILABLE", FailureKind.TRANSIENT),
    ],
)
def test_a_number_within_a_name_or_a_value_is_not_an_error_number(emulator, wire_format, place, case, number):
    status, kind = case
    emulator.faults = injected(place, status, f"Table 'main.iot.site_{number}' or value {number}: Error {number}: no")
    failure, _, _ = fail(emulator, wire_format)
    assert (failure.kind, failure.blocked, failure.schema_changed) == (kind, False, False)


@FORMATS
@PLACES
@pytest.mark.parametrize("number", [6002, 6006, 8001])
def test_no_number_changes_a_missing_table(emulator, wire_format, place, number):
    emulator.faults = injected(place, "NOT_FOUND", f"Error {number}: no such table")
    failure, _, _ = fail(emulator, wire_format)
    assert (failure.kind, failure.blocked, failure.schema_changed) == (FailureKind.NOT_FOUND, False, False)


@FORMATS
@pytest.mark.parametrize("number", ["", "Error 8001: "])
@pytest.mark.parametrize(
    "causes",
    [
        ("FIELD_NOT_IN_TABLE",),
        ("MISSING_REQUIRED_COLUMN",),
        ("FIELD_OUT_OF_ORDER",),
        ("TYPE_INCOMPATIBLE",),
        ("FIELD_COUNT_MISMATCH", "FIELD_NOT_IN_TABLE"),
        ("SOMETHING_NEW",),
    ],
)
def test_error_info_at_opening_is_a_changed_schema_over_arrow(emulator, wire_format, causes, number):
    message = f"{number}Arrow Flight schema validation failed"
    emulator.faults = injected("opening", "INVALID_ARGUMENT", message, causes)
    failure, text, error_class = fail(emulator, wire_format)
    assert error_class is NonRetriableException
    assert failure.kind is FailureKind.REJECTED
    if wire_format == "arrow":
        assert text == f"Arrow schema does not match the target table: {message}."
        assert (failure.cause, failure.schema_changed) == ("SCHEMA_VALIDATION_FAILED", True)
    else:  # the SDK reads no details there: only the number tells
        assert text in expected_texts("opening", wire_format, "INVALID_ARGUMENT", message)
        assert (failure.cause, failure.schema_changed) == ("INVALID_ARGUMENT", bool(number))


def test_the_sdk_is_the_one_that_is_meant():
    """Other tests say nothing of an SDK that was not loaded; `sdk_matrix.py` names the one that it means."""
    installed = version("databricks-zerobus-ingest-sdk")
    assert os.environ.get("EXPECTED_SDK", installed) == installed
    assert installed in COMPATIBILITY.read_text()


@FORMATS
@pytest.mark.parametrize(
    ("status", "kind"), [("DEADLINE_EXCEEDED", FailureKind.TRANSIENT), ("INVALID_ARGUMENT", FailureKind.REJECTED)]
)
def test_a_service_that_says_what_the_sdk_says_of_a_wait_has_ended_the_stream(emulator, wire_format, status, kind):
    emulator.faults = injected("open", status, "Waiting for acknowledgement timed out")
    failure, text, _ = fail(emulator, wire_format)
    assert text in expected_texts("open", wire_format, status, "Waiting for acknowledgement timed out")
    assert failure.kind is kind


@FORMATS
@pytest.mark.parametrize("message", ["", "Error 6002: so it is"])
@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("NOT_FOUND", ConfigurationError),
        ("PERMISSION_DENIED", RejectedError),
        ("UNIMPLEMENTED", RejectedError),
        ("INVALID_ARGUMENT", ConversionError),
    ],
)
def test_a_writer_does_not_retry_what_is_final(emulator, connect, wire_format, message, status, error):  # noqa: PLR0917
    fault = ScriptedFault("reject", at_stream=1, times=99, code=status, message=message)
    emulator.faults = Faults(script=(fault,))
    before = emulator.stats.faults.get("reject", 0)
    with pytest.raises(error, match=TABLE):
        connect(wire_format=wire_format, schema=DDL).send_batch(ROWS)
    assert emulator.stats.faults.get("reject", 0) - before == 1


def test_a_writer_fetches_the_schema_that_does_not_match_over_arrow_at_most_twice(emulator, connect):
    fault = ScriptedFault(
        "reject",
        at_stream=1,
        times=99,
        code="INVALID_ARGUMENT",
        message="Arrow Flight schema validation failed",
        causes=("FIELD_NOT_IN_TABLE",),
    )
    emulator.faults = Faults(script=(fault,))
    before = emulator.stats.faults.get("reject", 0)
    with pytest.raises(ConversionError, match="Arrow Flight schema validation failed"):
        connect(wire_format="arrow", schema="unity_catalog").send_batch(ROWS)
    assert 1 <= emulator.stats.faults.get("reject", 0) - before <= 2

"""What a client reads names what it, or the gateway's operator, can do."""

import json

import pytest

from beam_zerobus.errors import ConversionError, RowError
from beam_zerobus.gateway.keys import to_client
from beam_zerobus.gateway.results import failure_of, result_json
from beam_zerobus.schema.unknown_fields import remedy_for_unknown
from beam_zerobus.writer.result import TransmissionResult
from tests.options.test_names_in_messages import AS_THEY_ARE

OPERATOR = "have the gateway's operator set"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            remedy_for_unknown(ignored=False),
            f'{OPERATOR} on_unknown_fields="ignore", "add" or "rescue", or add it to the table',
        ),
        ('set epoch_unit to "s", "ms" or "us"', f'{OPERATOR} epoch_unit to "s", "ms" or "us"'),
        ('or set assume_timezone="UTC" or the zone', f'or {OPERATOR} assume_timezone="UTC" or the zone'),
        ("or pass schema=... without the column", f"or {OPERATOR} schema=... without the column"),
        ('give schema=..., or schema="unity_catalog"', f'{OPERATOR} schema=..., or schema="unity_catalog"'),
        (
            "allow more with Retry(max_retries=..., max_backoff=...)",
            "allow more with retry.max_retries and retry.max_backoff",
        ),
        ("column 'schema' is not in the table", "column 'schema' is not in the table"),
    ],
)
def test_options_are_those_of_the_file(message, expected):
    assert to_client(message) == expected
    assert failure_of(ConversionError(message)).message == expected


@pytest.mark.parametrize("message", AS_THEY_ARE)
def test_what_is_no_option_stays_as_it_is(message):
    assert to_client(message) == message


def test_what_the_service_says_stays_as_it_is():
    words = "schema is outdated: set schema=v2"
    error = ConversionError(f"Zerobus rejected the schema: {words}. Pass it, or set schema=...").quoting(words)
    assert failure_of(error).message == f"Zerobus rejected the schema: {words}. Pass it, or {OPERATOR} schema=..."
    failed = [RowError(0, "rejected_by_service", words, "service"), RowError(1, "unknown_field", words, "schema")]
    result = TransmissionResult(
        success=False,
        error=words,
        attempts=1,
        latency_ms=1.0,
        batch_size_bytes=1,
        total_rows=2,
        successful_count=0,
        failed_count=2,
        failed_rows=tuple(failed),
    )
    of_service, of_schema = (row["message"] for row in json.loads(result_json(0, result))["failed_rows"])
    assert of_service == words
    assert of_schema == to_client(words) != words

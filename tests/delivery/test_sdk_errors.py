"""The table of errors: how the SDK's texts are read, and that the page has the same table."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zerobus.sdk.sync import NonRetriableException, ZerobusException

from beam_zerobus.delivery.failures import FailureKind, StreamFailure, error_number
from beam_zerobus.delivery.sdk_errors import _STATUSES, CHECKED_SDK, ERRORS, hides_cause, is_still_waiting, translate
from beam_zerobus.errors import ConfigurationError, ConversionError, RejectedError

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
INVALID = "Client specified an invalid argument"

# Every variant of `ZerobusError` in the Rust SDK 3.0.0 (`src/errors.rs`), as its `Display` writes it: the text of one
# example, whether `is_retryable` says that trying again may help, and what it is to us.
VARIANTS = {
    "ChannelCreationError": ("Failed to open a channel: transport error.", True, "CONNECTION"),
    "CreateStreamError": ("Failed to create stream: code: 'The operation was aborted'.", True, "ABORTED"),
    "FailedToEstablishTlsConnectionError": ("Failed to establish TLS connection.", True, "TLS"),
    "InvalidZerobusEndpointError": (
        "The specified Zerobus endpoint is in invalid format: x.",
        False,
        "INVALID_ENDPOINT",
    ),
    "InvalidTableName": ("Specified UC table name is invalid: x.", False, "INVALID_TABLE_NAME"),
    "InvalidUCEndpointError": ("Specified UC endpoint is in invalid format: x.", False, "INVALID_WORKSPACE_URL"),
    "InvalidUCTokenError": ("Specified UC token is in invalid format: x.", False, "INVALID_TOKEN"),
    "StreamClosedError": ("Stream is closed: code: 'Some requested entity was not found'", False, "NOT_FOUND"),
    "InvalidArgument": ("Invalid argument: x.", False, "INVALID_ARGUMENT"),
    "InvalidSchema": ("Arrow schema does not match the target table: x.", False, "SCHEMA_VALIDATION_FAILED"),
    "UnexpectedStreamResponseError": (
        "Unexpected response from server. Response: x",
        True,
        "UNEXPECTED_RESPONSE",
    ),
    "InvalidStateError": ("Stream is in invalid state: x", False, "INVALID_STATE"),
    "ConnectionTimeout": ("Connection timeout: x", True, "CONNECTION_TIMEOUT"),
    "TokenFetchError": ("Token fetch failed: x", True, "TOKEN_FETCH"),
    "AvroSchemaParseError": ("Avro schema parse failed: x", False, "AVRO_SCHEMA"),
    "AvroEncodingError": ("Avro record encoding failed: x", False, "AVRO_ENCODING"),
}
# `UNRETRIABLE_STATUS_CODES` there; every other status may be tried again.
UNRETRIABLE = {
    "INVALID_ARGUMENT",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "NOT_FOUND",
}
# What the SDK itself writes into these: its sentences that mean something else than the variant they are in.
SENTENCES = {
    "Failed to open a channel: invalid URI.": (FailureKind.MISCONFIGURED, "INVALID_ENDPOINT"),
    "Invalid argument: Failed to add header 'x': failed to parse metadata value.": (
        FailureKind.MISCONFIGURED,
        "INVALID_HEADER",
    ),
    "Invalid argument: failed to parse proxy URL: invalid authority.": (FailureKind.MISCONFIGURED, "INVALID_PROXY"),
    "Stream is in invalid state: Acknowledgement claims 9 records, but only 2 records were submitted": (
        FailureKind.TRANSIENT,
        "INVALID_ACKNOWLEDGEMENT",
    ),
    "Stream is closed: code: 'Unknown error', message: \"Server closed the stream\"": (FailureKind.ROTATION, "UNKNOWN"),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_error_of_the_rust_sdk_is_unknown(variant):
    text, retriable, cause = VARIANTS[variant]
    failure = translate(ZerobusException(text))
    assert failure.cause == cause
    renewed = failure.kind is FailureKind.UNAUTHENTICATED  # a token, once; the SDK has no new one
    local = cause == "TLS"  # certificates that are missing here; waiting brings none
    assert failure.is_final is ((not retriable and not renewed) or local)


@pytest.mark.parametrize(("words", "status"), _STATUSES.items())
def test_the_statuses_that_the_rust_sdk_retries_are_not_final(words, status):
    failure = translate(ZerobusException(f"Stream is closed: code: '{words}'"))
    assert failure.is_final is (status in UNRETRIABLE and status != "UNAUTHENTICATED")


@pytest.mark.parametrize("text", SENTENCES)
def test_a_sentence_of_the_rust_sdk_has_its_own_row(text):
    failure = translate(ZerobusException(text))
    assert (failure.kind, failure.cause) == SENTENCES[text]


@pytest.mark.parametrize("words", _STATUSES)
def test_a_status_without_a_message_keeps_its_meaning(words):
    bare = translate(ZerobusException(f"Stream is closed: code: '{words}'"))
    worded = translate(ZerobusException(f"Stream is closed: code: '{words}', message: \"x\""))
    assert (bare.kind, bare.cause) == (worded.kind, worded.cause)
    assert bare.cause == _STATUSES[words]
    assert str(bare) == f"{bare.cause}, without a message"


@pytest.mark.parametrize(
    "message",
    [
        "Invalid durability ACK offset 9; expected -1..=0",
        "Pending batch count exceeds the supported offset range",
        "Greatest sent offset exceeds the supported offset range",
        "Empty app_metadata in PutResult - server should provide ack offset",
        "Failed to parse FlightAckMetadata: expected value at line 1 column 1",
    ],
)
@pytest.mark.parametrize("form", ["Invalid argument: {}.", f"Stream is closed: code: '{INVALID}', message: \"{{}}\""])
def test_a_broken_acknowledgement_is_not_a_rejected_call(form, message):
    failure = translate(NonRetriableException(form.format(message)))
    assert (failure.kind, failure.cause) == (FailureKind.TRANSIENT, "INVALID_ACKNOWLEDGEMENT")
    quoting = translate(NonRetriableException(form.format(f"row 3 says: {message}")))
    assert quoting.kind is FailureKind.REJECTED


@pytest.mark.parametrize(
    ("error", "kind"),
    [(NonRetriableException("new"), FailureKind.FORBIDDEN), (ZerobusException("new"), FailureKind.TRANSIENT)],
)
def test_of_an_unknown_text_the_class_counts(error, kind):
    failure = translate(error)
    assert (failure.kind, failure.cause, str(failure)) == (kind, "UNKNOWN", "new")


@given(st.text())
def test_what_a_service_writes_never_changes_what_is_read(message):
    escaped = message.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\0", "\\0")
    failure = translate(NonRetriableException(f"Stream is closed: code: '{INVALID}', message: \"{escaped}\""))
    assert failure.cause in ("INVALID_ARGUMENT", "INVALID_ACKNOWLEDGEMENT")
    assert str(failure) == (message or "INVALID_ARGUMENT, without a message")
    missing = f"Failed to create stream: code: 'Some requested entity was not found', message: \"{escaped}\"."
    assert translate(NonRetriableException(missing)).kind is FailureKind.NOT_FOUND


def test_the_escapes_of_rust_are_undone():
    text = r"""Stream is closed: code: 'Internal error', message: "a \"b\" \\n \n \u{200b}", source: Some("x")"""
    assert str(translate(ZerobusException(text))) == 'a "b" \\n \n \u200b'


@pytest.mark.parametrize(
    ("message", "number"),
    [
        ("Error 6002: the stream is closed", 6002),
        ("error code: 8001, no such column", 8001),
        ("Error code 4024", 4024),
        ("Table 'main.iot.site_6002' was not found", None),
        ("the value is 'Error 8001: x'", None),
        ("Error 60021: x", None),
        ("6006", None),
        ("", None),
    ],
)
def test_a_number_counts_only_where_the_service_writes_one(message, number):
    assert error_number(message) == number


def test_only_the_sentences_of_the_sdk_itself_mean_waiting_and_a_hidden_cause():
    waiting = "Stream is closed: code: 'Deadline expired before operation could complete', message: \"{}\""
    assert is_still_waiting(ZerobusException(waiting.format("Waiting for acknowledgement timed out")))
    assert not is_still_waiting(ZerobusException(waiting.format("a Waiting for acknowledgement timed out")))
    assert not is_still_waiting(NonRetriableException("Invalid argument: Waiting for acknowledgement timed out."))
    sending = "Stream is closed: code: 'Internal error', message: \"{}\""
    assert hides_cause(ZerobusException(sending.format("Failed to send stream-open request")))
    assert not hides_cause(ZerobusException(sending.format("Stream closed")))


@pytest.mark.parametrize(
    ("kind", "cause", "error", "words"),
    [
        (FailureKind.NOT_FOUND, "NOT_FOUND", ConfigurationError, "was not found by Zerobus: create it first"),
        (FailureKind.MISCONFIGURED, "INVALID_ENDPOINT", ConfigurationError, "Check the endpoint, the workspace's URL"),
        (FailureKind.MISCONFIGURED, "TLS", ConfigurationError, "install the package ca-certificates"),
        (FailureKind.REJECTED, "INVALID_ARGUMENT", ConversionError, "rejected the schema of the rows"),
        (FailureKind.FORBIDDEN, "PERMISSION_DENIED", RejectedError, "needs USE CATALOG, USE SCHEMA, SELECT and MODIFY"),
        (FailureKind.FORBIDDEN, "UNIMPLEMENTED", RejectedError, "does not support writing"),
        (FailureKind.FORBIDDEN, "UNKNOWN", RejectedError, "trying again cannot help"),
    ],
)
def test_a_final_failure_names_table_and_remedy(kind, cause, error, words):
    failure = StreamFailure(kind, cause, "so it is")
    assert failure.is_final
    raised = failure.as_error("main.iot.air")
    assert type(raised) is error
    for part in ("main.iot.air", "so it is", words):
        assert part in str(raised)


def test_every_row_can_be_the_first_that_matches():
    statuses = {condition for row in ERRORS for condition in row.conditions}
    assert set(_STATUSES.values()) <= statuses
    plain = [row for row in ERRORS if row.number is None and row.sentence is None]
    conditions = [condition for row in plain for condition in row.conditions]
    assert len(conditions) == len(set(conditions))
    assert {row.source for row in plain} == {"status", "ErrorInfo", "variant", "class"}


def cells(row):
    """Return a row of the table as the page has it."""
    seen = ", ".join(f"`{condition}`" for condition in row.conditions)
    if row.number is not None:
        seen = f"any retriable status, error {row.number}" if len(row.conditions) > 1 else f"{seen}, error {row.number}"
    if row.sentence is not None:
        seen = f"{seen}, sentence of the SDK: `{row.sentence}`".replace("|", "\\|")
    retried = "no" if StreamFailure(row.kind, "", "").is_final else "yes"
    return f"| {seen} | {row.source} | {row.cause or 'the same'} | {retried} | {row.sink} | {row.user} |"


def test_the_page_has_the_same_table():
    page = PAGE.read_text()
    assert CHECKED_SDK in page
    section = re.search(r"## Errors of the service and the SDK\n(.*?)(?:\n## |\Z)", page, re.DOTALL)[1]
    rows = [line for line in section.splitlines() if line.startswith("| ")][2:]
    expected = [cells(row) for row in ERRORS]
    assert rows == expected, "the page needs these rows:\n" + "\n".join(expected)

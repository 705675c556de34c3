"""The table of errors: what each error of the SDK means, read from its gRPC status before anything else.

The SDK's exceptions carry no fields. Their text, however, is the fixed form of one of the SDK's error variants, and
most of these hold a gRPC status in a fixed form too. So the status is read exactly: the whole text has to match, and
what the service wrote stays within its quotes. Words are read in two places only, which the table marks: the service's
error number at the start of its message, and a few sentences of the SDK itself.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import Final

# The SDK logs through Rust's tracing, which reads this once, at import.
os.environ.setdefault("RUST_LOG", "off")

from zerobus.sdk.sync import NonRetriableException

from beam_zerobus.delivery.failures import FailureKind, StreamFailure, error_number

__all__ = ["CHECKED_SDK", "ERRORS", "ErrorRow", "hides_cause", "is_still_waiting", "translate"]

CHECKED_SDK: Final = "databricks-zerobus-ingest-sdk 1.10.0 for Python, 3.0.0 for Rust"
"""The versions in which the SDK's sentences below were read."""

_Kind = FailureKind
# How the SDK writes the gRPC statuses.
_STATUSES: Final = {
    "The operation completed successfully": "OK",
    "The operation was cancelled": "CANCELLED",
    "Unknown error": "UNKNOWN",
    "Client specified an invalid argument": "INVALID_ARGUMENT",
    "Deadline expired before operation could complete": "DEADLINE_EXCEEDED",
    "Some requested entity was not found": "NOT_FOUND",
    "Some entity that we attempted to create already exists": "ALREADY_EXISTS",
    "The caller does not have permission to execute the specified operation": "PERMISSION_DENIED",
    "Some resource has been exhausted": "RESOURCE_EXHAUSTED",
    "The system is not in a state required for the operation's execution": "FAILED_PRECONDITION",
    "The operation was aborted": "ABORTED",
    "Operation was attempted past the valid range": "OUT_OF_RANGE",
    "Operation is not implemented or not supported": "UNIMPLEMENTED",
    "Internal error": "INTERNAL",
    "The service is currently unavailable": "UNAVAILABLE",
    "Unrecoverable data loss or corruption": "DATA_LOSS",
    "The request does not have valid authentication credentials": "UNAUTHENTICATED",
}
_WITH_STATUS: Final = re.compile(
    r"(?:Failed to create stream|Stream is closed): code: '(?P<status>" + "|".join(map(re.escape, _STATUSES)) + r")'"
    r'(?:, message: "(?P<message>(?:[^"\\]|\\.)*)")?(?:, source: .*)?\.?',
    re.DOTALL,
)
# The other variants of the SDK's error, each with the fixed form of its text.
_VARIANTS: Final = {
    "CONNECTION": re.compile(r"Failed to open a channel: (.*)\.", re.DOTALL),
    "TLS": re.compile(r"(Failed to establish TLS connection)\."),
    "INVALID_ENDPOINT": re.compile(r"The specified Zerobus endpoint is in invalid format: (.*)\.", re.DOTALL),
    "INVALID_TABLE_NAME": re.compile(r"Specified UC table name is invalid: (.*)\.", re.DOTALL),
    "INVALID_WORKSPACE_URL": re.compile(r"Specified UC endpoint is in invalid format: (.*)\.", re.DOTALL),
    "INVALID_TOKEN": re.compile(r"Specified UC token is in invalid format: (.*)\.", re.DOTALL),
    "SCHEMA_VALIDATION_FAILED": re.compile(r"Arrow schema does not match the target table: (.*)\.", re.DOTALL),
    "INVALID_ARGUMENT": re.compile(r"Invalid argument: (.*)\.", re.DOTALL),
    "UNEXPECTED_RESPONSE": re.compile(r"Unexpected response from server\. Response: (.*)", re.DOTALL),
    "INVALID_STATE": re.compile(r"Stream is in invalid state: (.*)", re.DOTALL),
    "CONNECTION_TIMEOUT": re.compile(r"Connection timeout: (.*)", re.DOTALL),
    "TOKEN_FETCH": re.compile(r"Token fetch failed: (.*)", re.DOTALL),
    "AVRO_SCHEMA": re.compile(r"Avro schema parse failed: (.*)", re.DOTALL),
    "AVRO_ENCODING": re.compile(r"Avro record encoding failed: (.*)", re.DOTALL),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRow:
    """A row of the table; of several that match an error, the first counts.

    Attributes:
        conditions: gRPC statuses, or variants of the SDK's error without one.
        kind: What may be done about it.
        sink: What the sink does.
        user: What the user gets.
        source: What separates the error from others: ``"status"``, ``"ErrorInfo"``, ``"variant"``, ``"class"``, and,
            where there is nothing else, ``"number"`` or ``"sentence"``.
        number: The service's error number.
        sentence: A sentence of the SDK itself, matched as a whole.
        cause: What metrics call it; None for the condition's own name.
        blocked, schema_changed: See `StreamFailure`.
    """

    conditions: tuple[str, ...]
    kind: FailureKind
    sink: str
    user: str
    source: str = "status"
    number: int | None = None
    sentence: str | None = None
    cause: str | None = None
    blocked: bool = False
    schema_changed: bool = False

    def matches(self, condition: str, message: str) -> bool:
        """Return whether this row says what to do about an error."""
        return (
            condition in self.conditions
            and (self.number is None or error_number(message) == self.number)
            and (self.sentence is None or re.fullmatch(self.sentence, message, re.DOTALL) is not None)
        )


_RETRIABLE: Final = (
    "CANCELLED",
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "ALREADY_EXISTS",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
)
_RETRY = "waits with backoff, opens a new stream, sends again what is not acknowledged"
_EXHAUSTED = "nothing, or `TransientError` after the last retry"
_REOPEN = "opens a new stream at once; not counted as a failure"
_SEARCH = "mid-stream: searches the rejected rows and writes all others; at opening: as with error 8001"
_SEARCHED = "rows with `rejected_by_service`; at opening `ConversionError`"
_REFRESH = (
    "fetches the table's schema once and converts the rows again; if it has not changed, "
    "searches the rejected rows, or fails at opening"
)
_INVALID_ACK = (
    r"Invalid durability ACK offset -?\d+; expected -?\d+\.\.=-?\d+"
    r"|(?:Pending batch count|Greatest sent offset) exceeds the supported offset range"
    r"|Empty app_metadata in PutResult - server should provide ack offset"
    r"|Failed to parse FlightAckMetadata: .*"
)
_INVALID_ADDRESS = (
    r"invalid (?:URI|uri character|scheme|authority|port|format)|(?:scheme|authority|path) missing"
    r"|(?:uri|scheme) too long|empty string"
)
_TOO_LARGE = r"Error, decoded message length too large: found \d+ bytes, the limit is: \d+ bytes"
_INVALID_COUNT = r"Acknowledgement claims \d+ records, but only \d+ records were submitted"


def _row(*conditions: str, **more: object) -> ErrorRow:
    return ErrorRow(conditions=conditions, **more)  # type: ignore[arg-type]


def _broken_acknowledgement(variant: str, sentence: str) -> ErrorRow:
    return _row(
        variant,
        kind=_Kind.TRANSIENT,
        sink=_RETRY,
        user=_EXHAUSTED,
        source="sentence",
        sentence=sentence,
        cause="INVALID_ACKNOWLEDGEMENT",
    )


def _misconfigured(variant: str) -> ErrorRow:
    return _row(variant, kind=_Kind.MISCONFIGURED, sink="fails at once", user="`ConfigurationError`", source="variant")


def _unusable(variant: str, sentence: str, *, cause: str) -> ErrorRow:
    return replace(_misconfigured(variant), source="sentence", sentence=sentence, cause=cause)


def _lost(variant: str) -> ErrorRow:
    return _row(variant, kind=_Kind.TRANSIENT, sink=_RETRY, user=_EXHAUSTED, source="variant")


def _impossible(variant: str) -> ErrorRow:
    return _row(variant, kind=_Kind.FORBIDDEN, sink="fails at once", user="`RejectedError`", source="variant")


ERRORS: Final = (
    # The SDK calls a broken acknowledgement an invalid argument, as if the rows were at fault.
    _broken_acknowledgement("INVALID_ARGUMENT", _INVALID_ACK),
    _broken_acknowledgement("INVALID_STATE", _INVALID_COUNT),
    _unusable("CONNECTION", _INVALID_ADDRESS, cause="INVALID_ENDPOINT"),
    # It gives an answer that is too large the status of a row out of range.
    _broken_acknowledgement("OUT_OF_RANGE", _TOO_LARGE),
    _unusable("INVALID_ARGUMENT", "Failed to add (?:header '.*'|table name header): .*", cause="INVALID_HEADER"),
    _unusable("INVALID_ARGUMENT", "failed to parse proxy URL: .*", cause="INVALID_PROXY"),
    # Over Arrow, the SDK reports a stream that the service closed without an error as UNKNOWN.
    _row(
        "UNKNOWN",
        kind=_Kind.ROTATION,
        sink=_REOPEN,
        user="nothing",
        source="sentence",
        sentence="Server closed the stream",
    ),
    _row(
        "UNAVAILABLE",
        kind=_Kind.ROTATION,
        sink=_REOPEN,
        user="nothing",
        source="sentence",
        sentence="Server requested graceful stream rotation",
    ),
    # The SDK noticed the end of the stream while it sent, before it had read the status: a new stream learns that.
    _row(
        "INTERNAL",
        kind=_Kind.ROTATION,
        sink=_REOPEN,
        user="nothing",
        source="sentence",
        sentence="Failed to send (?:batch|record)",
        cause="STATUS_UNREAD",
    ),
    _row(*_RETRIABLE, kind=_Kind.ROTATION, sink=_REOPEN, user="nothing", source="number", number=6002),
    _row(
        *_RETRIABLE,
        kind=_Kind.TRANSIENT,
        sink="as below, a minute later: the table is blocked",
        user=_EXHAUSTED,
        source="number",
        number=6006,
        blocked=True,
    ),
    _row(
        "INVALID_ARGUMENT",
        kind=_Kind.REJECTED,
        sink=_REFRESH,
        user=_SEARCHED,
        source="number",
        number=8001,
        schema_changed=True,
    ),
    _row("OK", kind=_Kind.ROTATION, sink=_REOPEN, user="nothing"),
    _row(*_RETRIABLE, kind=_Kind.TRANSIENT, sink=_RETRY, user=_EXHAUSTED),
    _row("INVALID_ARGUMENT", "OUT_OF_RANGE", kind=_Kind.REJECTED, sink=_SEARCH, user=_SEARCHED),
    _row(
        "NOT_FOUND",
        kind=_Kind.NOT_FOUND,
        sink="at opening: fails at once; mid-stream: opens a new stream at once, once, as the table may be new",
        user="nothing, or `ConfigurationError`: create the table",
    ),
    _row("PERMISSION_DENIED", kind=_Kind.FORBIDDEN, sink="fails at once", user="`RejectedError`: the grants"),
    _row("UNIMPLEMENTED", kind=_Kind.FORBIDDEN, sink="fails at once", user="`RejectedError`: the kind of table"),
    _row(
        "UNAUTHENTICATED",
        kind=_Kind.UNAUTHENTICATED,
        sink="fetches a new token and opens a new stream at once, once",
        user="nothing; `AuthenticationError` if the new token is rejected at opening",
    ),
    _row(
        "SCHEMA_VALIDATION_FAILED",
        kind=_Kind.REJECTED,
        sink=_REFRESH,
        user="nothing, or `ConversionError`",
        source="ErrorInfo",
        schema_changed=True,
    ),
    _row(
        "INVALID_TOKEN",
        kind=_Kind.UNAUTHENTICATED,
        sink="as UNAUTHENTICATED",
        user="`AuthenticationError`",
        source="variant",
    ),
    # TLS: the SDK found no root certificates on this machine. A handshake that fails is UNAVAILABLE.
    *map(_misconfigured, ("INVALID_ENDPOINT", "INVALID_TABLE_NAME", "INVALID_WORKSPACE_URL", "TLS")),
    *map(_lost, ("CONNECTION", "CONNECTION_TIMEOUT", "TOKEN_FETCH", "UNEXPECTED_RESPONSE")),
    *map(_impossible, ("INVALID_STATE", "AVRO_SCHEMA", "AVRO_ENCODING")),
    _row(
        "NonRetriableException", kind=_Kind.FORBIDDEN, sink="fails at once", user="`RejectedError`", source="class",
        cause="UNKNOWN",
    ),
    _row(
        "ZerobusException", kind=_Kind.TRANSIENT, sink=_RETRY, user=_EXHAUSTED, source="class", cause="UNKNOWN"
    ),
)  # fmt: skip


def translate(error: Exception) -> StreamFailure:
    """Return what an error of the SDK means."""
    condition, message = _read(error)
    row = next(row for row in ERRORS if row.matches(condition, message))
    return StreamFailure(
        row.kind,
        row.cause or condition,
        message or f"{condition}, without a message",
        blocked=row.blocked,
        schema_changed=row.schema_changed,
    )


def is_still_waiting(error: Exception) -> bool:
    """Return whether the SDK only says that the time for `wait_for_offset` is over.

    A service could say the very same, so callers compare the time that has passed too.
    """
    return _read(error) == ("DEADLINE_EXCEEDED", "Waiting for acknowledgement timed out")


def hides_cause(error: Exception) -> bool:
    """Return whether the SDK noticed the end of a new stream while sending, before it had read the service's status."""
    return _read(error) == ("INTERNAL", "Failed to send stream-open request")


def _read(error: Exception) -> tuple[str, str]:
    """Return an error's condition, as `ErrorRow.conditions` has it, and its message."""
    text = str(error)
    if found := _WITH_STATUS.fullmatch(text):
        return _STATUSES[found["status"]], _unescape(found["message"] or "")
    for variant, pattern in _VARIANTS.items():
        if found := pattern.fullmatch(text):
            return variant, found[1]
    return ("NonRetriableException" if isinstance(error, NonRetriableException) else "ZerobusException"), text


_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}


def _unescape(text: str) -> str:
    r"""Undo Rust's escapes, such as ``\"`` and ``\u{200b}``."""
    return re.sub(
        r"\\(?:u\{([0-9a-f]+)\}|(.))",
        lambda found: chr(int(found[1], 16)) if found[1] else _ESCAPES.get(found[2], found[2]),
        text,
        flags=re.DOTALL,
    )

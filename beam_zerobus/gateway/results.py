"""What a client reads: one JSON object for each batch, and a Flight status for what ends a call."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from functools import lru_cache

import pyarrow as pa
from pyarrow import flight

from beam_zerobus.errors import (
    AuthenticationError,
    ClosedError,
    ConfigurationError,
    ConversionError,
    RejectedError,
    TransientError,
    ZerobusError,
)
from beam_zerobus.writer.config import WriterConfig
from beam_zerobus.writer.result import TransmissionResult

__all__ = ["Failure", "failure_of", "for_client", "result_json"]

_STATUSES: tuple[tuple[type[ZerobusError], str], ...] = (
    (AuthenticationError, "UNAUTHENTICATED"),
    (ConversionError, "INVALID_ARGUMENT"),
    (RejectedError, "PERMISSION_DENIED"),
    (TransientError, "UNAVAILABLE"),
    (ClosedError, "UNAVAILABLE"),
)
# Arrow maps the class of a Python exception to the status of the call.
_ERRORS: dict[str, type[Exception]] = {
    "UNAUTHENTICATED": flight.FlightUnauthenticatedError,
    "NOT_FOUND": pa.ArrowKeyError,
    "INVALID_ARGUMENT": pa.ArrowInvalid,
    "PERMISSION_DENIED": flight.FlightUnauthorizedError,
    "UNAVAILABLE": flight.FlightUnavailableError,
    "INTERNAL": flight.FlightInternalError,
}
_OPTION = "|".join(option.name for option in fields(WriterConfig) if option.name not in ("table", "key"))
_SET_OPTION = re.compile(rf"\b(?:set|pass|give) (?=(?:{_OPTION})(?:=| to ))")
_VALUE_OF_OPTION = re.compile(rf"\b({_OPTION})=(?! )")
_NO_VALUE = re.compile(rf"\b({_OPTION})=(?= )")
_RETRY = "Retry(max_retries=..., max_backoff=...)"
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a whole call fails.

    Attributes:
        status: The gRPC status.
        message: What is wrong and what to do.
    """

    status: str
    message: str

    def as_error(self) -> Exception:
        """Return the exception that ends a call with this status and message."""
        return _ERRORS[self.status](self.message)

    def as_json(self, batch: int) -> bytes:
        """Return the last result of the call: neither this batch nor one after it has a result.

        >>> Failure("UNAVAILABLE", "Zerobus failed 6 times").as_json(2)
        b'{"batch":2,"success":false,"status":"UNAVAILABLE","error":"Zerobus failed 6 times"}'
        """
        return _json({"batch": batch, "success": False, "status": self.status, "error": self.message})


def failure_of(error: Exception) -> Failure:
    """Return what an error of a whole call is for a client; of an unexpected one only its type is shown.

    >>> failure_of(TransientError("Zerobus failed 6 times")).status
    'UNAVAILABLE'
    """
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), "INTERNAL")
    if isinstance(error, ConfigurationError) and error.unknown_table:
        status = "NOT_FOUND"  # any other one is of the gateway's own settings
    if isinstance(error, ZerobusError):
        return Failure(status, for_client(str(error)))
    return Failure(status, f"The gateway failed with {type(error).__name__}: see its log")


@lru_cache(maxsize=1024)
def for_client(message: str) -> str:
    """Return a message of a writer with the options as keys of the gateway's file, which only its operator sets.

    >>> print(for_client('leave it out, or set on_unknown_fields="ignore"'))
    leave it out, or have the gateway's operator set on_unknown_fields = "ignore"
    """
    if "=" not in message and " to " not in message:
        return message
    message = message.replace(_RETRY, "retry = { max_retries = ..., max_backoff = ... }")
    message = _SET_OPTION.sub("have the gateway's operator set ", message)
    return _NO_VALUE.sub(r"\1", _VALUE_OF_OPTION.sub(r"\1 = ", message))


def result_json(batch: int, result: TransmissionResult) -> bytes:
    """Return the outcome of a batch as JSON.

    Args:
        batch: The number of the batch in its call, from 0.
        result: Its outcome.

    Example:
        >>> result_json(0, TransmissionResult(success=True, error=None, attempts=1, latency_ms=2.0,
        ...     batch_size_bytes=10, total_rows=3, successful_count=3, failed_count=0))
        b'{"batch":0,"success":true,"rows":3,"written":3,"failed_rows":[],"attempts":1,"latency_ms":2.0}'
    """
    return _json(
        {
            "batch": batch,
            "success": result.success,
            "rows": result.total_rows,
            "written": result.successful_count,
            "failed_rows": [
                {
                    "index": row.index,
                    "error_type": row.error_type,
                    "message": for_client(row.message),
                    "stage": row.stage,
                }
                for row in result.failed_rows
            ],
            "attempts": result.attempts,
            "latency_ms": round(result.latency_ms, 3),
        }
    )


def _json(content: dict[str, object]) -> bytes:
    return _ENCODER.encode(content).encode("utf-8", "replace")

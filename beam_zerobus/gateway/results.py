"""What a client reads: one JSON object for each batch, and a Flight status for what ends a call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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
from beam_zerobus.gateway.keys import to_client
from beam_zerobus.logs import get_logger, outline
from beam_zerobus.options.wording import reason_in
from beam_zerobus.writer.result import TransmissionResult

__all__ = ["Failure", "as_flight_errors", "failure_of", "result_json"]

_log = get_logger(__name__)

_STATUSES: tuple[tuple[type[ZerobusError], str], ...] = (
    (AuthenticationError, "UNAUTHENTICATED"),
    (ConversionError, "INVALID_ARGUMENT"),
    (RejectedError, "PERMISSION_DENIED"),
    (TransientError, "UNAVAILABLE"),
    (ClosedError, "UNAVAILABLE"),
)
# Arrow takes the status of a call from the class of the exception that ends it. To a message it adds the name of the
# class, unless that is a FlightError: so each class is named as its status.
_ERRORS: dict[str, type[Exception]] = {
    status: type(status, (base,), {})
    for status, base in {
        "UNAUTHENTICATED": flight.FlightUnauthenticatedError,
        "NOT_FOUND": pa.ArrowKeyError,
        "INVALID_ARGUMENT": pa.ArrowInvalid,
        "PERMISSION_DENIED": flight.FlightUnauthorizedError,
        "UNAVAILABLE": flight.FlightUnavailableError,
        "UNIMPLEMENTED": pa.ArrowNotImplementedError,
        "INTERNAL": flight.FlightInternalError,
    }.items()
}
# Arrow adds the traceback too, with paths of this machine, unless it cannot be encoded as UTF-8: tried with pyarrow 20
# and 25, and guarded by tests/gateway/test_errors.py. A note is part of the traceback and not of the message.
_NOT_UTF8 = "\ud800"
# The trailers of a call hold the message twice, in one of them with three characters for each byte that is not ASCII,
# and clients read 8 KiB of trailers. With more they see RESOURCE_EXHAUSTED, and neither status nor message.
_MAX_BYTES = 1_500
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
        """Return the exception that ends a call with this status and message, cut if long, and without a traceback."""
        error = _ERRORS[self.status](_cut(self.message))
        error.add_note(_NOT_UTF8)
        return error

    def as_json(self, batch: int) -> bytes:
        """Return the last result of the call: neither this batch nor one after it has a result.

        >>> Failure("UNAVAILABLE", "Zerobus failed 6 times").as_json(2)
        b'{"batch":2,"success":false,"status":"UNAVAILABLE","error":"Zerobus failed 6 times"}'
        """
        return _json({"batch": batch, "success": False, "status": self.status, "error": self.message})


def failure_of(error: Exception, call: str = "A call") -> Failure:
    """Return what an error of a whole call is for a client; of an unexpected one only its type is shown.

    Args:
        error: The error; what concerns the gateway itself is logged too.
        call: What failed, for the log.

    Example:
        >>> failure_of(TransientError("Zerobus failed 6 times")).status
        'UNAVAILABLE'
    """
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), "INTERNAL")
    if isinstance(error, ConfigurationError) and error.unknown_table:
        status = "NOT_FOUND"  # any other one is of the gateway's own settings
    if status == "INTERNAL":
        _log.error("%s failed: %s", call, outline(error))
    if isinstance(error, ZerobusError):
        return Failure(status, str(error.reworded(to_client)))
    return Failure(status, f"The gateway failed with {type(error).__name__}: see its log")


@contextmanager
def as_flight_errors() -> Iterator[None]:
    """Raise any error as one that ends a call with a status and one sentence; a decorator too.

    Raises:
        flight.FlightError: The block raised something.
        pa.ArrowException: The same, where Flight has no class of its own for the status.
    """
    try:
        yield
    except tuple(_ERRORS.values()):
        raise
    except Exception as error:  # noqa: BLE001  of which a client sees the type at most
        raise failure_of(error).as_error() from None


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
                    "message": reason_in(to_client, row),
                    "stage": row.stage,
                }
                for row in result.failed_rows
            ],
            "attempts": result.attempts,
            "latency_ms": round(result.latency_ms, 3),
        }
    )


def _cut(message: str) -> str:
    encoded = message.encode("utf-8", "replace")
    return message if len(encoded) <= _MAX_BYTES else f"{encoded[:_MAX_BYTES].decode('utf-8', 'ignore')} ..."


def _json(content: dict[str, object]) -> bytes:
    return _ENCODER.encode(content).encode("utf-8", "replace")

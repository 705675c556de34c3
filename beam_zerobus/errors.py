"""Every exception that beam_zerobus raises, and the record of one rejected row.

What concerns a whole call (configuration, credentials, a service that stays away) is an exception; what
concerns single rows is a `RowError` in a result. All of them survive pickling, because Beam carries
exceptions from worker to runner.

    ZerobusError
    ├── ConfigurationError   wrong options: found when they are made, before anything runs; a table that is missing
    ├── AuthenticationError  credentials missing, wrong or rejected again after renewal
    ├── ConversionError      rows or schemas that the table's types cannot hold
    ├── TransientError       the service stayed away until the last retry
    ├── RejectedError        the service rejected for good: a grant is missing, or rows are rejected
    └── ClosedError          used after close()
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "AuthenticationError",
    "ClosedError",
    "ConfigurationError",
    "ConversionError",
    "RejectedError",
    "RowError",
    "TransientError",
    "ZerobusError",
]

_SHOWN_REASONS = 5


@dataclass(frozen=True, slots=True)
class RowError:
    """Why one row was rejected.

    Attributes:
        index: The row's position in the batch as it was handed over, from 0.
        error_type: A short, stable name to group by, such as ``"null_in_not_null_column"``.
        message: What is wrong, naming the column's path and the remedy; never the row's value.
        stage: Where it was found: ``"batching"``, ``"schema"``, ``"encoding"`` or ``"service"``.
    """

    index: int
    error_type: str
    message: str
    stage: str = "schema"

    def at(self, index: int) -> RowError:
        """Return the same reason for the row at another position."""
        return RowError(index, self.error_type, self.message, self.stage)


class ZerobusError(Exception):
    """Base class of every error that beam_zerobus raises.

    What an error carries beside its message is its second argument, because Beam raises a copy that it makes from an
    exception's arguments, with the step's name added to the first.

    Attributes:
        quoted: The part of the message that is in the service's words. It may repeat what was sent, so telemetry and
            logs leave it out.
    """

    quoted: str = ""

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(*((message, details) if details else (message,)))
        self.__dict__.update(details or {})

    def quoting(self, words: str) -> Self:
        """Note which part of the message is in the service's words; return this error."""
        self.quoted = words
        return self

    def __str__(self) -> str:
        return str(self.args[0])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.args[0]!r})"


class ConfigurationError(ZerobusError, ValueError):
    """An option is wrong; the message names it and says what to set."""


class AuthenticationError(ZerobusError):
    """Credentials are missing, wrong, or were rejected again right after they were renewed."""


class ClosedError(ZerobusError):
    """The writer was used after `close()`."""


class _RowsError(ZerobusError):
    """An error that may have single rows as its cause."""

    row_errors: tuple[RowError, ...]

    def __init__(
        self, message: str, details: Mapping[str, Any] | None = None, *, row_errors: Iterable[RowError] = ()
    ) -> None:
        super().__init__(message, details or {"row_errors": tuple(row_errors)})


class ConversionError(_RowsError, ValueError):
    """A schema or rows cannot be carried to the table.

    Attributes:
        row_errors: The rejected rows where single rows are at fault; empty where the schema is.
    """


class RejectedError(_RowsError):
    """The service rejected for good: a grant is missing, or rows are rejected.

    Attributes:
        row_errors: The rejected rows where single rows are at fault.
    """


class TransientError(ZerobusError):
    """The service could not be reached, or kept failing, until the last retry.

    Attributes:
        attempts: How often it was tried, the first time included.
        cause: The last failure, in words.
        acknowledged_rows: Rows of the call that are durable.
        unacknowledged_rows: Rows of the call that may or may not be in the table: send them again.
        unacknowledged: Those rows as RecordBatches, in order.
    """

    attempts: int
    cause: str
    acknowledged_rows: int
    unacknowledged_rows: int
    unacknowledged: tuple[pa.RecordBatch, ...]

    def __init__(
        self,
        message: str,
        details: Mapping[str, Any] | None = None,
        *,
        attempts: int = 1,
        cause: str = "",
        acknowledged_rows: int = 0,
        unacknowledged_rows: int = 0,
        unacknowledged: Iterable[pa.RecordBatch] = (),
    ) -> None:
        super().__init__(
            message,
            details
            or {
                "attempts": attempts,
                "cause": cause,
                "acknowledged_rows": acknowledged_rows,
                "unacknowledged_rows": unacknowledged_rows,
                "unacknowledged": tuple(unacknowledged),
            },
        )


@contextmanager
def about_table(table: str) -> Iterator[None]:
    """Let errors about a schema, which do not know whose it is, say so.

    >>> with about_table("main.iot.air"):
    ...     raise ConversionError("column 'id' does not fit")
    Traceback (most recent call last):
    beam_zerobus.errors.ConversionError: table main.iot.air: column 'id' does not fit
    """
    try:
        yield
    except (ConfigurationError, ConversionError) as error:
        raise type(error)(f"table {table}: {error}") from error


def summarize(row_errors: Sequence[RowError], *, table: str, total_rows: int) -> str:
    """Say in one message how many rows were rejected, and the first reasons.

    >>> summarize([RowError(7, "null", "column 'id' is NOT NULL")], table="a.b.c", total_rows=10)
    "1 of 10 rows rejected for table a.b.c: row 7: column 'id' is NOT NULL"
    """
    shown = "; ".join(f"row {error.index}: {error.message}" for error in row_errors[:_SHOWN_REASONS])
    more = f"; and {len(row_errors) - _SHOWN_REASONS} more" if len(row_errors) > _SHOWN_REASONS else ""
    return f"{len(row_errors)} of {total_rows} rows rejected for table {table}: {shown}{more}"

"""Every exception that beam_zerobus raises, and the record of one rejected row.

A failure of a whole call (configuration, credentials, an unavailable service) is an exception; a failure of single
rows is a `RowError` in a result. Every exception can be pickled, because Beam sends them from worker to runner.

    ZerobusError
    ├── ConfigurationError   an option is wrong, found before anything runs; or the table is missing
    ├── AuthenticationError  credentials are missing, wrong, or rejected again after renewal
    ├── ConversionError      the table's types cannot hold the rows or their schema
    ├── TransientError       the service was unavailable until the last retry
    ├── RejectedError        the service rejected the call for good: a grant is missing, or rows are rejected
    └── ClosedError          the writer was used after close()
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
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
        index: The row's position in the batch that the caller passed, from 0.
        error_type: A short, stable name to group by, such as ``"null_in_not_null_column"``.
        message: What is wrong; it names the column's path and the remedy, never the row's value.
        stage: Where the error was found: ``"destination"``, ``"batching"``, ``"schema"``, ``"encoding"`` or
            ``"service"``.
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

    All attributes are in the second argument, because Beam raises a copy: it calls the class with the exception's
    arguments, and adds the step's name to the first.

    Attributes:
        quoted: The part of the message that quotes the service. It may repeat what was sent, so telemetry and logs
            leave it out.
        unknown_table: True where the table does not exist, or may not be written, so that its rows can go nowhere.
    """

    quoted: str = ""
    unknown_table: bool = False

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(*((message, details) if details else (message,)))
        self.__dict__.update(details or {})

    def quoting(self, words: str) -> Self:
        """Note which part of the message quotes the service; return this error."""
        return self._noting(quoted=words)

    def of_unknown_table(self) -> Self:
        """Note that the table does not exist, or may not be written; return this error."""
        return self._noting(unknown_table=True)

    def _noting(self, **details: Any) -> Self:
        self.__init__(self.args[0], {**self.__dict__, **details})  # type: ignore[misc]
        return self

    def __str__(self) -> str:
        return str(self.args[0])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.args[0]!r})"


class ConfigurationError(ZerobusError, ValueError):
    """An option is wrong; the message names it and says what to set."""


class AuthenticationError(ZerobusError):
    """Credentials are missing or wrong, or a new token was rejected."""


class ClosedError(ZerobusError):
    """The writer was used after `close()`."""


class _RowsError(ZerobusError):
    """An error that single rows may have caused."""

    row_errors: tuple[RowError, ...]

    def __init__(
        self, message: str, details: Mapping[str, Any] | None = None, *, row_errors: Iterable[RowError] = ()
    ) -> None:
        super().__init__(message, details or {"row_errors": tuple(row_errors)})


class ConversionError(_RowsError, ValueError):
    """The table's types cannot hold the rows or their schema.

    Attributes:
        row_errors: The rejected rows; empty if the schema is at fault.
    """


class RejectedError(_RowsError):
    """The service rejected the call for good: a grant is missing, or rows are rejected.

    Attributes:
        row_errors: The rejected rows; empty if no single row is at fault.
    """


class TransientError(ZerobusError):
    """The service could not be reached, or kept failing, until the last retry.

    Attributes:
        attempts: The number of tries, including the first.
        cause: A short name of the last failure, such as ``"UNAVAILABLE"``.
        acknowledged_rows: Rows of the call that are durable.
        unacknowledged_rows: Rows of the call that may or may not be in the table: send them again.
        unacknowledged: Those rows as RecordBatches, in order.
        retry_after: Seconds that the service asks to wait before the next try, 60 at most; None if it does not say.
    """

    attempts: int
    cause: str
    acknowledged_rows: int
    unacknowledged_rows: int
    unacknowledged: tuple[pa.RecordBatch, ...]
    retry_after: float | None = None

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
        retry_after: float | None = None,
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
                "retry_after": retry_after,
            },
        )


@contextmanager
def about_table(table: str) -> Iterator[None]:
    """Add the table's name to errors about a schema.

    >>> with about_table("main.iot.air"):
    ...     raise ConversionError("column 'id' does not fit")
    Traceback (most recent call last):
    beam_zerobus.errors.ConversionError: table main.iot.air: column 'id' does not fit
    """
    try:
        yield
    except (ConfigurationError, ConversionError) as error:
        raise type(error)(f"table {table}: {error}", *error.args[1:]) from error


def counted(count: int, noun: str) -> str:
    """Return a number of things, with the noun in the form that fits.

    >>> counted(1, "row"), counted(1_000, "row")
    ('1 row', '1,000 rows')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def summarize(row_errors: Sequence[RowError], *, table: str, total_rows: int) -> str:
    """Return one message with the number of rejected rows, of each kind where there are several, and the first reasons.

    >>> summarize([RowError(7, "null", "column 'id' is NOT NULL")], table="a.b.c", total_rows=10)
    "1 of 10 rows rejected for table a.b.c: row 7: column 'id' is NOT NULL"
    """
    kinds = Counter(error.error_type for error in row_errors)
    shown = "; ".join(f"row {error.index}: {error.message}" for error in _of_each_kind(row_errors))
    more = f"; and {len(row_errors) - _SHOWN_REASONS} more" if len(row_errors) > _SHOWN_REASONS else ""
    counts = f" ({', '.join(f'{count} {kind}' for kind, count in kinds.most_common())})" if len(kinds) > 1 else ""
    return f"{len(row_errors)} of {counted(total_rows, 'row')} rejected for table {table}{counts}: {shown}{more}"


def _of_each_kind(row_errors: Sequence[RowError]) -> list[RowError]:
    """Return the errors to show: the first ones, but as many kinds as there is room for, in the order of rows."""
    first_of_kind: dict[str, int] = {}
    for place, error in enumerate(row_errors):
        first_of_kind.setdefault(error.error_type, place)
    firsts = list(first_of_kind.values())
    others = (place for place in range(len(row_errors)) if place not in firsts)
    return [row_errors[place] for place in sorted(islice(chain(firsts, others), _SHOWN_REASONS))]


def redact_url(url: str) -> str:
    """Return a URL as a message may show it: without user name, password, query and fragment.

    >>> redact_url("https://user:s3cret@host/path?token=s3cret")
    'https://***@host/path?***'
    """
    # Greedy, and before the query: a password may hold any of these characters itself.
    without_user = re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)?.*@", r"\1***@", url, flags=re.DOTALL)
    return re.sub(r"[?#].*", "?***", without_user, flags=re.DOTALL)

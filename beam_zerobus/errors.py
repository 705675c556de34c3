"""Every exception that beam_zerobus raises.

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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Self

from beam_zerobus.row_errors import RowError, RowErrors

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "AuthenticationError",
    "ClosedError",
    "ConfigurationError",
    "ConversionError",
    "RejectedError",
    "RowError",
    "RowErrors",
    "TransientError",
    "ZerobusError",
]

_SHOWN_REASONS = 5
_OF_SEVERAL = {"is": "are", "was": "were", "has": "have"}


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
    _problem: str = ""

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(*((message, details) if details else (message,)))
        self.__dict__.update(details or {})

    def quoting(self, words: str) -> Self:
        """Note which part of the message quotes the service; return this error."""
        return self._noting(quoted=words)

    def of_unknown_table(self) -> Self:
        """Note that the table does not exist, or may not be written; return this error."""
        return self._noting(unknown_table=True)

    def introduced_by(self, words: str) -> Self:
        """Return the same error with words before its message; `problem` has the message without any.

        >>> error = ConversionError("column 'id' does not fit").introduced_by("table main.iot.air: ")
        >>> str(error), error.problem
        ("table main.iot.air: column 'id' does not fit", "column 'id' does not fit")
        """
        return type(self)(f"{words}{self}", {**self.__dict__, "_problem": self.problem})

    def reworded(self, wording: Callable[[str], str]) -> Self:
        """Return the same error in other words; what it quotes of the service stays as it is."""
        message = str(self)
        quotes = sorted((quote for quote in self._quotes() if quote and quote in message), key=len, reverse=True)

        def in_other_words(text: str) -> str:
            parts = re.split(f"({'|'.join(map(re.escape, quotes))})", text) if quotes else [text]
            return "".join(part if number % 2 else wording(part) for number, part in enumerate(parts))

        problem = {"_problem": in_other_words(self._problem)} if self._problem else {}
        return type(self)(in_other_words(message), {**self.__dict__, **problem})

    @property
    def problem(self) -> str:
        """The message without what introduces it, such as the table's name."""
        return self._problem or str(self)

    def _quotes(self) -> set[str]:
        """Return the parts of the message that may quote the service."""
        return {self.quoted}

    def _noting(self, **details: Any) -> Self:
        self.__init__(self.args[0], {**self.__dict__, **details})  # type: ignore[misc]
        return self

    def __str__(self) -> str:
        return str(self.args[0])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.args[0]!r})"


class ConfigurationError(ZerobusError, ValueError):
    """An option is wrong; the message names it and says what to set.

    Attributes:
        faults: Each fault by itself, where the message lists all that are wrong; else empty.
    """

    faults: tuple[str, ...] = ()

    @classmethod
    def of_faults(cls, faults: Iterable[str], *, about: str) -> Self:
        """Return one error for everything that is wrong; a single fault needs no introduction.

        >>> faults = ["port=-1: set 0 or more", "there is no option 'prot'"]
        >>> print(ConfigurationError.of_faults(faults, about="settings"))
        2 of the settings are wrong:
        - port=-1: set 0 or more
        - there is no option 'prot'
        """
        listed = tuple(faults)
        if len(listed) == 1:
            return cls(listed[0], {"faults": listed})
        return cls("\n- ".join([f"{len(listed)} of the {about} are wrong:", *listed]), {"faults": listed})


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

    def _quotes(self) -> set[str]:
        return {self.quoted, *(error.message for error in self.row_errors if error.stage == "service")}


class ConversionError(_RowsError, ValueError):
    """The table's types cannot hold the rows or their schema.

    Attributes:
        row_errors: The rejected rows; empty if the schema is at fault.
        error_type: The `error_type` of each row where the schema is at fault.
    """

    error_type: str = "wrong_type"

    def of_type(self, error_type: str) -> Self:
        """Note the `error_type` of the rows; return this error."""
        return self._noting(error_type=error_type)


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
        raise error.introduced_by(f"table {table}: ") from error


def writer_closed(table: str) -> ClosedError:
    """Return the error of a call to a writer that is closed.

    >>> print(writer_closed("main.iot.air"))
    The writer of main.iot.air is closed: send before close() or the end of its with block, or make a new writer
    """
    return ClosedError(
        f"The writer of {table} is closed: send before close() or the end of its with block, or make a new writer"
    )


def counted(count: int, noun: str, verb: str = "") -> str:
    """Return a number of things, with the noun, and the verb if there is one, in the form that fits.

    >>> counted(1, "row"), counted(1_000, "row", "is"), counted(0, "batch", "stays")
    ('1 row', '1,000 rows are', '0 batches stay')
    """
    plural = "es" if noun.endswith(("ch", "sh", "s", "x")) else "s"
    return f"{count:,} {noun}{plural * (count != 1)}{verb and f' {agreeing(count, verb)}'}"


def agreeing(count: int, verb: str) -> str:
    """Return a verb, given for one thing, in the form that fits a number of things.

    >>> agreeing(1, "was"), agreeing(2, "was"), agreeing(2, "differs")
    ('was', 'were', 'differ')
    """
    return verb if count == 1 else _OF_SEVERAL.get(verb) or verb.removesuffix("s")


def summarize(row_errors: Sequence[RowError], *, table: str, total_rows: int) -> str:
    """Return one message with the number of rejected rows, of each kind where there are several, and the first reasons.

    >>> summarize([RowError(7, "null", "column 'id' is NOT NULL")], table="a.b.c", total_rows=10)
    "1 of 10 rows rejected for table a.b.c: row 7: column 'id' is NOT NULL"
    """
    errors = RowErrors.of(row_errors)
    kinds = errors.by_type()
    shown = "; ".join(f"row {error.index}: {error.message}" for error in _of_each_kind(errors))
    more = f"; and {len(row_errors) - _SHOWN_REASONS} more" if len(row_errors) > _SHOWN_REASONS else ""
    counts = f" ({', '.join(f'{count} {kind}' for kind, count in kinds.most_common())})" if len(kinds) > 1 else ""
    return f"{len(row_errors)} of {counted(total_rows, 'row')} rejected for table {table}{counts}: {shown}{more}"


def _of_each_kind(errors: RowErrors) -> list[RowError]:
    """Return the errors to show: the first ones, but as many kinds as there is room for, in the order of rows."""
    first_of_kind: dict[str, RowError] = {}
    for error, _ in errors.summed():
        first_of_kind.setdefault(error.error_type, error)
    firsts = list(first_of_kind.values())
    others = (error for error in errors if error not in firsts)
    return sorted(islice(chain(firsts, others), _SHOWN_REASONS), key=lambda error: error.index)


def redact_url(url: str) -> str:
    """Return a URL as a message may show it: without user name, password, query and fragment.

    >>> redact_url("https://user:s3cret@host/path?token=s3cret")
    'https://***@host/path?***'
    """
    # Greedy, and before the query: a password may hold any of these characters itself.
    without_user = re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)?.*@", r"\1***@", url, flags=re.DOTALL)
    return re.sub(r"[?#].*", "?***", without_user, flags=re.DOTALL)

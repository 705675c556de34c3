"""`StreamFailure`: a stream that did not open or has ended, and what may be done about it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, auto

from beam_zerobus.errors import ConfigurationError, ConversionError, RejectedError, ZerobusError

__all__ = ["FailureKind", "StreamFailure"]

_SHOWN_DIFFERENCES = 20


class FailureKind(Enum):
    """What may be done about a failed stream."""

    TRANSIENT = auto()
    """Wait, open a new stream, send again."""
    ROTATION = auto()
    """The service closed the stream as it does every quarter of an hour: open a new one at once."""
    UNAUTHENTICATED = auto()
    """The token was rejected: buy a new one, once."""
    REJECTED = auto()
    """A call was rejected for what it holds: find the rows."""
    NOT_FOUND = auto()
    """The table does not exist."""
    FORBIDDEN = auto()
    """A grant is missing, or the service cannot do what is asked."""


class StreamFailure(Exception):  # noqa: N818 - an event of a stream's life, not an error that users meet
    """A stream that could not be opened or has ended.

    Attributes:
        kind: What may be done about it.
        cause: Its status, as short as ``"UNAVAILABLE"``, for metrics.
        blocked: The service asks for patience: the table is blocked for about a minute.
        schema_changed: The service found the rows' schema out of date.
        while_opening: The stream was never open.
        differences: How the schema of a stream that was never open differs from the table's, as far as is known.
    """

    while_opening = False
    differences: Sequence[str] = ()

    def __init__(self, kind: FailureKind, cause: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.cause = cause
        self.blocked = _mentions(message, 6006)
        self.schema_changed = _mentions(message, 8001)

    @property
    def is_final(self) -> bool:
        """True where trying again cannot help."""
        return self.kind in (FailureKind.REJECTED, FailureKind.NOT_FOUND, FailureKind.FORBIDDEN)

    def as_error(self, table: str) -> ZerobusError:
        """Return the error that tells users of a final failure, and the remedy."""
        return self._as_error(table).quoting(str(self))

    def _as_error(self, table: str) -> ZerobusError:
        if self.kind is FailureKind.NOT_FOUND:
            return ConfigurationError(
                f"Table {table} was not found by Zerobus: create it first, and check its three-part name ({self})"
            )
        if self.kind is FailureKind.REJECTED:
            shown = "; ".join(self.differences[:_SHOWN_DIFFERENCES])
            how = f" It differs from the table's: {shown}." if shown else ""
            return ConversionError(
                f"Zerobus rejected the schema of the rows for table {table}: {self}.{how} Correct it, or let it be "
                'fetched with schema="unity_catalog"'
            )
        return RejectedError(
            f"Zerobus rejected to write to table {table}: {self}. The service principal needs USE CATALOG, USE SCHEMA, "
            "SELECT and MODIFY, each granted by name (ALL PRIVILEGES is not enough), on a managed Delta table"
        )


def _mentions(message: str, number: int) -> bool:
    return re.search(rf"(?<!\d){number}(?!\d)", message) is not None

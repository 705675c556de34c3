"""`StreamFailure`: a stream that did not open or has ended, and what may be done about it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final

from beam_zerobus.errors import ConfigurationError, ConversionError, RejectedError, ZerobusError

__all__ = ["FailureKind", "StreamFailure", "connection_remedy", "error_number"]

_SHOWN_DIFFERENCES = 20
_NUMBER = re.compile(r"(?:error|error[ _]code:?) (\d{4})(?=[:.,\s]|$)", re.IGNORECASE)


def error_number(message: str) -> int | None:
    """Return the number that the service writes at the start of a message; digits elsewhere are names and values.

    Example:
        >>> error_number("Error 6002: the stream is closed"), error_number("Table 'main.iot.site_6002' was not found")
        (6002, None)
    """
    found = _NUMBER.match(message)
    return int(found[1]) if found else None


# Words of the HTTP libraries inside the SDK. They choose between remedies only; the status decides what is done.
_CONNECTION_REMEDIES: Final = {
    "InvalidContentType": "what answers at the endpoint does not speak TLS, so that its address begins with http://",
    "http2 error": "check that Zerobus answers at the endpoint, not the workspace",
    "operation was canceled": "check that Zerobus answers at the endpoint, not the workspace",
    "transport error": "check that the endpoint is reachable, and that Zerobus answers there, not the workspace",
    "dns error": "the endpoint names a host that does not exist",
}


def connection_remedy(message: str) -> str:
    """Return what to check where the endpoint does not answer as Zerobus does, from a message of the SDK.

    Example:
        >>> connection_remedy("dns error"), connection_remedy("tcp connect error")
        ('the endpoint names a host that does not exist', 'check that the endpoint is reachable')
        >>> connection_remedy("transport error")  # the connection broke
        'check that the endpoint is reachable, and that Zerobus answers there, not the workspace'
    """
    found = (remedy for words, remedy in _CONNECTION_REMEDIES.items() if words in message)
    return next(found, "check that the endpoint is reachable")


class FailureKind(Enum):
    """What may be done about a failed stream."""

    TRANSIENT = auto()
    """Wait, open a new stream, send again."""
    ROTATION = auto()
    """The service closed the stream as it does every quarter of an hour: open a new one at once."""
    UNAUTHENTICATED = auto()
    """The token was rejected: fetch a new one, once."""
    REJECTED = auto()
    """A call was rejected for what it holds: find the rows."""
    NOT_FOUND = auto()
    """The table does not exist."""
    FORBIDDEN = auto()
    """A grant is missing, or neither service nor SDK can do what is asked."""
    MISCONFIGURED = auto()
    """The SDK does not accept the endpoint, the workspace's URL or the table's name, or finds no certificates."""


_SETTINGS: Final = (
    "Check the endpoint, the workspace's URL, the table's three-part name, and the environment variables that name a "
    "proxy"
)
_CERTIFICATES: Final = (
    "It finds no certificates of authorities on this machine, which it needs even for http: install the package "
    "ca-certificates, or set SSL_CERT_FILE to a PEM file that exists"
)
_FINAL = (FailureKind.REJECTED, FailureKind.NOT_FOUND, FailureKind.FORBIDDEN, FailureKind.MISCONFIGURED)


class StreamFailure(Exception):  # noqa: N818 - the end of a stream, not an error that users see
    """A stream that could not be opened or has ended.

    Attributes:
        kind: What may be done about it.
        cause: Its status, as short as ``"UNAVAILABLE"``, for metrics.
        blocked: The table is blocked for about a minute (error 6006); trying again sooner is useless.
        schema_changed: The rows' schema is not the table's (error 8001, or `SCHEMA_VALIDATION_FAILED` over Arrow).
        while_opening: The stream was never open.
        differences: How the schema of a stream that was never open differs from the table's, as far as is known.
        of_table: That schema was fetched: it is the table's own.
    """

    while_opening = False
    differences: Sequence[str] = ()
    of_table = False

    def __init__(
        self,
        kind: FailureKind,
        cause: str,
        message: str,
        *,
        blocked: bool | None = None,
        schema_changed: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.cause = cause
        # A number only refines a status; no number makes a missing table, say, something to retry.
        number = error_number(message)
        self.blocked = (kind is FailureKind.TRANSIENT and number == 6006) if blocked is None else blocked
        self.schema_changed = (
            (kind is FailureKind.REJECTED and number == 8001) if schema_changed is None else schema_changed
        )

    @property
    def is_final(self) -> bool:
        """True where trying again cannot help."""
        return self.kind in _FINAL

    def as_error(self, table: str) -> ZerobusError:
        """Return the error that users get for a final failure: what happened to which table, and the remedy."""
        error = self._as_error(table).quoting(str(self))
        is_of_table = self.kind is FailureKind.NOT_FOUND or self.cause in ("PERMISSION_DENIED", "UNIMPLEMENTED")
        return error.of_unknown_table() if is_of_table else error

    def _as_error(self, table: str) -> ZerobusError:
        if self.kind is FailureKind.NOT_FOUND:
            return ConfigurationError(
                f"Table {table} was not found by Zerobus: create it first, and check its three-part name ({self})"
            )
        if self.kind is FailureKind.MISCONFIGURED:
            remedy = _CERTIFICATES if self.cause == "TLS" else _SETTINGS
            return ConfigurationError(f"The Zerobus SDK rejected the settings for table {table}: {self}. {remedy}")
        if self.kind is FailureKind.REJECTED:
            return ConversionError(
                f"Zerobus rejected the schema of the rows for table {table}: {self}.{self._schema_remedy()}"
            )
        if self.cause == "PERMISSION_DENIED":
            return RejectedError(
                f"Zerobus does not allow writing to table {table}: {self}. The service principal needs USE CATALOG, "
                "USE SCHEMA, SELECT and MODIFY, each granted by name (ALL PRIVILEGES is not enough), on a managed "
                "Delta table"
            )
        if self.cause == "UNIMPLEMENTED":
            return RejectedError(
                f"Zerobus does not support writing to table {table}: {self}. Check that it is a managed Delta table "
                "without features that Zerobus lacks, and that the endpoint is one of Zerobus"
            )
        return RejectedError(
            f"Writing to table {table} failed, and the Zerobus SDK says that trying again cannot help: {self}. Check "
            "that the endpoint is the address of Zerobus, not of the workspace, and the version of "
            "databricks-zerobus-ingest-sdk; if both are right, report this"
        )

    def _schema_remedy(self) -> str:
        if self.of_table:
            return (
                " It is the table's own, as Unity Catalog has it: check that endpoint and workspace belong "
                "together, or write with another wire_format"
            )
        shown = "; ".join(self.differences[:_SHOWN_DIFFERENCES])
        how = f" It differs from the table's: {shown}." if shown else ""
        return f'{how} Correct it, or have it fetched with schema="unity_catalog"'

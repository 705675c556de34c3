"""The limits of what the emulator accepts."""

from __future__ import annotations

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.validation import MAX_STORED_NESTING, nesting

__all__ = ["MAX_MESSAGE_BYTES", "MAX_RECORD_BYTES", "MAX_ROWS", "MAX_STATEMENT_BYTES", "check_nesting", "check_seconds"]

MAX_MESSAGE_BYTES = 64 << 20
"""Bytes of a gRPC message, and of the buffers of an Arrow batch after decompression."""

MAX_RECORD_BYTES = 10 << 20
"""Bytes of a row in any wire format, as the service has it."""

MAX_STATEMENT_BYTES = 16 << 20
"""Bytes of a request with a SQL statement, as the service has it for the statement's text."""

MAX_ROWS = 16 << 20
"""Rows of a call: rows may be so small that their bytes alone do not bound them."""


_MAX_SECONDS = 86_400.0


def check_seconds(name: str, seconds: float) -> None:
    """Reject a delay below 0 or above a day: threads and Protobuf's Duration cannot wait for any number of seconds.

    Raises:
        ConfigurationError: Names what is wrong.

    Example:
        >>> check_seconds("Faults.ack_delay", 0.2)
    """
    if not 0 <= seconds <= _MAX_SECONDS:
        raise ConfigurationError(f"{name}={seconds!r}: set seconds of at least 0, and at most a day")


def check_nesting(schema: TableSchema) -> None:
    """Reject a column that nests too deep to be stored.

    Raises:
        ConfigurationError: Names the column.

    Example:
        >>> check_nesting(TableSchema.from_ddl("tags ARRAY<STRING>"))
    """
    for column in schema.columns:
        if nesting(column.type) > MAX_STORED_NESTING:
            raise ConfigurationError(
                f"column {column.name!r} nests {nesting(column.type)} levels deep; "
                f"the emulator stores {MAX_STORED_NESTING} at most: flatten the column"
            )

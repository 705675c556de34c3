"""The interface of a wire format: an `Encoder` turns a RecordBatch into `Payload`s."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias, cast

import numpy as np
import pyarrow as pa

from beam_zerobus.errors import RowError

__all__ = ["MAX_CALL_BYTES", "Encoder", "Payload", "Records"]

MAX_CALL_BYTES = 10_420_224
"""The SDK rejects a call whose records sum to more (10 MiB less 64 KiB, measured with SDK 1.10.0)."""

Records: TypeAlias = "list[bytes] | list[str] | pa.RecordBatch"
"""Protobuf rows, JSON rows, or a RecordBatch for Arrow Flight: the rows of one call of the SDK."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """The rows of one call, encoded.

    Attributes:
        records: The argument of the SDK's call; one entry a row, in the order of `rows`.
        rows: For each record the index of its row in the batch that was encoded, ascending (int64).
        size_bytes: Bytes of the records together, at most the encoder's `max_payload_bytes`.
        rejected: Rows that the format cannot carry, found while this payload was filled; they are in no payload.
        framed: The protobuf rows a second time, as a request has them: each after its field tag and length, in any
            number of pieces; empty unless requested.
    """

    records: Records
    rows: np.ndarray | range
    size_bytes: int
    rejected: Sequence[RowError] = ()
    framed: tuple[memoryview, ...] = ()

    def proto_rows(self) -> list[bytes]:
        """Return the records if they are protobuf rows, else an empty list."""
        if isinstance(self.records, list) and self.records and isinstance(self.records[0], bytes):
            return cast("list[bytes]", self.records)
        return []

    @property
    def has_records(self) -> bool:
        """False for the result of `without_records`."""
        return isinstance(self.records, pa.RecordBatch) or len(self.records) == len(self.rows)

    def without_records(self) -> Payload:
        """Return the payload without its records, to keep in flight; a RecordBatch stays, as it only refers to rows."""
        return self if isinstance(self.records, pa.RecordBatch) else replace(self, records=[])

    def unframed(self) -> Payload:
        """Return the payload without `framed`, memory that a payload in flight does not need."""
        return replace(self, framed=()) if self.framed else self

    def slice(self, part: range) -> Payload:
        """Return the payload of consecutive rows; `part` counts the rows of this payload."""
        records = self.records
        if isinstance(records, pa.RecordBatch):
            some: Records = records.slice(part.start, len(part))
        else:
            some = records[part.start : part.stop]
        size = self.size_bytes * len(part) // max(1, len(self.rows))
        return Payload(records=some, rows=self.rows[part.start : part.stop], size_bytes=size)


class Encoder(Protocol):
    """One wire format, bound to one table schema; thread-safe."""

    def encode(self, batch: pa.RecordBatch) -> Iterator[Payload]:
        """Yield the batch's rows in order, in payloads below the call limit.

        Args:
            batch: Rows from `beam_zerobus.schema.Conformer`: the table's types, names and order.

        Yields:
            Payloads; the last one may have rejected rows only.
        """
        ...

"""Splits rows into payloads, so that no call of the SDK exceeds its limit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from beam_zerobus.encoding.base import Payload
from beam_zerobus.errors import RowError
from beam_zerobus.schema.reasons import RowErrorType

__all__ = ["Encoded", "fill_payloads", "framed_size", "framed_sizes", "row_too_large", "without_large"]

# Below the limit of a call, so that one payload is in flight while the next is encoded: 10 MB were acknowledged in 0.85
# of the time (measured). Smaller payloads would mean more calls, also for a search for rejected rows.
_PAYLOAD_BYTES = 4 << 20
# Bytes of tag and varint, by the number of bits of the length.
_FRAME_BYTES = tuple(1 + max(1, (bits + 6) // 7) for bits in range(64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Encoded rows that are not in a payload yet.

    Attributes:
        records: The encoded rows; the receiver may keep and extend the list.
        sizes: Bytes of each record with its framing; none is above the limit.
        rows: Index of each record's row.
        rejected: Rejected rows, which are not among the records.
        framed: The records a second time, each after its tag and length; None unless requested.
    """

    records: list[bytes] | list[str]
    sizes: np.ndarray
    rows: np.ndarray | range
    rejected: tuple[RowError, ...] = ()
    framed: memoryview | None = None

    @classmethod
    def without_rows(cls, *errors: RowError) -> Encoded:
        """Return a part with rejected rows only."""
        return cls(records=[], sizes=np.empty(0, np.int64), rows=range(0), rejected=errors)


def framed_sizes(lengths: np.ndarray) -> np.ndarray:
    """Return the bytes of each record inside a request: tag, length as a varint, and the record itself.

    >>> framed_sizes(np.array([0, 127, 128])).tolist()
    [2, 129, 131]
    """
    sizes = lengths + 2
    longest = int(lengths.max(initial=0))
    for bits in (7, 14, 21, 28):
        if longest >> bits:
            sizes += lengths >= 1 << bits
    return sizes


def framed_size(length: int) -> int:
    """Return the bytes of one record inside a request.

    >>> framed_size(128)
    131
    """
    return length + _FRAME_BYTES[length.bit_length()]


def row_too_large(row: int, size: int, limit: int) -> RowError:
    """Return the error of a row that exceeds the limit of a call."""
    message = f"the row has {size:,} bytes, a call at most {limit:,}; make its text, binaries, arrays or maps smaller"
    return RowError(row, RowErrorType.ROW_TOO_LARGE.value, message, "encoding")


def without_large(records: list[bytes] | list[str], lengths: np.ndarray, rows: range, limit: int) -> Encoded:
    """Reject the rows above the limit; `records` is changed in place."""
    sizes = framed_sizes(lengths)
    large = np.flatnonzero(sizes > limit)
    if not len(large):
        return Encoded(records=records, sizes=sizes, rows=rows)
    for position in reversed(large.tolist()):
        del records[position]
    return Encoded(
        records=records,
        sizes=np.delete(sizes, large),
        rows=np.delete(np.asarray(rows), large),
        rejected=tuple(row_too_large(rows[i], int(sizes[i]), limit) for i in large.tolist()),
    )


def fill_payloads(parts: Iterable[Encoded], limit: int) -> Iterator[Payload]:
    """Fill payloads in order, each up to 4 MiB or the limit; a row above 4 MiB has a payload of its own.

    Records are not copied, only references to them.

    Args:
        parts: The encoded rows, in order; none is above the limit.
        limit: The most bytes of a payload.
    """
    limit = min(limit, _PAYLOAD_BYTES)
    filling = _Filling()
    for part in parts:
        filling.rejected += part.rejected
        size = int(part.sizes.sum())
        if filling.size + size <= limit:
            filling.add(part, range(len(part.records)), 0, size)
            continue
        start, ends = 0, np.cumsum(part.sizes)
        while start < len(part.records):
            done = int(ends[start - 1]) if start else 0
            stop = int(np.searchsorted(ends, limit - filling.size + done, side="right"))
            if not filling.records:
                stop = max(stop, start + 1)
            if stop > start:
                filling.add(part, range(start, stop), done, int(ends[stop - 1]))
            if stop < len(part.records):
                yield filling.payload()
                filling = _Filling()
            start = stop
    if filling.records or filling.rejected:
        yield filling.payload()


class _Filling:
    """The payload that is being filled."""

    def __init__(self) -> None:
        self.records: list[bytes] | list[str] = []
        self.rows: list[np.ndarray | range] = []
        self.size = 0
        self.rejected: tuple[RowError, ...] = ()
        self.framed: list[memoryview] = []

    def add(self, part: Encoded, some: range, begin: int, end: int) -> None:
        """Add some of a part's records, which are bytes `begin` to `end` of the part, framing included."""
        if not some:
            return
        records = part.records if len(some) == len(part.records) else part.records[some.start : some.stop]
        if self.records:
            self.records.extend(records)  # type: ignore[arg-type]
        else:
            self.records = records
        self.rows.append(part.rows[some.start : some.stop])
        self.size += end - begin
        if part.framed is not None:
            self.framed.append(part.framed[begin:end])

    def payload(self) -> Payload:
        return Payload(
            records=self.records,
            rows=_consecutive(self.rows),
            size_bytes=self.size,
            rejected=self.rejected,
            framed=tuple(self.framed),
        )


def _consecutive(parts: list[np.ndarray | range]) -> np.ndarray | range:
    """Return one range if the parts are consecutive ranges, else an array."""
    if not parts:
        return range(0)
    first, last = parts[0], parts[-1]
    count = sum(len(part) for part in parts)
    if isinstance(first, range) and isinstance(last, range) and last.stop - first.start == count:
        return range(first.start, last.stop)
    return np.concatenate([np.asarray(part, np.int64) for part in parts])

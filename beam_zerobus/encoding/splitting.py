"""Where rows are cut into payloads, so that no call of the SDK is above its limit."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from beam_zerobus.encoding.base import Payload
from beam_zerobus.errors import RowError

__all__ = ["cut_into_payloads", "framed_sizes", "row_too_large", "split_points"]


def framed_sizes(lengths: np.ndarray) -> np.ndarray:
    """Return the bytes that records take inside a request: tag, length as a varint, and the record itself.

    >>> framed_sizes(np.array([0, 127, 128])).tolist()
    [2, 129, 131]
    """
    sizes = lengths + 2
    longest = int(lengths.max(initial=0))
    for bits in (7, 14, 21, 28):
        if longest >> bits:
            sizes += lengths >= 1 << bits
    return sizes


def split_points(sizes: np.ndarray, limit: int) -> list[int]:
    """Fill payloads greedily: return the bounds between them, first and last included.

    Args:
        sizes: Bytes of each record, framing included; none alone is above the limit.
        limit: Bytes of a payload at most.

    Example:
        >>> split_points(np.array([3, 3, 3, 3]), 6)
        [0, 2, 4]
    """
    bounds, full = [0], limit
    ends = np.cumsum(sizes)
    while len(ends) and ends[-1] > full:
        cut = int(np.searchsorted(ends, full, side="right"))
        bounds.append(cut)
        full = int(ends[cut - 1]) + limit
    return [*bounds, len(sizes)]


def row_too_large(row: int, size: int, limit: int) -> RowError:
    """Say that a row is above the limit of a call."""
    message = f"the row takes {size:,} bytes, a call at most {limit:,}; make its strings, arrays or maps smaller"
    return RowError(row, "row_too_large", message, "encoding")


def cut_into_payloads(
    records: list[bytes] | list[str],
    lengths: np.ndarray,
    rows: np.ndarray,
    *,
    limit: int,
    rejected: tuple[RowError, ...] = (),
) -> Iterator[Payload]:
    """Yield finished records as payloads below the limit.

    Args:
        records: The encoded rows; a row above the limit is taken out of this list.
        lengths: Bytes of each record.
        rows: Index of each record's row in the batch.
        limit: Bytes of a payload at most.
        rejected: Rows to report with the first payload.
    """
    sizes = framed_sizes(lengths)
    large = np.flatnonzero(sizes > limit)
    if len(large):
        rejected += tuple(row_too_large(int(rows[i]), int(sizes[i]), limit) for i in large)
        sizes, rows = np.delete(sizes, large), np.delete(rows, large)
        for position in reversed(large.tolist()):
            del records[position]
    bounds = split_points(sizes, limit)
    for start, end in pairwise(bounds):
        size = int(sizes[start:end].sum())
        yield Payload(records=records[start:end], rows=rows[start:end], size_bytes=size, rejected=rejected)
        rejected = ()

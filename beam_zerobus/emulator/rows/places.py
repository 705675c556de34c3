"""Protobuf's wire, read at many places at once.

A place is the position of a byte in the bytes of a call. Each function here reads the same kind of value at all places
given, and returns the places after it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

__all__ = ["OddRecordsError", "Places", "Records", "check_within", "numbers", "sized", "slices"]

Places = np.ndarray
"""Positions of bytes, as int64."""

# A place may be the end of the last record: a tag has 5 bytes at most, a number after it is read as two words.
_PADDING = bytes(32)
_STOPS = np.uint64(0x8080808080808080)
# The length of a number that ends in byte k is its byte 7 - k.
_LENGTHS = np.uint64(0x0102030405060708)


class OddRecordsError(Exception):
    """The records are not as they are expected, and must be read one by one; they may be valid all the same."""


class Records:
    """The bytes of a call's records, one record after the other.

    Attributes:
        starts: Where each record begins.
        ends: Where it ends.
        words: The eight bytes from each position on, as a number.
        halves: The four bytes from each position on, as a number.
        buffer: All bytes.
    """

    def __init__(self, records: Sequence[bytes]) -> None:
        self.ends = np.cumsum(np.fromiter(map(len, records), np.int64, len(records)))
        self.starts = np.concatenate(([0], self.ends[:-1]))
        data = b"".join([*records, _PADDING])
        self.words = np.ndarray((len(data) - 7,), "<u8", data, 0, (1,))
        self.halves = np.ndarray((len(data) - 3,), "<u4", data, 0, (1,))
        self.buffer = pa.py_buffer(data)


def check_within(places: Places, ends: Places) -> None:
    """Check that no place is after its end.

    Raises:
        OddRecordsError: One is.
    """
    if (places > ends).any():
        raise OddRecordsError


def numbers(records: Records, at: Places) -> tuple[np.ndarray, Places]:
    """Read varints; return them as uint64.

    Raises:
        OddRecordsError: One is longer than ten bytes, or holds more than 64 bits.
    """
    words = records.words[at]
    if not (words & np.uint64(0x80)).any():
        return words & np.uint64(0x7F), at + 1
    stops = ~words & _STOPS
    lowest = stops & (~stops + np.uint64(1))
    lengths = ((lowest >> np.uint64(7)) * _LENGTHS) >> np.uint64(56)
    values = _without_stops(words & ((lowest << np.uint64(1)) - np.uint64(1)))
    long = np.flatnonzero(lengths == 0)
    if long.size:
        ninth = records.words[at[long] + 8] & np.uint64(0xFF)
        tenth = records.words[at[long] + 9] & np.uint64(0xFF)
        is_ten = ninth >= np.uint64(0x80)
        if (is_ten & (tenth > np.uint64(1))).any():
            raise OddRecordsError
        values[long] |= (ninth & np.uint64(0x7F)) << np.uint64(56) | (tenth * is_ten) << np.uint64(63)
        lengths[long] = np.uint64(9) + is_ten
    return values, at + lengths.view(np.int64)


def _without_stops(words: np.ndarray) -> np.ndarray:
    """Join the seven low bits of each byte."""
    words &= ~_STOPS
    for low, high, distance in (
        (0x007F007F007F007F, 0x7F007F007F007F00, 1),
        (0x00003FFF00003FFF, 0x3FFF00003FFF0000, 2),
        (0x000000000FFFFFFF, 0x0FFFFFFF00000000, 4),
    ):
        words = words & np.uint64(low) | (words & np.uint64(high)) >> np.uint64(distance)
    return words


def sized(records: Records, at: Places, ends: Places) -> tuple[Places, Places]:
    """Read the lengths of values that have one; return where the values begin, and the places after them.

    Raises:
        OddRecordsError: A value goes on after its end.
    """
    lengths, starts = numbers(records, at)
    if (lengths > np.uint64(records.buffer.size)).any():
        raise OddRecordsError
    nexts = starts + lengths.view(np.int64)
    check_within(nexts, ends)
    return starts, nexts


def slices(records: Records, starts: Places, nexts: Places) -> pa.LargeBinaryArray:
    """Return the bytes from each start, in ascending order, to the place after them."""
    # What lies between two of them is an element too, and left out again: that needs no loop and one copy.
    edges = np.empty(2 * len(starts), np.int64)
    edges[0::2] = starts
    edges[1::2] = nexts
    with_gaps = pa.Array.from_buffers(pa.large_binary(), len(edges) - 1, [None, pa.py_buffer(edges), records.buffer])
    return with_gaps.take(pa.array(np.arange(0, len(edges), 2)))

"""Integers of a small range: each number is encoded once and looked up for the rows."""

from __future__ import annotations

import numpy as np

from beam_zerobus.encoding.proto.pieces import Mask, Word
from beam_zerobus.encoding.proto.varint import signed_varint

__all__ = ["Lookup"]

_LEAST_USES = 4


class Lookup:
    """The words of all numbers of a range, the tag included.

    Args:
        lowest: The first number.
        highest: The last.
        tag: The tag before each number.
    """

    def __init__(self, lowest: int, highest: int, tag: Word) -> None:
        self._numbers = range(lowest, highest + 1)
        self._words = signed_varint(np.arange(len(self._numbers), dtype=np.int64) + lowest, lowest, highest, tag, None)
        self._or_null = [_after_null(word, len(self._numbers)) for word in self._words]

    @staticmethod
    def is_faster(lowest: int, highest: int, rows: int) -> bool:
        """Return whether a table is less work than the rows; not for single bytes, which need no table."""
        one_byte = lowest >= 0 and highest < 1 << 7
        return not one_byte and (highest - lowest + 1) * _LEAST_USES <= rows

    def covers(self, lowest: int, highest: int) -> bool:
        """Return whether the table has all numbers from lowest to highest."""
        return lowest in self._numbers and highest in self._numbers

    def pieces(self, numbers: np.ndarray, mask: Mask) -> list[Word]:
        """Return the words of the numbers (of any width); see `signed_varint`."""
        index = np.subtract(numbers, self._numbers.start, dtype=np.int64)
        if mask is None:
            return [word.take(index) for word in self._words]
        index += 1
        index &= mask.view(np.int8)
        return [word.take(index) for word in self._or_null]


def _after_null(word: Word, count: int) -> Word:
    """Put an empty word before those of the numbers."""
    bits, lengths = np.zeros(count + 1, np.uint64), np.zeros(count + 1, np.uint8)
    bits[1:], lengths[1:] = word.bits, word.lengths
    return Word(bits, lengths, word.longest)

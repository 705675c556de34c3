"""The dictionaries of rows: which keys each row has, and the field ids that follow.

Rows with the same keys share one dictionary. Each row has a number whose bits are sets of keys, so that no row is
looked at alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from beam_zerobus.variant.layout import metadata_of

__all__ = ["Dictionaries", "KeySets"]

_BITS = 64


class KeySets:
    """Collects the keys of each row.

    Args:
        rows: The number of rows.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._bits: dict[tuple[str, ...], int] = {}
        self._words: list[np.ndarray] = []
        self._single: dict[int, set[str]] = {}

    def add(self, keys: tuple[str, ...], rows: np.ndarray) -> None:
        """Add keys to some rows."""
        bit = self._bits.setdefault(keys, len(self._bits))
        if bit == len(self._words) * _BITS:
            self._words.append(np.zeros(self._rows, np.uint64))
        word = self._words[bit // _BITS]
        word[rows] = word[rows] | np.uint64(1 << bit % _BITS)

    def add_single(self, keys: set[str], row: int) -> None:
        """Add keys to one row."""
        self._single.setdefault(row, set()).update(keys)

    def dictionaries(self) -> Dictionaries:
        """Return the dictionaries of the rows."""
        codes = np.zeros(self._rows, np.int64)
        for word in self._words:
            if len(word) and (word != word[0]).any():
                _, inverse = np.unique(word, return_inverse=True)
                # Both factors are at most the number of rows; the next step keeps the product small.
                _, codes = np.unique(codes * (int(inverse.max()) + 1) + inverse, return_inverse=True)
        _, examples = np.unique(codes, return_index=True)
        keys = [self._keys_of(int(row)) for row in examples]
        return Dictionaries.of(codes, keys, self._single)

    def _keys_of(self, row: int) -> set[str]:
        found: set[str] = set()
        for keys, bit in self._bits.items():
            if int(self._words[bit // _BITS][row]) >> bit % _BITS & 1:
                found.update(keys)
        return found


@dataclass(frozen=True, slots=True)
class Dictionaries:
    """The dictionary of each row.

    Attributes:
        codes: The number of each row's dictionary (int64).
        ids: The field ids of the keys, one mapping for each dictionary.
        metadata: Each dictionary as the bytes of a row's metadata.
    """

    codes: np.ndarray
    ids: list[dict[str, int]]
    metadata: list[bytes]

    @classmethod
    def of(cls, codes: np.ndarray, keys: list[set[str]], single: dict[int, set[str]]) -> Dictionaries:
        """Number the dictionaries; rows in `single` have further keys."""
        numbers: dict[frozenset[str], int] = {}
        renumbered = np.array([numbers.setdefault(frozenset(some), len(numbers)) for some in keys], np.int64)
        found = renumbered[codes] if len(codes) else codes
        for row, more in single.items():
            found[row] = numbers.setdefault(frozenset(keys[codes[row]] | more), len(numbers))
        ordered = [sorted(some) for some in numbers]
        ids = [{key: number for number, key in enumerate(some)} for some in ordered]
        return cls(found, ids, [metadata_of(some) for some in ordered])

    def of_row(self, row: int) -> dict[str, int]:
        """Return the field ids of a row's keys."""
        return self.ids[self.codes[row]]

    def ids_of(self, keys: Iterable[str], rows: np.ndarray) -> np.ndarray:
        """Return the field ids of keys, in each of the rows: one line for each row."""
        keys = list(keys)
        codes = self.codes[rows]
        used = np.unique(codes) if len(self.ids) > 1 else np.zeros(1, np.int64)
        ids = [self.ids[code][key] for code in used.tolist() for key in keys]
        table = np.array(ids, np.int64).reshape(len(used), len(keys))
        if len(used) == 1:
            return np.broadcast_to(table, (len(rows), len(keys)))
        return table[np.searchsorted(used, codes)]

    def metadata_array(self) -> pa.Array:
        """Return the metadata of each row."""
        if len(self.metadata) == 1:
            return pa.repeat(pa.scalar(self.metadata[0], pa.large_binary()), len(self.codes))
        return pa.array(self.metadata, pa.large_binary()).take(pa.array(self.codes))

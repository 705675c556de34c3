"""Values of a column as pieces: each piece holds some bytes of every value, and one call of Arrow joins them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "Encoded",
    "binary_array",
    "by_class",
    "join",
    "lengths_of",
    "little_endian",
    "merged",
    "offsets_of",
    "rows_of_bytes",
    "widths_of",
]

_BINARY = pa.large_binary()


@dataclass(frozen=True, slots=True)
class Encoded:
    """Encoded values of one column.

    Attributes:
        pieces: Arrays of large_binary; the bytes of value i are those of item i in each of them, one after the other.
        lengths: The bytes of each value together (int64).
    """

    pieces: tuple[pa.Array, ...]
    lengths: np.ndarray


def join(encoded: Encoded) -> pa.Array:
    """Return the values as one array."""
    if len(encoded.pieces) == 1:
        return encoded.pieces[0]
    nothing = pa.scalar(b"", _BINARY)  # not made when this is imported: it would import pandas
    return pc.binary_join_element_wise(*encoded.pieces, nothing)


def lengths_of(array: pa.Array) -> np.ndarray:
    """Return the length of each item of a large_binary array."""
    return np.diff(offsets_of(array))


def offsets_of(array: pa.Array) -> np.ndarray:
    """Return the offsets of a large_binary array."""
    if not len(array):
        return np.zeros(1, np.int64)
    return np.frombuffer(array.buffers()[1], np.int64, count=len(array) + 1, offset=array.offset * 8)


def rows_of_bytes(matrix: np.ndarray, lengths: np.ndarray | None = None) -> pa.Array:
    """Return one item for each row of a matrix of bytes.

    Args:
        matrix: Rows of uint8.
        lengths: How many bytes of each row are used, from its start; None for all.
    """
    count, width = matrix.shape
    if lengths is None:
        return binary_array(np.arange(count + 1, dtype=np.int64) * width, matrix)
    return binary_array(np.concatenate(([0], np.cumsum(lengths))), matrix[np.arange(width) < lengths[:, None]])


def binary_array(offsets: np.ndarray, data: np.ndarray | pa.Buffer) -> pa.Array:
    """Return a large_binary array of offsets (int64) and data."""
    if isinstance(data, np.ndarray):
        data = pa.py_buffer(np.ascontiguousarray(data))
    return pa.LargeBinaryArray.from_buffers(_BINARY, len(offsets) - 1, [None, pa.py_buffer(offsets), data])


def little_endian(numbers: np.ndarray, width: int) -> np.ndarray:
    """Return the bytes of numbers, each in `width` bytes; one more dimension than `numbers`."""
    return np.ascontiguousarray(numbers, "<i8")[..., None].view(np.uint8)[..., :width]


def widths_of(numbers: np.ndarray) -> np.ndarray:
    """Return the bytes that each number needs, from 1 to 4."""
    return 1 + (numbers > 0xFF).astype(np.int64) + (numbers > 0xFFFF) + (numbers > 0xFFFFFF)


def by_class(classes: np.ndarray, make: Callable[[np.ndarray | slice, int], pa.Array]) -> pa.Array:
    """Make an array class by class.

    Args:
        classes: The class of each item; at least one.
        make: Returns the items of one class, given their positions and the class.
    """
    first = int(classes[0])
    if not (classes != first).any():
        return make(slice(None), first)
    parts = []
    for number in np.unique(classes).tolist():
        positions = np.flatnonzero(classes == number)
        parts.append((positions, make(positions, number)))
    return merged(parts)


def merged(parts: Sequence[tuple[np.ndarray, pa.Array]]) -> pa.Array:
    """Return the array whose items are those of the parts, each at its position."""
    positions = np.concatenate([part for part, _ in parts])
    order = np.empty(len(positions), np.int64)
    order[positions] = np.arange(len(positions))
    return pa.concat_arrays([array for _, array in parts]).take(pa.array(order))

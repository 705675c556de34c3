"""Arrow's lists and maps: which part of their children they show, and which of them a child belongs to."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from beam_zerobus.schema.reasons import Place

__all__ = ["inside_lists", "shown_children"]


def shown_children(array: pa.Array) -> tuple[np.ndarray, int, int]:
    """Return the offsets of lists or maps counted from 0, the position of their first child, and how many children.

    A slice shows only some of the children that it holds.

    Example:
        >>> offsets, first, count = shown_children(pa.array([[1], [2, 3]]).slice(1))
        >>> offsets.tolist(), first, count
        ([0, 2], 1, 2)
    """
    if not len(array):  # then the buffer may be empty
        return np.zeros(1, np.int32), 0, 0
    offsets = np.asarray(array.offsets)
    first = int(offsets[0])
    return offsets - first, first, int(offsets[-1]) - first


def inside_lists(place: Place, array: pa.Array, offsets: np.ndarray) -> Place:
    """Return the place of the children of lists or maps; a null list may hide children, which belong to no row.

    Args:
        place: The place of the lists.
        array: The lists.
        offsets: Where the children of each begin, and the end of the last.
    """

    def to_lists(positions: np.ndarray) -> np.ndarray:
        lists = np.searchsorted(offsets, positions, side="right") - 1
        return lists[np.asarray(array.is_valid())[lists]]

    return place.inside(to_lists)

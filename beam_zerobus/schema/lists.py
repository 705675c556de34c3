"""Arrow's lists and maps: which part of their children they show, and which of them a child belongs to."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.schema.reasons import Place

__all__ = ["inside_lists", "repeated_keys", "shown_children"]


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


def repeated_keys(keys: pa.Array, offsets: np.ndarray) -> np.ndarray:
    """Return the positions of keys that an earlier entry of their map has, too.

    As in Spark, 0.0 and -0.0 are one key, and all NaNs are one.

    Args:
        keys: The keys of all maps.
        offsets: Where the keys of each map begin, and the end of the last.

    Example:
        >>> repeated_keys(pa.array(["a", "b", "a", "a"]), np.array([0, 3, 4]))
        array([2])
    """
    sizes = np.diff(offsets)
    if sizes.max(initial=0) < 2 or pa.types.is_nested(keys.type):  # Zerobus accepts no nested keys
        return np.zeros(0, np.int64)
    if pa.types.is_floating(keys.type):
        keys = pc.if_else(pc.is_nan(keys), pa.scalar(np.nan, keys.type), pc.add(keys, pa.scalar(0, keys.type)))
    codes = keys.dictionary_encode(null_encoding="encode").indices.to_numpy().astype(np.int64)
    maps = np.repeat(np.arange(len(sizes)), sizes)
    # Usually all maps have their keys in the same order, in which the codes ascend.
    if ((np.diff(codes) > 0) | (np.diff(maps) > 0)).all():
        return np.zeros(0, np.int64)
    _, first = np.unique(maps * len(codes) + codes, return_index=True)
    return np.setdiff1d(np.arange(len(codes)), first)

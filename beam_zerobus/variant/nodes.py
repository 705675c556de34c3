"""What a column of parsed values consists of: a tree of nodes, each of which encodes all its values at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from beam_zerobus.variant.dictionaries import Dictionaries
from beam_zerobus.variant.layout import MAX_SMALL_SIZE, NULL, array_head, object_head
from beam_zerobus.variant.pieces import (
    Encoded,
    binary_array,
    by_class,
    join,
    lengths_of,
    little_endian,
    merged,
    offsets_of,
    rows_of_bytes,
    widths_of,
)
from beam_zerobus.variant.problems import Problem, VariantError
from beam_zerobus.variant.single_values import encode_value

__all__ = ["ArraysNode", "LeafNode", "MixedNode", "Node", "ObjectsNode", "SinglesNode"]


class Node(Protocol):
    """Values of a column."""

    def encode(self, dictionaries: Dictionaries) -> Encoded:
        """Return the values, with field ids of the dictionaries."""
        ...


@dataclass(frozen=True, slots=True)
class LeafNode:
    """Values without keys, which are encoded already."""

    encoded: Encoded

    def encode(self, dictionaries: Dictionaries) -> Encoded:  # noqa: ARG002 - the other nodes need them
        """Return the values."""
        return self.encoded


@dataclass(frozen=True, slots=True)
class SinglesNode:
    """Values of rare shapes, one by one.

    Attributes:
        values: The values.
        rows: The row of each.
        problems: Gets the problem of a row.
    """

    values: list[Any]
    rows: np.ndarray
    problems: dict[int, Problem]

    def encode(self, dictionaries: Dictionaries) -> Encoded:
        """Return the values."""
        encoded = []
        for value, row in zip(self.values, self.rows.tolist(), strict=True):
            try:
                encoded.append(encode_value(value, dictionaries.of_row(row)))
            except VariantError as error:
                self.problems.setdefault(row, error.problem)
                encoded.append(bytes([NULL]))
        array = pa.array(encoded, pa.large_binary())
        return Encoded((array,), lengths_of(array))


@dataclass(frozen=True, slots=True)
class MixedNode:
    """Values of several kinds.

    Attributes:
        parts: For each kind the positions of its values, and their node.
    """

    parts: list[tuple[np.ndarray, Node]]

    def encode(self, dictionaries: Dictionaries) -> Encoded:
        """Return the values, each at its position."""
        array = merged([(positions, join(node.encode(dictionaries))) for positions, node in self.parts])
        return Encoded((array,), lengths_of(array))


@dataclass(frozen=True, slots=True)
class ObjectsNode:
    """Objects with the same keys.

    Attributes:
        keys: Sorted.
        fields: The values of each key.
        rows: The row of each object.
    """

    keys: tuple[str, ...]
    fields: list[Node]
    rows: np.ndarray

    def encode(self, dictionaries: Dictionaries) -> Encoded:
        """Return the objects."""
        count = len(self.rows)
        fields = [field.encode(dictionaries) for field in self.fields]
        ends = np.zeros((count, len(fields) + 1), np.int64)
        for number, field in enumerate(fields):
            np.add(ends[:, number], field.lengths, out=ends[:, number + 1])
        ids = dictionaries.ids_of(self.keys, self.rows)
        widths = widths_of(ids.max(axis=1, initial=0)) * 8 + widths_of(ends[:, -1])

        def table(rows: np.ndarray | slice, width: int) -> pa.Array:
            id_width, offset_width = divmod(width, 8)
            head = np.frombuffer(object_head(len(fields), id_width, offset_width), np.uint8)
            offsets = little_endian(ends[rows], offset_width)
            some = len(offsets)
            parts = [
                np.broadcast_to(head, (some, len(head))),
                little_endian(ids[rows], id_width).reshape(some, -1),
                offsets.reshape(some, -1),
            ]
            return rows_of_bytes(np.concatenate(parts, axis=1))

        heads = by_class(widths, table)
        pieces = [piece for field in fields for piece in field.pieces]
        return Encoded((heads, *pieces), lengths_of(heads) + ends[:, -1])


@dataclass(frozen=True, slots=True)
class ArraysNode:
    """Arrays.

    Attributes:
        offsets: Where the elements of each array begin, and the end of the last.
        elements: The elements of all arrays.
    """

    offsets: np.ndarray
    elements: Node

    def encode(self, dictionaries: Dictionaries) -> Encoded:
        """Return the arrays."""
        elements = join(self.elements.encode(dictionaries))
        starts = offsets_of(elements)
        counts = np.diff(self.offsets)
        bounds = starts[self.offsets]
        sizes = np.diff(bounds)
        classes = widths_of(sizes) * 2 + (counts > MAX_SMALL_SIZE)

        def table(arrays: np.ndarray | slice, number: int) -> pa.Array:
            return _array_tables(self.offsets[:-1][arrays], counts[arrays], starts, number // 2)

        heads = by_class(classes, table)
        # The elements of an array are side by side already.
        data = binary_array(bounds, elements.buffers()[2])
        return Encoded((heads, data), lengths_of(heads) + sizes)


def _array_tables(firsts: np.ndarray, counts: np.ndarray, starts: np.ndarray, width: int) -> pa.Array:
    """Return the first bytes of arrays: header, count and offsets. All have the same class."""
    head = len(array_head(int(counts[0]) if len(counts) else 0, width))
    # The positions of each array's elements, and of the element after them.
    entries = counts + 1
    ends = np.cumsum(entries)
    total = int(ends[-1]) if len(ends) else 0
    positions = np.arange(total) + np.repeat(firsts - ends + entries, entries)
    offsets = little_endian(starts[positions] - np.repeat(starts[firsts], entries), width).reshape(-1)
    heads = np.zeros((len(counts), head), np.uint8)
    heads[:, 0] = array_head(MAX_SMALL_SIZE + 1 if head > 2 else 0, width)[0]
    heads[:, 1:] = little_endian(counts, head - 1)
    lengths = entries * width
    tables = binary_array(np.concatenate(([0], np.cumsum(lengths))), offsets)
    return join(Encoded((rows_of_bytes(heads), tables), lengths))

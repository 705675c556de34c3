"""`Splitter`: parsed values into nodes, by their kind and shape."""

from __future__ import annotations

from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np

from beam_zerobus.variant.dictionaries import KeySets
from beam_zerobus.variant.layout import MAX_DEPTH
from beam_zerobus.variant.leaves import LEAVES
from beam_zerobus.variant.nodes import ArraysNode, LeafNode, MixedNode, Node, ObjectsNode, SinglesNode
from beam_zerobus.variant.problems import Problem, VariantError
from beam_zerobus.variant.single_values import keys_of

__all__ = ["Splitter"]

_FEW = 12
"""Fewer objects or arrays than these are encoded one by one, since a node costs some 100 microseconds."""


class Splitter:
    """Splits the values of one column.

    Args:
        rows: The number of rows.
        problems: Gets the problem of a row that has no Variant.

    Attributes:
        keys: The keys of each row.
    """

    def __init__(self, rows: int, problems: dict[int, Problem]) -> None:
        self.keys = KeySets(rows)
        self._problems = problems

    def split(self, values: list[Any], rows: np.ndarray, depth: int = 0) -> Node:
        """Return the node of values.

        Args:
            values: The values.
            rows: The row of each.
            depth: The arrays and objects around them.
        """
        kinds = set(map(type, values)) or {type(None)}
        if kinds == {str, type(None)}:
            kinds = {str}
        if len(kinds) == 1:
            return self._of_kind(kinds.pop(), values, rows, depth)
        codes = {kind: code for code, kind in enumerate(kinds)}
        found = np.fromiter(map(codes.__getitem__, map(type, values)), np.int64, len(values))
        return self._parts(
            values, rows, found, [lambda some, at, kind=kind: self._of_kind(kind, some, at, depth) for kind in kinds]
        )

    def _parts(self, values: list[Any], rows: np.ndarray, codes: np.ndarray, makers: list[Any]) -> Node:
        parts = []
        for code, make in enumerate(makers):
            positions = np.flatnonzero(codes == code)
            some = [values[position] for position in positions.tolist()]
            parts.append((positions, make(some, rows[positions])))
        return MixedNode(parts)

    def _of_kind(self, kind: type, values: list[Any], rows: np.ndarray, depth: int) -> Node:
        leaf = LEAVES.get(kind)
        if leaf is not None:
            return LeafNode(leaf(values, lambda positions, problem: self._reject(rows[positions], problem)))
        if depth == MAX_DEPTH:
            self._reject(rows, Problem.TOO_DEEP)
            return self._of_kind(type(None), [None] * len(values), rows, depth)
        if len(values) < _FEW:
            return self._singles(values, rows, depth)
        return self._objects(values, rows, depth) if kind is dict else self._arrays(values, rows, depth)

    def _reject(self, rows: np.ndarray, problem: Problem) -> None:
        for row in rows.tolist():
            self._problems.setdefault(row, problem)

    def _singles(self, values: list[Any], rows: np.ndarray, depth: int) -> Node:
        for position, row in enumerate(rows.tolist()):
            try:
                self.keys.add_single(keys_of(values[position], depth), row)
            except VariantError as error:
                self._problems.setdefault(row, error.problem)
                values[position] = None
        return SinglesNode(values, rows, self._problems)

    def _objects(self, values: list[dict[str, Any]], rows: np.ndarray, depth: int) -> Node:
        keys = tuple(sorted(values[0]))
        columns = _columns(keys, values)
        if columns is not None:
            return self._same_keys(keys, columns, rows, depth)
        orders = list(map(tuple, values))
        shapes: dict[tuple[str, ...], int] = {}
        codes = {order: shapes.setdefault(tuple(sorted(order)), len(shapes)) for order in set(orders)}
        found = np.fromiter(map(codes.__getitem__, orders), np.int64, len(values))
        # The rare shapes become one part.
        rare = np.bincount(found, minlength=len(shapes)) < _FEW
        common = [shape for shape, is_rare in zip(shapes, rare.tolist(), strict=True) if not is_rare]
        numbers = np.where(rare, len(common), np.cumsum(~rare) - 1)
        makers: list[Any] = [
            lambda some, at, shape=shape: self._same_keys(shape, _columns(shape, some) or [], at, depth)
            for shape in common
        ]
        if rare.any():
            makers.append(lambda some, at: self._singles(some, at, depth))
        return self._parts(values, rows, numbers[found], makers)

    def _same_keys(self, keys: tuple[str, ...], columns: list[list[Any]], rows: np.ndarray, depth: int) -> Node:
        self.keys.add(keys, rows)
        return ObjectsNode(keys, [self.split(column, rows, depth + 1) for column in columns], rows)

    def _arrays(self, values: list[list[Any]], rows: np.ndarray, depth: int) -> Node:
        counts = np.fromiter(map(len, values), np.int64, len(values))
        offsets = np.concatenate(([0], np.cumsum(counts)))
        elements = list(chain.from_iterable(values))
        return ArraysNode(offsets, self.split(elements, np.repeat(rows, counts), depth + 1))


def _columns(keys: tuple[str, ...], values: list[dict[str, Any]]) -> list[list[Any]] | None:
    """Return the values of each key; None if not all objects have just these keys."""
    if set(map(len, values)) != {len(keys)}:
        return None
    try:
        # A loop for each key: tuples of all the values of an object would make the garbage collector run.
        return [list(map(itemgetter(key), values)) for key in keys]
    except KeyError:
        return None

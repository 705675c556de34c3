"""Converts the Python values of a column to an Arrow array of the table's type.

A column is a small tree of nodes: scalars are its leaves; lists, maps and structs combine them. The protobuf and the
JSON reader build such trees; they differ in how scalars are written and how a struct's fields are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.schema import Field
from beam_zerobus.schema.arrow import canonical_type
from beam_zerobus.schema.lists import repeated_keys

__all__ = [
    "BadValueError",
    "Column",
    "Getter",
    "ListNode",
    "MapNode",
    "Node",
    "ScalarNode",
    "Source",
    "StructNode",
    "check_nulls",
]

Values = Sequence[Any]
Getter = Callable[[Values], list[Any]]


class BadValueError(Exception):
    """A value does not fit.

    Attributes:
        path: The column, or the path to the field within it.
        reason: Why, without the value.
        number: The service's error number, where it has one.
    """

    def __init__(self, path: str, reason: str, number: int | None = None) -> None:
        super().__init__(reason)
        self.path = path
        self.reason = reason
        self.number = number


class Node(Protocol):
    """Converts Python values to an Arrow array, None to null."""

    def read(self, values: Values) -> pa.Array:
        """Return the array.

        Raises:
            BadValueError: A value does not fit.
        """
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """A column or a struct's field: a getter of its values, and the node that reads them."""

    getter: Getter
    node: Node

    def read(self, parents: Values) -> pa.Array:
        """Return the field's values in the rows or structs that hold it."""
        return self.node.read(self.getter(parents))


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """A leaf; `convert` raises pyarrow's errors, or `BadValueError` with a more precise reason."""

    path: str
    type_name: str
    convert: Callable[[Values], pa.Array]

    def read(self, values: Values) -> pa.Array:
        """Return the array."""
        try:
            return self.convert(values)
        except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
            # The text of the cause may hold the value.
            raise BadValueError(self.path, f"is {self.type_name} and has a value that does not fit it") from error


@dataclass(frozen=True, slots=True)
class ListNode:
    """An ARRAY, from lists or protobuf's repeated containers."""

    path: str
    arrow_type: pa.ListType
    element: Node

    def read(self, values: Values) -> pa.Array:
        """Return the array."""
        if any(isinstance(value, str | dict) or not hasattr(value, "__len__") for value in values if value is not None):
            raise BadValueError(self.path, "is an ARRAY and has a value that is not a list")
        elements = self.element.read(list(chain.from_iterable(value for value in values if value)))
        if elements.null_count and not self.arrow_type.value_field.nullable:
            raise BadValueError(self.path, "has a null element, which its type does not allow")
        return pa.ListArray.from_arrays(_offsets(values), elements, type=self.arrow_type)


@dataclass(frozen=True, slots=True)
class MapNode:
    """A MAP, from dictionaries or protobuf's map containers."""

    path: str
    arrow_type: pa.MapType
    key: Node
    value: Node

    def read(self, values: Values) -> pa.Array:
        """Return the array."""
        if not all(hasattr(value, "keys") for value in values if value is not None):
            raise BadValueError(self.path, "is a MAP and has a value that is not an object")
        keys = self.key.read(list(chain.from_iterable(value.keys() for value in values if value)))
        if keys.null_count:
            raise BadValueError(self.path, "has a null key in the map")
        if _has_key_twice(values, keys):
            raise BadValueError(self.path, "has a key twice in the map")
        items = self.value.read(list(chain.from_iterable(value.values() for value in values if value)))
        if items.null_count and not self.arrow_type.item_field.nullable:
            raise BadValueError(self.path, "has a null value in the map, which its type does not allow")
        return pa.MapArray.from_arrays(_offsets(values), keys, items, type=self.arrow_type)


def _has_key_twice(values: Values, keys: pa.Array) -> bool:
    """Return whether two keys of a map have the same value, such as 1.5 and 1.50; texts differ already."""
    is_text = pa.types.is_string(keys.type) or pa.types.is_large_string(keys.type)
    return not is_text and repeated_keys(keys, _ends(values)).size > 0


def _ends(values: Values) -> np.ndarray:
    """Return where the elements of each list or map begin, and the end of the last."""
    ends = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value) if value else 0 for value in values], out=ends[1:])
    return ends


def _offsets(values: Values) -> pa.Array:
    absent = np.array([value is None for value in values] + [False])
    return pa.array(_ends(values), mask=absent if absent.any() else None)


@dataclass(frozen=True, slots=True)
class StructNode:
    """A STRUCT; `sources` has one for each field, None if the stream does not have it."""

    path: str
    arrow_type: pa.StructType
    sources: tuple[Source | None, ...]
    check: Callable[[Values], None] | None = None

    def read(self, values: Values) -> pa.Array:
        """Return the array."""
        present = [value for value in values if value is not None]
        if self.check is not None:
            self.check(present)
        arrays = []
        for field, source in zip(self.arrow_type, self.sources, strict=True):
            array = pa.nulls(len(present), field.type) if source is None else source.read(present)
            if array.null_count and not field.nullable:
                raise BadValueError(f"{self.path}.{field.name}", "is NOT NULL and has no value")
            arrays.append(array)
        dense = pa.StructArray.from_arrays(arrays, fields=list(self.arrow_type))
        if len(present) == len(values):
            return dense
        positions = np.cumsum([value is not None for value in values]) - 1
        return dense.take(pa.array(positions, mask=np.array([value is None for value in values])))


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table and how to read it; `source` is None if the stream does not have it."""

    field: Field
    source: Source | None

    def read(self, rows: Values) -> pa.Array:
        """Return the column of the rows.

        Raises:
            Rejection: A value does not fit, or is missing in a NOT NULL column; names column and record.
        """
        if self.source is None:
            array = pa.nulls(len(rows), canonical_type(self.field.type))
        else:
            try:
                array = self.source.read(rows)
            except BadValueError:
                raise self._rejection(self.source, rows) from None
        check_nulls(self.field, array)
        return array

    def _rejection(self, source: Source, rows: Values) -> Rejection:
        # Halve the rows until the first bad one is found.
        first, last = 0, len(rows)
        while last - first > 1:
            middle = (first + last) // 2
            if self._problem(source, rows[first:middle]) is None:
                first = middle
            else:
                last = middle
        problem = self._problem(source, rows[first:last]) or BadValueError(self.field.name, "cannot be read")
        return Rejection.invalid(f"column '{problem.path}' {problem.reason} (record {first})", number=problem.number)

    def _problem(self, source: Source, rows: Values) -> BadValueError | None:
        try:
            source.read(rows)
        except BadValueError as error:
            return error
        return None


def check_nulls(field: Field, array: pa.Array) -> None:
    """Reject a null in a NOT NULL column.

    Raises:
        Rejection: Names column and record.
    """
    if array.null_count and not field.nullable:
        record = array.is_null().index(True).as_py()
        raise Rejection.invalid(f"column '{field.name}' is NOT NULL and has no value (record {record})")

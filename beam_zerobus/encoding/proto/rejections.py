"""Finds rows that protobuf cannot hold: a null in a NOT NULL column, and nulls inside arrays and maps.

Most columns cannot have such a null. So the schema is first reduced to the places that can, and a place without nulls
costs no more than reading Arrow's null count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from beam_zerobus.errors import RowError
from beam_zerobus.schema.reasons import RowErrorType
from beam_zerobus.schema.table import TableSchema
from beam_zerobus.schema.types import Array, DeltaType, Map, Struct

__all__ = ["Rejections"]

_Fault: TypeAlias = tuple[RowErrorType, str]

_NOT_NULL: _Fault = (
    RowErrorType.NULL_IN_NOT_NULL_COLUMN,
    "is NOT NULL and null in the row; give it a value, or drop NOT NULL from the table's column",
)
_ELEMENT: _Fault = (
    RowErrorType.NULL_LIST_ELEMENT,
    "is null in an array of the row, which protobuf cannot carry; drop it, or use wire_format='arrow'",
)
_VALUE: _Fault = (
    RowErrorType.NULL_MAP_VALUE,
    "is null in a map of the row, which protobuf cannot carry; drop the entry, or use wire_format='arrow'",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A column, field or element in which a null is an error, or which contains such places."""

    path: str
    type: DeltaType
    fault: _Fault | None
    children: tuple[_Place | None, ...] = ()


class Rejections:
    """The places of one table where a null is an error; thread-safe."""

    def __init__(self, schema: TableSchema) -> None:
        places = (_place(field.name, field.type, None if field.nullable else _NOT_NULL) for field in schema.columns)
        self._places = tuple((position, place) for position, place in enumerate(places) if place is not None)

    def find(self, columns: Sequence[pa.Array]) -> tuple[RowError, ...]:
        """Return the first reason of each row that cannot be encoded, by ascending row."""
        errors: dict[int, RowError] = {}
        for position, place in self._places:
            column = columns[position]
            if not _may_be_at_fault(column, place):
                continue
            for rows, error_type, message in _faults(column, place, np.arange(len(column))):
                for row in rows.tolist():
                    errors.setdefault(row, RowError(row, error_type, message, "encoding"))
        return tuple(errors[row] for row in sorted(errors))


def _place(path: str, delta_type: DeltaType, fault: _Fault | None) -> _Place | None:
    children: tuple[_Place | None, ...] = ()
    if isinstance(delta_type, Struct):
        children = tuple(
            _place(f"{path}.{field.name}", field.type, None if field.nullable else _NOT_NULL)
            for field in delta_type.fields
        )
    elif isinstance(delta_type, Array):
        children = (_place(f"{path}.element", delta_type.element, _ELEMENT),)
    elif isinstance(delta_type, Map):
        children = (None, _place(f"{path}.value", delta_type.value, _VALUE))
    if fault is None and not any(children):
        return None
    return _Place(path=path, type=delta_type, fault=fault, children=children)


def _may_be_at_fault(array: pa.Array, place: _Place) -> bool:
    """Return whether there are nulls in such places; a null above may hide them."""
    if place.fault is not None and array.null_count:
        return True
    if not place.children:
        return False
    return any(
        child is not None and _may_be_at_fault(inner, child)
        for inner, child in zip(_inner_arrays(array, place), place.children, strict=True)
    )


def _inner_arrays(array: pa.Array, place: _Place) -> list[pa.Array]:
    if not place.children:
        return []
    if isinstance(place.type, Struct):
        return [array.field(i) for i in range(len(place.children))]
    return [array.keys, array.items] if isinstance(place.type, Map) else [array.values]


_Faults: TypeAlias = Iterator[tuple[np.ndarray, str, str]]


def _faults(array: pa.Array, place: _Place, owners: np.ndarray) -> _Faults:
    """Yield the rows to reject, with error type and message.

    Args:
        array: The values at the place.
        place: The place, with the error of a null there.
        owners: The row of each value; -1 where a null above hides it.
    """
    if array.null_count:
        null = array.is_null().to_numpy(zero_copy_only=False)
        if place.fault is not None:
            rows = owners[null]
            error_type, what = place.fault
            yield rows[rows >= 0], error_type.value, f"column {place.path!r} ({place.type}) {what}"
        owners = np.where(null, -1, owners)
    if isinstance(place.type, Struct):
        for inner, child in zip(_inner_arrays(array, place), place.children, strict=True):
            if child is not None:
                yield from _faults(inner, child, owners)
    elif place.children:
        yield from _faults_of_elements(array, place, owners)


def _faults_of_elements(array: pa.Array, place: _Place, owners: np.ndarray) -> _Faults:
    offsets = array.offsets.to_numpy()
    if not len(offsets):
        return
    inner_owners = np.repeat(owners, np.diff(offsets))
    for child_array, child in zip(_inner_arrays(array, place), place.children, strict=True):
        if child is not None:
            yield from _faults(child_array.slice(offsets[0], len(inner_owners)), child, inner_owners)

"""Whether an Arrow schema has a field that a table lacks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import pyarrow as pa

from beam_zerobus.schema.types import Array, DeltaType, Field, Map, Struct

__all__ = ["IgnoreUnknown", "has_unknown_fields", "remedy_for_unknown"]

IgnoreUnknown: TypeAlias = bool | Literal["nulls"]
"""Whether fields that a table does not have are left out; with ``"nulls"`` only those without a value."""


def remedy_for_unknown(ignored: IgnoreUnknown) -> str:
    """Return what to do about a field that the table does not have; with ``"nulls"`` it could not be added."""
    if ignored == "nulls":
        return (
            'set on_unknown_fields="ignore" or "rescue", as "add" cannot add a column of this name or type, or no '
            "more columns"
        )
    return 'set on_unknown_fields="ignore", "add" or "rescue", or add it to the table'


def has_unknown_fields(incoming: Iterable[pa.Field], columns: Sequence[Field]) -> bool:
    """Return whether a column, or a struct field at any depth, is not in the table; names match in any case.

    Example:
        >>> from beam_zerobus.schema import TableSchema
        >>> table = TableSchema.from_ddl("id BIGINT")
        >>> has_unknown_fields(pa.schema({"ID": pa.int64(), "new": pa.string()}), table.columns)
        True
    """
    known = {column.name.lower(): column.type for column in columns}
    return any(
        (column_type := known.get(field.name.lower())) is None or _is_wider(field.type, column_type)
        for field in incoming
    )


def _is_wider(incoming: pa.DataType, column_type: DeltaType) -> bool:
    if isinstance(column_type, Struct) and pa.types.is_struct(incoming):
        return has_unknown_fields(list(incoming), column_type.fields)
    if isinstance(column_type, Array) and (pa.types.is_list(incoming) or pa.types.is_large_list(incoming)):
        return _is_wider(incoming.value_type, column_type.element)
    if isinstance(column_type, Map) and pa.types.is_map(incoming):
        return _is_wider(incoming.item_type, column_type.value)
    return False

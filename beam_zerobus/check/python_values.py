"""Python values, some of which a column takes where it does not take Arrow's values of the same type."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from beam_zerobus.schema import Array, DeltaType, Field, Map, Primitive, Struct
from beam_zerobus.schema.arrow import canonical_type, is_list

__all__ = ["as_converted"]

_TIMES = (Primitive.DATE, Primitive.TIMESTAMP, Primitive.TIMESTAMP_NTZ)


def as_converted(fields: Iterable[pa.Field], columns: Sequence[Field]) -> list[pa.Field]:
    """Return fields of Python values with the types that a sink converts them to for a table; values may still not fit.

    Example:
        >>> from beam_zerobus.schema import TableSchema
        >>> columns = TableSchema.from_ddl("at DATE, n INT").columns
        >>> [field.type for field in as_converted(pa.schema({"at": pa.string(), "n": pa.string()}), columns)]
        [DataType(date32[day]), DataType(string)]
    """
    known = {column.name.lower(): column.type for column in columns}
    return [
        field if (there := known.get(field.name.lower())) is None else field.with_type(_converted(field.type, there))
        for field in fields
    ]


def _converted(arrow_type: pa.DataType, delta_type: DeltaType) -> pa.DataType:
    types = pa.types
    match delta_type:
        case Struct(fields) if types.is_struct(arrow_type):
            return pa.struct(as_converted(arrow_type, fields))
        case Array(element) if is_list(arrow_type):
            return pa.list_(_converted(arrow_type.value_type, element))
        case Map(_, value) if types.is_map(arrow_type):
            return pa.map_(arrow_type.key_type, _converted(arrow_type.item_type, value))
    takes = (
        (delta_type is Primitive.VARIANT and _has_json(arrow_type))
        or (delta_type in _TIMES and (types.is_integer(arrow_type) or types.is_string(arrow_type)))
        or (delta_type is Primitive.TIMESTAMP_NTZ and types.is_timestamp(arrow_type))
        or (delta_type is Primitive.FLOAT and types.is_floating(arrow_type))
    )
    return canonical_type(delta_type) if takes else arrow_type


def _has_json(arrow_type: pa.DataType) -> bool:
    """Return whether Python's values of a type have JSON, as numbers, text and what holds them have."""
    types = pa.types
    if types.is_struct(arrow_type):
        return all(_has_json(field.type) for field in arrow_type)
    if types.is_map(arrow_type):
        return _has_json(arrow_type.item_type)
    if is_list(arrow_type):
        return _has_json(arrow_type.value_type)
    return not (types.is_decimal(arrow_type) or types.is_temporal(arrow_type))

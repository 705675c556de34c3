"""Arrow types to Delta types, and Delta types to Arrow types."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from beam_zerobus.errors import ConversionError
from beam_zerobus.schema.types import (
    MAX_DECIMAL_PRECISION,
    MAX_NESTING,
    Array,
    Decimal,
    DeltaType,
    Field,
    Map,
    Primitive,
    Struct,
)
from beam_zerobus.variant import VARIANT_TYPE

__all__ = ["canonical_type", "fields_from_arrow", "flight_type", "is_list", "unwrapped"]

_FROM_ARROW = {
    pa.bool_(): Primitive.BOOLEAN,
    pa.int8(): Primitive.TINYINT,
    pa.int16(): Primitive.SMALLINT,
    pa.int32(): Primitive.INT,
    pa.int64(): Primitive.BIGINT,
    # The smallest type that holds all values; the upper half of uint64 is rejected row by row.
    pa.uint8(): Primitive.SMALLINT,
    pa.uint16(): Primitive.INT,
    pa.uint32(): Primitive.BIGINT,
    pa.uint64(): Primitive.BIGINT,
    pa.float16(): Primitive.FLOAT,
    pa.float32(): Primitive.FLOAT,
    pa.float64(): Primitive.DOUBLE,
    pa.string(): Primitive.STRING,
    pa.large_string(): Primitive.STRING,
    pa.string_view(): Primitive.STRING,
    pa.binary(): Primitive.BINARY,
    pa.large_binary(): Primitive.BINARY,
    pa.binary_view(): Primitive.BINARY,
    pa.date32(): Primitive.DATE,
    pa.date64(): Primitive.DATE,
}
_CANONICAL = {
    Primitive.TINYINT: pa.int8(),
    Primitive.SMALLINT: pa.int16(),
    Primitive.INT: pa.int32(),
    Primitive.BIGINT: pa.int64(),
    Primitive.FLOAT: pa.float32(),
    Primitive.DOUBLE: pa.float64(),
    Primitive.BOOLEAN: pa.bool_(),
    Primitive.STRING: pa.large_string(),
    Primitive.BINARY: pa.large_binary(),
    Primitive.DATE: pa.date32(),
    Primitive.TIMESTAMP: pa.timestamp("us", "UTC"),
    Primitive.TIMESTAMP_NTZ: pa.timestamp("us"),
    Primitive.VARIANT: pa.large_string(),
}
_REJECTED = (
    (pa.types.is_null, "every value is null, so the type is unknown; cast it to the type of the table's column"),
    (pa.types.is_time, "Delta has no type for a time of day; cast to int64 (BIGINT) or string (STRING)"),
    (pa.types.is_duration, "Zerobus cannot write intervals; cast to int64 (BIGINT)"),
    (pa.types.is_interval, "Zerobus cannot write intervals; split it into int64 columns (BIGINT)"),
    (pa.types.is_union, "Delta has no union; use a struct with one field for each kind"),
)


def unwrapped(arrow_type: pa.DataType) -> pa.DataType:
    """Return the type inside dictionaries, run-end encoding and extension types.

    Example:
        >>> unwrapped(pa.dictionary(pa.int8(), pa.string()))
        DataType(string)
    """
    while True:
        if isinstance(arrow_type, pa.BaseExtensionType):
            arrow_type = pa.bool_() if arrow_type.extension_name == "arrow.bool8" else arrow_type.storage_type
        elif pa.types.is_dictionary(arrow_type) or pa.types.is_run_end_encoded(arrow_type):
            arrow_type = arrow_type.value_type
        else:
            return arrow_type


def fields_from_arrow(arrow_fields: Iterable[pa.Field]) -> tuple[Field, ...]:
    """Return the columns for Arrow fields, numbered from 1.

    Raises:
        ConversionError: A field has a type without a Delta type.
    """
    return _fields(arrow_fields, "", 0)


def _fields(arrow_fields: Iterable[pa.Field], parent: str, depth: int) -> tuple[Field, ...]:
    return tuple(
        Field(
            name=field.name,
            type=_delta_type(field.type, f"{parent}.{field.name}" if parent else field.name, depth),
            nullable=field.nullable,
            number=number,
        )
        for number, field in enumerate(arrow_fields, start=1)
    )


def _delta_type(arrow_type: pa.DataType, path: str, depth: int) -> DeltaType:
    if depth > MAX_NESTING:
        raise ConversionError(f"column {path!r}: types nest deeper than {MAX_NESTING} levels; flatten the column")
    if getattr(arrow_type, "extension_name", "") == "arrow.json":
        return Primitive.VARIANT
    plain = unwrapped(arrow_type)
    found = _leaf_type(plain, path) or _nested_type(plain, path, depth)
    if found is None:
        reason = next((why for rejects, why in _REJECTED if rejects(plain)), "cast it to another type")
        raise ConversionError(f"column {path!r} of Arrow type {arrow_type} has no Delta type: {reason}")
    return found


def _leaf_type(arrow_type: pa.DataType, path: str) -> DeltaType | None:
    if pa.types.is_timestamp(arrow_type):
        return Primitive.TIMESTAMP_NTZ if arrow_type.tz is None else Primitive.TIMESTAMP
    if pa.types.is_decimal(arrow_type):
        return _decimal(arrow_type, path)
    if pa.types.is_fixed_size_binary(arrow_type):
        return Primitive.BINARY
    return _FROM_ARROW.get(arrow_type)


def _nested_type(arrow_type: pa.DataType, path: str, depth: int) -> DeltaType | None:
    if pa.types.is_map(arrow_type):
        return Map(
            _delta_type(arrow_type.key_type, f"{path}.key", depth + 1),
            _delta_type(arrow_type.item_type, f"{path}.value", depth + 1),
            arrow_type.item_field.nullable,
        )
    if pa.types.is_struct(arrow_type):
        return Struct(_fields(arrow_type, path, depth + 1))
    if is_list(arrow_type):
        element = _delta_type(arrow_type.value_type, f"{path}.element", depth + 1)
        return Array(element, arrow_type.value_field.nullable)
    return None


def is_list(arrow_type: pa.DataType) -> bool:
    """Return whether the type is one of Arrow's five list types.

    Example:
        >>> is_list(pa.list_(pa.int8(), 3))
        True
    """
    types = pa.types
    return bool(
        types.is_list(arrow_type)
        or types.is_large_list(arrow_type)
        or types.is_fixed_size_list(arrow_type)
        or types.is_list_view(arrow_type)
        or types.is_large_list_view(arrow_type)
    )


def _decimal(arrow_type: pa.DataType, path: str) -> Decimal:
    # Arrow allows negative scales and scales above the precision; Delta does not.
    scale = max(arrow_type.scale, 0)
    precision = max(arrow_type.precision - min(arrow_type.scale, 0), scale)
    if precision > MAX_DECIMAL_PRECISION:
        raise ConversionError(
            f"column {path!r} of Arrow type {arrow_type} has no Delta type: DECIMAL has at most "
            f"{MAX_DECIMAL_PRECISION} digits; cast it to a smaller precision or to string"
        )
    return Decimal(precision, scale)


def canonical_type(delta_type: DeltaType) -> pa.DataType:
    """Return the Arrow type of a column that an encoder accepts.

    Example:
        >>> canonical_type(Decimal(10, 2))
        Decimal128Type(decimal128(10, 2))
    """
    return _arrow_type(delta_type, flight=False)


def flight_type(delta_type: DeltaType) -> pa.DataType:
    """Return the Arrow type of a column of an Arrow Flight stream.

    It is the canonical type, except that DECIMAL is text, VARIANT is Parquet's binary Variant, and list elements and
    map values are nullable, as in the official client. A null where the table allows none is still rejected, row by
    row.

    Example:
        >>> flight_type(Decimal(10, 2))
        DataType(large_string)
    """
    return _arrow_type(delta_type, flight=True)


def _arrow_type(delta_type: DeltaType, *, flight: bool) -> pa.DataType:
    def of(inner: DeltaType) -> pa.DataType:
        return _arrow_type(inner, flight=flight)

    match delta_type:
        case Primitive.VARIANT if flight:
            return VARIANT_TYPE
        case Primitive():
            return _CANONICAL[delta_type]
        case Decimal(precision, scale):
            return pa.large_string() if flight else pa.decimal128(precision, scale)
        case Array(element, contains_null):
            return pa.list_(pa.field("item", of(element), nullable=flight or contains_null))
        case Map(key, value, value_contains_null):
            return pa.map_(
                pa.field("keys", of(key), nullable=False),
                pa.field("values", of(value), nullable=flight or value_contains_null),
            )
        case Struct(fields):
            return pa.struct([pa.field(field.name, of(field.type), nullable=field.nullable) for field in fields])

"""What a table may look like: names, numbers, count, nesting; and what protobuf rows can hold of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from beam_zerobus.errors import ConfigurationError, ConversionError
from beam_zerobus.schema.types import MAX_NESTING, Array, Decimal, DeltaType, Field, Map, Primitive, Struct

if TYPE_CHECKING:
    from beam_zerobus.schema.table import TableSchema

__all__ = ["MAX_COLUMNS", "check_columns", "check_protobuf"]

MAX_COLUMNS = 2_000
"""Zerobus writes no table with more."""

_MAX_FIELD_NUMBER = (1 << 29) - 1
_RESERVED_NUMBERS = range(19_000, 20_000)
_NAME = re.compile(r"[A-Za-z0-9_]+\Z")
_KEY_TYPES = frozenset(
    {
        Primitive.TINYINT,
        Primitive.SMALLINT,
        Primitive.INT,
        Primitive.BIGINT,
        Primitive.BOOLEAN,
        Primitive.STRING,
    }
)


def check_columns(columns: tuple[Field, ...]) -> None:
    """Check what holds for every wire format.

    Raises:
        ConfigurationError: No column or more than 2,000; a name that is not ASCII letters, digits and underscore; two
            names that differ in case at most; a protobuf field number out of range or taken twice; an empty struct; a
            map as the key of a map; types nested too deep.
    """
    if not columns:
        raise ConfigurationError("the schema has no column: name at least one")
    if len(columns) > MAX_COLUMNS:
        raise ConfigurationError(
            f"the schema has {len(columns)} columns, Zerobus takes {MAX_COLUMNS}: "
            "group columns into a STRUCT or split the table"
        )
    _check_fields(columns, "", 0)


def _check_fields(fields: Iterable[Field], parent: str, depth: int) -> None:
    names: dict[str, str] = {}
    numbers: dict[int, str] = {}
    for field in fields:
        path = f"{parent}.{field.name}" if parent else field.name
        if not _NAME.match(field.name):
            raise ConfigurationError(
                f"column {path!r}: names hold ASCII letters, digits and underscore only; rename the column"
            )
        if (twin := names.get(field.name.lower())) is not None:
            raise ConfigurationError(
                f"columns {twin!r} and {path!r} have the same name: Delta does not tell upper from lower case; "
                "rename one of them"
            )
        if (holder := numbers.get(field.number)) is not None:
            raise ConfigurationError(
                f"columns {holder!r} and {path!r} share the protobuf field number {field.number}: "
                "number them differently"
            )
        names[field.name.lower()] = numbers[field.number] = path
        if not 1 <= field.number <= _MAX_FIELD_NUMBER or field.number in _RESERVED_NUMBERS:
            raise ConfigurationError(
                f"column {path!r} has protobuf field number {field.number}: numbers go from 1 to "
                f"{_MAX_FIELD_NUMBER}, and protobuf keeps 19000 to 19999 for itself"
            )
        _check_type(field.type, path, depth)


def _check_type(delta_type: DeltaType, path: str, depth: int) -> None:
    if isinstance(delta_type, Primitive | Decimal):
        return
    if depth == MAX_NESTING:
        raise ConfigurationError(f"column {path!r}: types nest deeper than {MAX_NESTING} levels; flatten the column")
    if isinstance(delta_type, Array):
        _check_type(delta_type.element, f"{path}.element", depth + 1)
    elif isinstance(delta_type, Map):
        if isinstance(delta_type.key, Map):
            raise ConfigurationError(
                f"column {path!r}: Delta takes no MAP as the key of a map; use a STRUCT or STRING key"
            )
        _check_type(delta_type.key, f"{path}.key", depth + 1)
        _check_type(delta_type.value, f"{path}.value", depth + 1)
    else:
        if not delta_type.fields:
            raise ConfigurationError(f"column {path!r} is a STRUCT without fields: name at least one")
        _check_fields(delta_type.fields, path, depth + 1)


def check_protobuf(schema: TableSchema) -> None:
    """Check that protobuf rows can hold the table; the Arrow and JSON formats hold more.

    Raises:
        ConversionError: An array or map directly inside an array, an array or map as the value of a map, a map key that
            is neither integral, BOOLEAN nor STRING, or a name that starts with a digit.

    Example:
        >>> from beam_zerobus.schema import TableSchema
        >>> check_protobuf(TableSchema.from_ddl("tags ARRAY<STRING>"))
    """
    for column in schema.columns:
        _check_field(column, column.name)


def _check_field(field: Field, path: str) -> None:
    if field.name[0].isdigit():
        raise _not_in_protobuf(path, "protobuf names do not start with a digit", "rename it")
    _check_protobuf_type(field.type, path)


def _check_protobuf_type(delta_type: DeltaType, path: str) -> None:
    if isinstance(delta_type, Struct):
        for field in delta_type.fields:
            _check_field(field, f"{path}.{field.name}")
    elif isinstance(delta_type, Array):
        if isinstance(delta_type.element, Array | Map):
            raise _not_in_protobuf(path, f"protobuf holds no {delta_type}", "wrap the inner type in a STRUCT")
        _check_protobuf_type(delta_type.element, f"{path}.element")
    elif isinstance(delta_type, Map):
        if delta_type.key not in _KEY_TYPES:
            raise _not_in_protobuf(
                path, f"protobuf's map keys are integral, BOOLEAN or STRING, not {delta_type.key}", "change the key"
            )
        if isinstance(delta_type.value, Array | Map):
            raise _not_in_protobuf(path, f"protobuf holds no {delta_type}", "wrap the value in a STRUCT")
        _check_protobuf_type(delta_type.value, f"{path}.value")


def _not_in_protobuf(path: str, reason: str, remedy: str) -> ConversionError:
    return ConversionError(f"column {path!r}: {reason}; {remedy}, or use wire_format='arrow'")

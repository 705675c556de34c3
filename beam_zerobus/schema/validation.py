"""What columns a table can have: names, numbers, count, nesting; and which of them the wire formats carry."""

from __future__ import annotations

import re
from collections.abc import Iterable

from beam_zerobus.errors import ConfigurationError, ConversionError
from beam_zerobus.schema.types import MAX_NESTING, Array, Decimal, DeltaType, Field, Map, Primitive, Struct

__all__ = ["MAX_COLUMNS", "MAX_STORED_NESTING", "check_columns", "check_wire_types", "nesting"]

MAX_COLUMNS = 2_000
"""Zerobus does not write tables with more."""

MAX_STORED_NESTING = 20
"""Levels of ARRAY, MAP and STRUCT in a column that is made; delta-rs cannot read its own tables back with more."""

_MAX_NAME = 255  # characters, as of every name in Unity Catalog
_MAX_FIELD_NUMBER = (1 << 29) - 1
_RESERVED_NUMBERS = range(19_000, 20_000)
_NAME = re.compile(r"[A-Za-z0-9_]+\Z")
_NO_MAP_KEYS = frozenset({Primitive.FLOAT, Primitive.DOUBLE, Primitive.BINARY, Primitive.VARIANT})


def check_columns(columns: tuple[Field, ...]) -> None:
    """Check what holds for every wire format.

    Raises:
        ConfigurationError: No column or more than 2,000; a name that is not ASCII letters, digits and underscore, or
            has more than 255 characters; two names that are equal without regard to case; a protobuf field number out
            of range or used twice; a struct without fields; a map as the key of a map; types nested too deep.
    """
    if not columns:
        raise ConfigurationError("the schema has no columns: add at least one")
    if len(columns) > MAX_COLUMNS:
        raise ConfigurationError(
            f"the schema has {len(columns)} columns, Zerobus accepts at most {MAX_COLUMNS}: "
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
                f"column {path!r}: names consist of ASCII letters, digits and underscores; rename the column"
            )
        if len(field.name) > _MAX_NAME:
            raise ConfigurationError(
                f"column {path[:_MAX_NAME] + '...'!r}: names have at most {_MAX_NAME} characters; rename the column"
            )
        if (twin := names.get(field.name.lower())) is not None:
            raise ConfigurationError(
                f"columns {twin!r} and {path!r} have the same name: Delta ignores case; rename one of them"
            )
        if (holder := numbers.get(field.number)) is not None:
            raise ConfigurationError(
                f"columns {holder!r} and {path!r} share the protobuf field number {field.number}: "
                "number them differently"
            )
        names[field.name.lower()] = numbers[field.number] = path
        if not 1 <= field.number <= _MAX_FIELD_NUMBER or field.number in _RESERVED_NUMBERS:
            raise ConfigurationError(
                f"column {path!r} has protobuf field number {field.number}: numbers range from 1 to "
                f"{_MAX_FIELD_NUMBER}, and protobuf reserves 19000 to 19999"
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
                f"column {path!r}: Delta does not allow a MAP as the key of a map; use STRING keys"
            )
        _check_type(delta_type.key, f"{path}.key", depth + 1)
        _check_type(delta_type.value, f"{path}.value", depth + 1)
    else:
        if not delta_type.fields:
            raise ConfigurationError(f"column {path!r} is a STRUCT without fields: add at least one")
        _check_fields(delta_type.fields, path, depth + 1)


def nesting(delta_type: DeltaType) -> int:
    """Return how many levels of ARRAY, MAP and STRUCT a type has.

    >>> nesting(Array(Struct((Field(name="x", type=Primitive.INT, number=1),))))
    2
    """
    match delta_type:
        case Array(element, _):
            return 1 + nesting(element)
        case Map(key, value, _):
            return 1 + max(nesting(key), nesting(value))
        case Struct(fields):
            return 1 + max((nesting(field.type) for field in fields), default=0)
    return 0


def check_wire_types(columns: tuple[Field, ...]) -> None:
    """Check that protobuf messages and Arrow Flight streams can carry the columns, by the rules of the official client.

    Raises:
        ConversionError: An array or map directly inside an array; an array or map as the value of a map; a map key that
            is FLOAT, DOUBLE, BINARY, VARIANT or has fields; a name that starts with a digit.

    Example:
        >>> check_wire_types((Field(name="tags", type=Array(Primitive.STRING), number=1),))
    """
    for column in columns:
        _check_wire_field(column, column.name)


def _check_wire_field(field: Field, path: str) -> None:
    if field.name[0].isdigit():
        raise _not_on_the_wire(path, "a name that starts with a digit", "rename the column")
    _check_wire_type(field.type, path)


def _check_wire_type(delta_type: DeltaType, path: str) -> None:
    if isinstance(delta_type, Struct):
        for field in delta_type.fields:
            _check_wire_field(field, f"{path}.{field.name}")
    elif isinstance(delta_type, Array):
        if isinstance(delta_type.element, Array | Map):
            raise _not_on_the_wire(path, str(delta_type), "wrap the inner type in a STRUCT")
        _check_wire_type(delta_type.element, f"{path}.element")
    elif isinstance(delta_type, Map):
        if delta_type.key in _NO_MAP_KEYS or isinstance(delta_type.key, Array | Map | Struct):
            raise _not_on_the_wire(path, f"map keys of type {delta_type.key}", "use STRING keys")
        if isinstance(delta_type.value, Array | Map):
            raise _not_on_the_wire(path, str(delta_type), "wrap the value in a STRUCT")
        _check_wire_type(delta_type.value, f"{path}.value")


def _not_on_the_wire(path: str, what: str, remedy: str) -> ConversionError:
    return ConversionError(
        f"column {path!r}: Zerobus does not accept {what} in protobuf or Arrow streams; {remedy}, "
        "or pass schema=... without the column if it is nullable"
    )

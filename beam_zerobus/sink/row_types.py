"""The table schema that belongs to an element type.

The columns are read from Python's type hints, not from Beam's schema protos, which have no `datetime` and treat it as
opaque bytes.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from apache_beam.typehints import typehints
from apache_beam.typehints.native_type_compatibility import convert_to_python_type
from apache_beam.typehints.row_type import GeneratedClassRowTypeConstraint, RowTypeConstraint
from apache_beam.typehints.schemas import LogicalType
from apache_beam.utils.timestamp import Timestamp

from beam_zerobus.errors import ConfigurationError

__all__ = ["has_no_columns", "row_type_schema"]

_UTC_TIMESTAMP = pa.timestamp("us", tz="UTC")

# Spark reads a decimal without precision the same way.
_ANY_DECIMAL = pa.decimal128(38, 18)

_LEAVES: dict[Any, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    np.bool_: pa.bool_(),
    np.str_: pa.string(),
    np.bytes_: pa.binary(),
    **{getattr(np, name): getattr(pa, name)() for name in ("int8", "int16", "int32", "int64")},
    **{
        getattr(np, name): getattr(pa, name)() for name in ("uint8", "uint16", "uint32", "uint64", "float32", "float64")
    },
    decimal.Decimal: _ANY_DECIMAL,
    dt.date: pa.date32(),
    dt.datetime: _UTC_TIMESTAMP,
    Timestamp: _UTC_TIMESTAMP,
}


def has_no_columns(element_type: Any) -> bool:
    """Return whether elements of a type, such as dicts and JSON, never declare their columns' types.

    Example:
        >>> has_no_columns(dict[str, int]), has_no_columns(bytes), has_no_columns(Any)
        (True, True, False)
    """
    python_type = _python_type(element_type)
    origin = typing.get_origin(python_type) or python_type
    return isinstance(origin, type) and issubclass(origin, Mapping | str | bytes)


def row_type_schema(row_type: Any) -> pa.Schema | None:
    """Return the Arrow schema of a Beam row type, NamedTuple or dataclass; None for any other type.

    `int` is BIGINT, `float` DOUBLE, numpy's numbers keep their size; `datetime` and Beam's `Timestamp` are TIMESTAMP,
    `date` is DATE, `Decimal` is DECIMAL(38,18); sequences, mappings and row types nest. A column is NOT NULL unless its
    type is `Optional`.

    Raises:
        ConfigurationError: A field's type, such as Any, does not determine a column type; the message names its path.

    Example:
        >>> class Reading(typing.NamedTuple):
        ...     station: str
        ...     pm25: float | None
        >>> row_type_schema(Reading)
        station: string not null
        pm25: double
    """
    fields = _row_fields(_python_type(row_type))
    return None if fields is None else pa.schema(_arrow_fields(fields, parent=""))


def _arrow_fields(fields: Iterable[tuple[str, Any]], parent: str) -> list[pa.Field]:
    return [_arrow_field(name, hint, path=f"{parent}.{name}" if parent else name) for name, hint in fields]


def _arrow_field(name: str, hint: Any, path: str) -> pa.Field:
    python_type, nullable = _without_none(_python_type(hint))
    return pa.field(name, _arrow_type(python_type, path), nullable=nullable)


def _arrow_type(python_type: Any, path: str) -> pa.DataType:
    if (leaf := _leaf(python_type)) is not None:
        return leaf
    if (fields := _row_fields(python_type)) is not None:
        return pa.struct(_arrow_fields(fields, path))
    origin, arguments = typing.get_origin(python_type), typing.get_args(python_type)
    if isinstance(origin, type) and issubclass(origin, Mapping) and len(arguments) == 2:
        key = _arrow_field("key", arguments[0], f"{path}.key").with_nullable(False)
        return pa.map_(key, _arrow_field("value", arguments[1], f"{path}.value"))
    if isinstance(origin, type) and issubclass(origin, Iterable) and _is_homogeneous(origin, arguments):
        return pa.list_(_arrow_field("item", arguments[0], f"{path}.item"))
    raise ConfigurationError(
        f"Field {path} has the type {_name(python_type)}, which does not determine a column type: "
        "declare another type, or give WriteToZerobus(schema=...)"
    )


def _leaf(python_type: Any) -> pa.DataType | None:
    try:
        leaf = _LEAVES.get(python_type)
    except TypeError:  # an unhashable hint
        return None
    return leaf if leaf is not None else _logical_type(python_type)


def _logical_type(python_type: Any) -> pa.DataType | None:
    """Return the type of one of Beam's logical types, given as the hint itself."""
    arguments = _decimal_arguments(python_type)
    return pa.decimal128(*arguments) if arguments else _LEAVES.get(_logical_language_type(python_type))


def _logical_language_type(python_type: Any) -> Any:
    kind = python_type if isinstance(python_type, type) else type(python_type)
    return kind.language_type() if issubclass(kind, LogicalType) else None


def _decimal_arguments(python_type: Any) -> tuple[int, int] | None:
    if _logical_language_type(python_type) is not decimal.Decimal or isinstance(python_type, type):
        return None
    argument = python_type.argument()
    return (int(argument.precision), int(argument.scale)) if argument is not None else None


def _is_homogeneous(origin: type, arguments: Sequence[Any]) -> bool:
    return len(arguments) == 1 or (origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis)


def _row_fields(python_type: Any) -> Sequence[tuple[str, Any]] | None:
    if isinstance(python_type, RowTypeConstraint) and not isinstance(python_type, GeneratedClassRowTypeConstraint):
        python_type = python_type.user_type  # a class; Beam leaves its annotations unresolved where they are text
    if isinstance(python_type, RowTypeConstraint):
        # Private, read in Beam 2.77, which has no public list of a row type's fields with their Python types. The Beam
        # schema has none for datetime. tests/sink/test_private_names.py fails when this changes.
        return list(python_type._fields)
    if not isinstance(python_type, type):
        return None
    # In spite of its name `_fields` is public in a NamedTuple: an underscore keeps it apart from the fields themselves.
    if issubclass(python_type, tuple) and hasattr(python_type, "_fields"):
        names = python_type._fields
    elif dataclasses.is_dataclass(python_type):
        names = tuple(field.name for field in dataclasses.fields(python_type))
    else:
        return None
    hints = typing.get_type_hints(python_type)
    return [(name, hints.get(name, Any)) for name in names]


def _without_none(python_type: Any) -> tuple[Any, bool]:
    """Split Optional[T] into T and True; anything else is NOT NULL."""
    if typing.get_origin(python_type) not in (typing.Union, types.UnionType):
        return python_type, False
    alternatives = [argument for argument in typing.get_args(python_type) if argument is not type(None)]
    if len(alternatives) == 1:
        return alternatives[0], True
    return python_type, False


def _python_type(hint: Any) -> Any:
    if isinstance(hint, RowTypeConstraint):
        return hint
    return convert_to_python_type(hint) if isinstance(hint, typehints.TypeConstraint) else hint


def _name(python_type: Any) -> str:
    return getattr(python_type, "__qualname__", None) or str(python_type)

"""The schema of an Arrow stream checked against the table, with the causes that the service names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

import pyarrow as pa

from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.errors import counted
from beam_zerobus.schema import Array, DeltaType, Field, Map, Struct
from beam_zerobus.schema.arrow import flight_type

__all__ = ["Cause", "check_schema"]

Cause: TypeAlias = Literal[
    "FIELD_NOT_IN_TABLE",
    "MISSING_REQUIRED_COLUMN",
    "FIELD_OUT_OF_ORDER",
    "TYPE_INCOMPATIBLE",
    "FIELD_COUNT_MISMATCH",
]
_NAMED_AT_MOST = 5


@dataclass(frozen=True, slots=True)
class _Problem:
    cause: Cause
    text: str


def check_schema(fields: tuple[Field, ...], carried: pa.Schema) -> None:
    """Check that a stream's schema fits a table.

    Its columns are the table's, in the table's order; nullable ones may be missing. The same holds for the fields of
    structs.

    Raises:
        Rejection: It does not fit; names columns, and has the causes.
    """
    try:
        problems = list(_problems(fields, list(carried), ""))
    except UnicodeDecodeError:  # pyarrow decodes a name when it is asked for
        raise Rejection.invalid("the stream's schema has a name that is not UTF-8", number=8001) from None
    if not len(carried):
        problems = [_Problem("FIELD_COUNT_MISMATCH", "the stream's schema has no column")]
    if problems:
        text = "; ".join(problem.text for problem in problems[:_NAMED_AT_MOST])
        causes = tuple(dict.fromkeys(problem.cause for problem in problems))
        raise Rejection.invalid(text, number=8001, causes=causes)


def _problems(fields: tuple[Field, ...], carried: Sequence[pa.Field], parent: str) -> Iterator[_Problem]:
    names = [field.name for field in carried]
    positions = {field.name: position for position, field in enumerate(fields)}
    for name, count in Counter(names).items():
        if name not in positions:
            yield _problem("FIELD_NOT_IN_TABLE", parent + name, "is in the stream's schema, but not in the table")
        if count > 1:
            yield _problem("FIELD_COUNT_MISMATCH", parent + name, "appears twice in the stream's schema")
    if len(names) > len(fields):
        where = f"column '{parent.rstrip('.')}'" if parent else "the stream's schema"
        found = counted(len(names), "field")
        yield _Problem("FIELD_COUNT_MISMATCH", f"{where} has {found}, in the table {len(fields)}")
    by_name = {field.name: field for field in carried}
    for field in fields:
        carrier = by_name.get(field.name)
        if carrier is not None:
            yield from _type_problems(field.type, carrier.type, parent + field.name)
        elif not field.nullable:
            yield _problem(
                "MISSING_REQUIRED_COLUMN", parent + field.name, "is NOT NULL and missing from the stream's schema"
            )
    known = [name for name in names if name in positions]
    for before, after in pairwise(known):
        if positions[before] > positions[after]:
            yield _problem(
                "FIELD_OUT_OF_ORDER",
                parent + after,
                f"is after '{parent + before}' in the stream's schema, but before it in the table; "
                "send columns in the table's order",
            )


def _type_problems(delta_type: DeltaType, arrow_type: pa.DataType, path: str) -> Iterator[_Problem]:
    """Compare types by their parts, because a stream may call a field nullable that is NOT NULL in the table."""
    match delta_type:
        case Array(element, _) if pa.types.is_list(arrow_type):
            yield from _type_problems(element, arrow_type.value_type, f"{path}.element")
        case Map(key, value, _) if pa.types.is_map(arrow_type):
            yield from _type_problems(key, arrow_type.key_type, f"{path}.key")
            yield from _type_problems(value, arrow_type.item_type, f"{path}.value")
        case Struct(fields) if pa.types.is_struct(arrow_type):
            yield from _problems(fields, list(arrow_type), f"{path}.")
        case _ if flight_type(delta_type) != arrow_type:
            yield _problem(
                "TYPE_INCOMPATIBLE",
                path,
                f"has the incompatible type {arrow_type} in the stream's schema: "
                f"{delta_type} needs {flight_type(delta_type)}",
            )


def _problem(cause: Cause, path: str, reason: str) -> _Problem:
    return _Problem(cause, f"column '{path}' {reason}")

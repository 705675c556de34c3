"""Elements of a PCollection to RecordBatches: `element_converter` and its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import orjson
import pyarrow as pa

from beam_zerobus.batching.columns import FieldsBuilder, Options, fields_builder
from beam_zerobus.batching.json_objects import (
    LostDigitsError,
    json_parser,
    parse_long_numbers,
    parse_strictly,
    parsed_as,
)
from beam_zerobus.batching.records import as_dicts, types_of
from beam_zerobus.batching.repeated_keys import may_repeat_keys
from beam_zerobus.destinations import KeptFields
from beam_zerobus.errors import RowError
from beam_zerobus.schema import RowErrorType, TableSchema
from beam_zerobus.schema.reasons import Faults, Place, Reason
from beam_zerobus.schema.time_rules import TimeRules
from beam_zerobus.schema.unique_keys import RepeatedKeyError
from beam_zerobus.schema.unknown_fields import IgnoreUnknown

__all__ = [
    "Converted",
    "ElementConverter",
    "RowKind",
    "element_converter",
    "parsed_objects",
    "parsed_rows",
    "records_of",
    "row_kind",
    "schema_of",
]

RowKind: TypeAlias = Literal["json", "row"]
"""How an element holds its row: a JSON object as str or bytes; a mapping, `beam.Row`, NamedTuple or dataclass."""


def row_kind(element_type: type) -> RowKind:
    """Return how elements of a type hold their row.

    Example:
        >>> row_kind(str), row_kind(dict)
        ('json', 'row')
    """
    return "json" if issubclass(element_type, str | bytes | bytearray) else "row"


@dataclass(frozen=True, slots=True)
class Converted:
    """Elements as a RecordBatch.

    Attributes:
        batch: The rows that could be read, in the table's columns and canonical types; nulls in NOT NULL columns and
            dates out of range are left to `Conformer`.
        rows: For each of them the index of its element (int64, ascending); None if all were kept.
        rejected: The other elements, each with its reason, in order.
        whole: One row for each element; those of rejected elements may hold anything.
    """

    batch: pa.RecordBatch
    rows: np.ndarray | None
    rejected: Sequence[RowError]
    whole: pa.RecordBatch


class ElementConverter(Protocol):
    """Turns elements into a RecordBatch; `parsed` are the JSON objects that they are, where these are known."""

    def __call__(self, elements: Sequence[Any], parsed: list[Any] | None = None) -> Converted:
        """Convert elements."""
        ...


def element_converter(
    kind: RowKind,
    schema: TableSchema,
    *,
    ignore_unknown_fields: IgnoreUnknown = False,
    times: TimeRules = TimeRules(),  # noqa: B008 - frozen
    kept: KeptFields | None = None,
) -> ElementConverter:
    """Return the function that turns a list of elements into a RecordBatch that fits a table.

    An element that cannot be read, or has a value that its column cannot hold exactly, is rejected with its reason; all
    others are converted. Names match without regard to case; missing fields are null. The function
    keeps no state, so any number of threads may use it.

    Args:
        kind: ``"json"`` or ``"row"``.
        schema: The table.
        ignore_unknown_fields: Drop fields that the table does not have, instead of rejecting their elements; with
            ``"nulls"`` only those without a value.
        times: How timestamps without a time zone or a unit are read.
        kept: The fields that are written; None for all.

    Example:
        >>> convert = element_converter("row", TableSchema.from_ddl("id INT, name STRING"))
        >>> converted = convert([{"id": 1, "name": "a"}, {"id": "two"}, {"ID": 3}])
        >>> converted.batch.to_pylist(), converted.rows.tolist()
        ([{'id': 1, 'name': 'a'}, {'id': 3, 'name': None}], [0, 2])
        >>> converted.rejected[0].message
        "column 'id' is INT: a value of Python type str does not fit; pass an int"
    """
    options = Options(from_json=kind == "json", ignore_unknown_fields=ignore_unknown_fields, times=times)
    build = fields_builder(schema.columns, "", options)
    build_checked = fields_builder(schema.columns, "", replace(options, may_lack_digits=True))
    arrow_schema = schema.to_canonical_arrow()
    parse = json_parser(schema) if kind == "json" else None

    def convert(elements: Sequence[Any], parsed: list[Any] | None = None) -> Converted:
        if parse is None:
            return converted(elements, None, None, build)
        try:
            return converted(elements, parsed, parse, build_checked)
        except LostDigitsError:
            return converted(elements, None, parse_long_numbers, build)

    def converted(
        elements: Sequence[Any],
        parsed: list[Any] | None,
        parse: Callable[[Any], Any] | None,
        build: FieldsBuilder,
    ) -> Converted:
        faults = Faults()
        place = Place(faults)
        records = records_of(elements, parsed, parse, place)
        if kept is not None:
            records = kept.of_dicts(as_dicts(records, "", place))
        arrays = build(records, place)
        batch = pa.RecordBatch.from_arrays(arrays, schema=schema_of(arrays, arrow_schema))
        if not faults:
            return Converted(batch, None, (), batch)
        readable = faults.kept(len(records))
        return Converted(batch.take(pa.array(readable)), readable, faults.row_errors("batching"), batch)

    return convert


def schema_of(arrays: list[pa.Array], wanted: pa.Schema) -> pa.Schema:
    """Return the schema with the arrays' types, which may differ inside nested columns."""
    types = [array.type for array in arrays]
    if types == wanted.types:
        return wanted
    return pa.schema([pa.field(f.name, t, f.nullable) for f, t in zip(wanted, types, strict=True)])


def records_of(
    elements: Sequence[Any], parsed: list[Any] | None, parse: Callable[[Any], Any] | None, place: Place
) -> list[Any]:
    """Return the records of elements; JSON objects are parsed, unless `parsed` has what `parsed_rows` returned."""
    if parse is None:
        return list(elements)
    return parsed_as(parse, elements, parsed) if parsed else parsed_objects(elements, parse, place)


def parsed_rows(elements: Sequence[Any]) -> tuple[list[Any], Sequence[RowError]]:
    """Parse JSON objects before their table is known; return a record for each, and the errors of other elements.

    Example:
        >>> records, bad = parsed_rows(['{"id": 1}', "[]"])
        >>> records, [error.index for error in bad]
        ([{'id': 1}, {}], [1])
    """
    faults = Faults()
    return parsed_objects(elements, orjson.loads, Place(faults)), faults.row_errors("batching")


def parsed_objects(elements: Sequence[Any], parse: Callable[[Any], Any], place: Place) -> list[Any]:
    """Parse JSON objects; anything else is rejected and becomes an empty one."""
    try:
        records = list(map(parse, elements))
        if types_of(records) <= {dict} and not may_repeat_keys(elements, records):
            return records
    except (ValueError, TypeError, RecursionError):
        pass
    return [_parsed_alone(position, element, place) for position, element in enumerate(elements)]


def _parsed_alone(position: int, element: Any, place: Place) -> dict[Any, Any]:
    kind = type(element).__name__
    if not isinstance(element, str | bytes | bytearray | memoryview):
        what = f"an element of Python type {kind} is not JSON; pass str or bytes"
        place.reject_at(np.array([position]), Reason(RowErrorType.WRONG_TYPE, what))
        return {}
    try:
        record = parse_strictly(element)  # it also reads numbers that no float can hold
    except RepeatedKeyError as error:
        what = f"an element of Python type {kind} is JSON with the key {error.key!r} twice in one object; drop one"
    except (ValueError, TypeError, RecursionError) as error:
        at = getattr(error, "pos", None)
        where = "" if at is None else f" (at character {at})"
        if isinstance(error, UnicodeDecodeError):
            where = ", as it is not UTF-8"
        what = f"an element of Python type {kind} is not valid JSON{where}; correct it"
    else:
        if isinstance(record, dict):
            return record
        what = f"an element of Python type {kind} is JSON, but not an object; pass one object for each row"
    place.reject_at(np.array([position]), Reason(RowErrorType.INVALID_JSON, what))
    return {}

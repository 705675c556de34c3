"""RecordBatches with a rescue column, for what the table's other columns cannot hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from beam_zerobus.encoding.arrow_types import to_stream_type
from beam_zerobus.encoding.take import take_rows
from beam_zerobus.errors import ConversionError, RowError
from beam_zerobus.schema import (
    Array,
    Conformed,
    Conformer,
    DeltaType,
    Field,
    Map,
    Primitive,
    RowErrorType,
    Struct,
    TableSchema,
)
from beam_zerobus.schema.arrow import canonical_type, flight_type, is_list
from beam_zerobus.schema.arrow_values import python_value
from beam_zerobus.schema.conform import does_not_fit
from beam_zerobus.schema.reasons import Faults, Place
from beam_zerobus.schema.rescue import UNWRITABLE, RescueColumn, Verbatim, read_rescued, write_json
from beam_zerobus.schema.time_rules import TimeRules

__all__ = ["RescuingConformer"]

_FINE_TIMES = "time64[ns]"


class RescuingConformer:
    """Converts RecordBatches as `Conformer` does, but rejects only what a NOT NULL column cannot hold; thread-safe.

    A batch is converted as if the table had no rescue column. Only one that does not fit is looked at again, column by
    column.

    Args:
        schema: The table.
        rescue_column: The name of its rescue column.
        times: How timestamps without a time zone or a unit are read.
        inner_nulls: The wire format carries null elements of lists and null values of maps.

    Example:
        >>> schema = TableSchema.from_ddl("id INT, rest STRING")
        >>> conformer = RescuingConformer(schema, "rest", TimeRules(), inner_nulls=True)
        >>> conformer.conform(pa.RecordBatch.from_pydict({"id": [1, 2**40], "new": [None, 1.5]})).batch.to_pylist()
        [{'id': 1, 'rest': None}, {'id': None, 'rest': '{"new":1.5,"id":1099511627776}'}]
    """

    def __init__(self, schema: TableSchema, rescue_column: str, times: TimeRules, *, inner_nulls: bool) -> None:
        self._column = RescueColumn.of(schema, rescue_column)
        fields = [field if inner_nulls else _without_inner_nulls(field) for field in self._column.others]
        self._all = Conformer(TableSchema(tuple(fields)), times=times) if fields else None
        self._checks = {field.name.lower(): _Check(field, times) for field in fields}

    def conform(self, batch: pa.RecordBatch) -> Conformed:
        """Check a batch and convert it to the table's columns and types.

        Raises:
            ConversionError: A column that is NOT NULL in the table is missing or does not fit as a whole; or two
                columns have the same name.
        """
        own, before = self._column.separate(batch)
        if self._all is not None and own:
            try:
                conformed = self._all.conform(batch.select(own))
            except ConversionError:
                pass
            else:
                columns = conformed.batch.columns
                if not conformed.rejected and not any(
                    check.without_variant(column) for check, column in zip(self._checks.values(), columns, strict=True)
                ):
                    empty = self._column.array({}, batch.num_rows) if before is None else before
                    return Conformed(self._column.join(columns, empty), None, ())
        return self._by_column(batch, own, before)

    def _by_column(self, batch: pa.RecordBatch, own: list[int], before: pa.Array | None) -> Conformed:
        rest = _Rest(before)
        rejected: dict[int, RowError] = {}
        columns = dict.fromkeys(self._checks)
        for position, check in self._matched(batch, own, rest):
            array = check.known_part(batch.schema.field(position).name, batch.column(position), rest)
            columns[check.field.name.lower()], unfit = check.converted(array)
            if check.field.nullable:
                values = batch.column(position)
                rest.add((batch.schema.field(position).name,), values, sorted(unfit), check.field.type)
            else:
                rejected |= unfit
        arrays = [
            self._checks[name].missing(batch.num_rows) if column is None else column for name, column in columns.items()
        ]
        texts: dict[int, str] = {}
        for row, fields in rest.rows.items():
            try:
                texts[row] = write_json(fields)
            except UNWRITABLE:
                rejected.setdefault(row, self._unwritable(row))
        whole = self._column.join(arrays, self._column.array(texts, batch.num_rows))
        if not rejected:
            return Conformed(whole, None, ())
        kept = np.setdiff1d(np.arange(batch.num_rows), [*rejected])
        return Conformed(whole.take(pa.array(kept)), kept, tuple(rejected[row] for row in sorted(rejected)))

    def _matched(self, batch: pa.RecordBatch, own: list[int], rest: _Rest) -> list[tuple[int, _Check]]:
        """Return which column of the batch is which of the table; all others are rescued."""
        names = [batch.schema.field(position).name for position in own]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise does_not_fit(f"it has two columns {twice!r}; drop or rename one of them")
        matched: dict[str, int] = {}
        for position, name in zip(own, names, strict=True):
            check = self._checks.get(name.lower())
            is_meant = check is not None and (name == check.field.name or check.field.name not in names)
            if is_meant and matched.setdefault(name.lower(), position) == position:
                continue
            rest.add((name,), batch.column(position), _valid(batch.column(position)))
        return [(position, self._checks[name]) for name, position in matched.items()]

    def _unwritable(self, row: int) -> RowError:
        message = f"column {self._column.field.name!r} rescues fields as JSON, and a value cannot be written as JSON"
        return RowError(row, RowErrorType.WRONG_TYPE, message, "schema")


class _Rest:
    """What is rescued from a batch, by row.

    Attributes:
        rows: For each row that has any the fields, those of structs in objects.
    """

    def __init__(self, before: pa.Array | None) -> None:
        self.rows: dict[int, dict[str, Any]] = defaultdict(dict)
        for row, text in enumerate(() if before is None else before.to_pylist()):
            if text is not None:
                self.rows[row] = read_rescued(text)

    def add(
        self, path: tuple[str, ...], array: pa.Array, rows: list[int] | np.ndarray, delta_type: object = None
    ) -> None:
        """Add a field of some rows; JSON text that a VARIANT column does not hold is added as JSON."""
        if not len(rows):
            return
        some = take_rows(pa.RecordBatch.from_arrays([array], names=[path[-1]]), rows).column(0)
        for row, value in zip(rows, _values(some), strict=True):
            fields = self.rows[int(row)]
            for name in path[:-1]:
                fields = fields.setdefault(name, {})
            fields[path[-1]] = _as_json(value) if delta_type is Primitive.VARIANT else value


class _Check:
    """Converts one column, and finds the rows that do not fit."""

    def __init__(self, field: Field, times: TimeRules) -> None:
        self.field = field
        self._conformer = Conformer(TableSchema((field,)), times=times)
        self._has_variants = "VARIANT" in str(field.type)

    def missing(self, length: int) -> pa.Array:
        """Return the column of a batch that does not have it."""
        if not self.field.nullable:  # this raises ConversionError
            self._conformer.conform(pa.RecordBatch.from_arrays([], names=[]))
        return pa.nulls(length, canonical_type(self.field.type))

    def converted(self, array: pa.Array) -> tuple[pa.Array, dict[int, RowError]]:
        """Return the converted column, with null for values that do not fit, and these with the reason."""
        try:
            conformed = self._conformer.conform(pa.RecordBatch.from_arrays([array], names=[self.field.name]))
        except ConversionError as error:
            if not self.field.nullable:
                raise
            reason = RowError(0, error.error_type, str(error))
            return self.missing(len(array)), dict.fromkeys(_valid(array).tolist(), reason)
        column = conformed.batch.column(0)
        kept = np.arange(len(array)) if conformed.rows is None else conformed.rows
        unfit = {error.index: error for error in conformed.rejected}
        for broken in self.without_variant(column):
            row = int(kept[broken.index])
            unfit[row] = broken.at(row)
        if not unfit:
            return column, unfit
        places = np.zeros(len(array), np.int64)
        places[kept] = np.arange(len(kept))
        hidden = np.zeros(len(array), bool)
        hidden[[*unfit]] = True
        return column.take(pa.array(places, mask=hidden)), unfit

    def without_variant(self, column: pa.Array) -> Sequence[RowError]:
        """Return the rows whose JSON text no VARIANT holds; the other wire formats leave that to the service."""
        if not self._has_variants:
            return ()
        faults = Faults()
        to_stream_type(column, flight_type(self.field.type), self.field.name, Place(faults))
        return faults.row_errors("encoding")

    def known_part(self, name: str, array: pa.Array, rest: _Rest) -> pa.Array:
        """Return a column without the struct fields that the table does not have, which are rescued."""
        return _known_part((name,), array, self.field.type, np.ones(len(array), bool), rest)


def _without_inner_nulls(field: Field) -> Field:
    return replace(field, type=_dense(field.type))


def _dense(delta_type: DeltaType) -> DeltaType:
    match delta_type:
        case Array(element):
            return Array(_dense(element), contains_null=False)
        case Map(key, value):
            return Map(key, _dense(value), value_contains_null=False)
        case Struct(fields):
            return Struct(tuple(map(_without_inner_nulls, fields)))
        case _:
            return delta_type


def _known_part(path: tuple[str, ...], array: pa.Array, wanted: object, shown: np.ndarray, rest: _Rest) -> pa.Array:
    if not isinstance(wanted, Struct) or not pa.types.is_struct(array.type):
        return array
    known = {field.name.lower(): field for field in wanted.fields}
    incoming = list(array.type)
    names = [field.name for field in incoming]
    matched = [name.lower() for name in names if name.lower() in known]
    if not matched or len({*matched}) < len(matched) or len({*names}) < len(names):
        return array  # it does not fit, and is rescued as a whole
    shown = shown & np.asarray(array.is_valid())
    children, fields = [], []
    for number, field in enumerate(incoming):
        child, delta_field = array.field(number), known.get(field.name.lower())
        if delta_field is None:
            rest.add((*path, field.name), child, np.flatnonzero(shown & np.asarray(child.is_valid())))
        else:
            children.append(_known_part((*path, field.name), child, delta_field.type, shown, rest))
            fields.append(pa.field(field.name, children[-1].type, field.nullable))
    mask = array.is_null() if array.null_count else None
    return pa.StructArray.from_arrays(children, fields=fields, mask=mask)


def _valid(array: pa.Array) -> np.ndarray:
    return np.flatnonzero(np.asarray(array.is_valid()))


def _values(array: pa.Array) -> list[Any]:
    """Return values for `write_json`; those that Python has no value for, such as the year 10000, as Arrow's text."""
    if _FINE_TIMES not in str(array.type):
        with suppress(ValueError, ArithmeticError, LookupError, pa.ArrowException):
            return [_with_objects(value, array.type) for value in array.to_pylist()]
    return [python_value(scalar, _leaf, _object_or_pairs) for scalar in array]


def _leaf(scalar: pa.Scalar) -> Any:
    if not pa.types.is_time64(scalar.type):  # Python's times have no nanoseconds
        with suppress(ValueError, ArithmeticError, LookupError):
            return scalar.as_py()
    if isinstance(scalar, pa.StringScalar):  # not UTF-8
        return scalar.as_buffer().to_pybytes()
    try:
        return scalar.cast(pa.string()).as_py()
    except pa.ArrowException:  # such as a time in an unknown zone
        return scalar.value


def _with_objects(value: Any, arrow_type: pa.DataType) -> Any:
    """Return a value with maps as dicts, where each key is text and appears once, and else as pairs."""
    if value is None:
        return None
    if pa.types.is_map(arrow_type):
        return _object_or_pairs(
            [
                (_with_objects(key, arrow_type.key_type), _with_objects(item, arrow_type.item_type))
                for key, item in value
            ]
        )
    if pa.types.is_struct(arrow_type):
        return {field.name: _with_objects(value[field.name], field.type) for field in arrow_type}
    return [_with_objects(item, arrow_type.value_type) for item in value] if is_list(arrow_type) else value


def _object_or_pairs(pairs: list[tuple[Any, Any]]) -> dict[str, Any] | list[tuple[Any, Any]]:
    if not all(isinstance(key, str) for key, _ in pairs):
        return pairs
    found = dict(pairs)
    return found if len(found) == len(pairs) else pairs


def _as_json(text: Any) -> Any:
    try:
        read_rescued(text)
    except (TypeError, ValueError, RecursionError):
        return text
    return Verbatim(text)

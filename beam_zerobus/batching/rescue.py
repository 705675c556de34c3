"""Elements to RecordBatches with a rescue column, for what the table's other columns cannot hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from beam_zerobus.batching.columns import Options, fields_builder
from beam_zerobus.batching.elements import Converted, RowKind, records_of, schema_of
from beam_zerobus.batching.json_objects import LostDigitsError, json_parser, parse_exactly, parse_strictly
from beam_zerobus.batching.records import as_dict, as_dicts
from beam_zerobus.destinations import KeptFields
from beam_zerobus.errors import RowError
from beam_zerobus.schema import Conformer, Field, RowErrorType, Struct, TableSchema
from beam_zerobus.schema.reasons import Faults, Place
from beam_zerobus.schema.rescue import UNWRITABLE, RescueColumn, write_json
from beam_zerobus.schema.time_rules import TimeRules

__all__ = ["RescuingConverter"]


class RescuingConverter:
    """Converts elements as `element_converter` does, but rejects only what a NOT NULL column cannot hold.

    All elements are converted as if the table had no rescue column. Only those that do not fit are looked at again,
    column by column, and then the batch is converted once more, without what was rescued.

    Args:
        kind: ``"json"`` or ``"row"``.
        schema: The table.
        rescue_column: The name of its rescue column.
        times: How timestamps without a time zone or a unit are read.
        kept: The fields that are written; None for all.

    Example:
        >>> convert = RescuingConverter("json", TableSchema.from_ddl("id INT, rest STRING"), "rest", TimeRules())
        >>> convert(['{"id": 1}', '{"id": "two", "new": 1.50}']).batch.to_pylist()
        [{'id': 1, 'rest': None}, {'id': None, 'rest': '{"new":1.50,"id":"two"}'}]
    """

    def __init__(
        self,
        kind: RowKind,
        schema: TableSchema,
        rescue_column: str,
        times: TimeRules,
        kept: KeptFields | None = None,
    ) -> None:
        self._kept = kept
        self._column = RescueColumn.of(schema, rescue_column)
        self._parse = json_parser(schema) if kind == "json" else None
        fields = self._column.others
        options = Options(
            from_json=kind == "json", ignore_unknown_fields=False, times=times, may_lack_digits=kind == "json"
        )
        self._known = _Known.of(fields)
        self._check = _Check(fields, options)
        self._checks = [(field, _Check((field,), options)) for field in fields]

    def __call__(self, elements: Sequence[Any], parsed: list[Any] | None = None) -> Converted:
        """Convert elements; those that cannot be read are among `rejected`."""
        try:
            return self._convert(elements, parsed, self._parse)
        except LostDigitsError:
            return self._convert(elements, None, parse_exactly)

    def _convert(
        self, elements: Sequence[Any], parsed: list[Any] | None, parse: Callable[[Any], Any] | None
    ) -> Converted:
        faults = Faults()
        records = records_of(elements, parsed, parse, Place(faults))
        if self._kept is not None:
            records = self._kept.of_dicts(as_dicts(records, "", Place(faults)))
        arrays = self._check.build(records, Place(faults))
        rejected = {error.index: error for error in faults.row_errors("batching")}
        texts: dict[int, str] = {}
        if unfit := rejected.keys() | {error.index for error in self._check.conform(arrays)}:
            records, texts, rejected = self._rescue(elements, records, rejected, sorted(unfit))
            arrays = self._check.build(records, Place(Faults()))
        whole = self._column.join(arrays, self._column.array(texts, len(records)))
        if not rejected:
            return Converted(whole, None, (), whole)
        kept = np.setdiff1d(np.arange(len(records)), [*rejected])
        return Converted(whole.take(pa.array(kept)), kept, tuple(rejected[row] for row in sorted(rejected)), whole)

    def _rescue(
        self, elements: Sequence[Any], records: list[Any], rejected: Mapping[int, RowError], unfit: list[int]
    ) -> tuple[list[Any], dict[int, str], dict[int, RowError]]:
        """Return the records with what fits, the JSON of the rest, and which rows are rejected all the same."""
        records = list(records)
        failed: dict[int, RowError] = {}
        splits: dict[int, _Split] = {}
        for row in unfit:
            record = self._record(elements[row])
            if record is not None and self._kept is not None:
                (record,) = self._kept.of_dicts([record])
            if record is None:
                records[row], failed[row] = {}, rejected.get(row) or self._unwritable(row)
            else:
                splits[row] = _split(record, self._known)
        rows = [*splits]
        # Usually only unknown fields were wrong, and all rows fit now.
        suspects = [rows[error.index] for error in self._check.errors([split.fit for split in splits.values()])]
        for field, check in self._checks:
            rows = [row for row in suspects if field.name in splits[row].fit]
            for error in check.errors([{field.name: splits[row].fit[field.name]} for row in rows]):
                row = rows[error.index]
                if field.nullable:
                    splits[row].move(field.name)
                elif error.stage == "batching":  # the rest is found before a batch is encoded, as without rescue
                    failed.setdefault(row, error.at(row))
        texts: dict[int, str] = {}
        for row, split in splits.items():
            records[row] = {} if row in failed else split.fit
            if split.rest and row not in failed:
                try:
                    texts[row] = write_json(_with_text_keys(split.rest))
                except UNWRITABLE:
                    records[row], failed[row] = {}, self._unwritable(row)
        return records, texts, failed

    def _record(self, element: Any) -> dict[Any, Any] | None:
        if self._parse is None:
            return as_dict(element)
        try:
            record = parse_strictly(element)
        except (*UNWRITABLE, AttributeError):
            return None
        return record if isinstance(record, dict) else None

    def _unwritable(self, row: int) -> RowError:
        message = (
            f"column {self._column.field.name!r} rescues fields as JSON: a name that is not text, or a value, cannot "
            "be written as JSON; pass dicts, lists, numbers, times, bytes and text"
        )
        return RowError(row, RowErrorType.WRONG_TYPE, message, "batching")


class _Check:
    """Converts records to some of the table's columns, and finds those that do not fit."""

    def __init__(self, fields: tuple[Field, ...], options: Options) -> None:
        self.build = fields_builder(fields, "", options)
        self._schema = TableSchema(fields).to_canonical_arrow() if fields else None
        self._conformer = Conformer(TableSchema(fields), times=options.times) if fields else None

    def conform(self, arrays: list[pa.Array]) -> Sequence[RowError]:
        """Return the rows of arrays that `build` made that do not fit."""
        if self._conformer is None or self._schema is None:
            return ()
        batch = pa.RecordBatch.from_arrays(arrays, schema=schema_of(arrays, self._schema))
        return self._conformer.conform(batch).rejected

    def errors(self, records: list[Any]) -> Iterable[RowError]:
        """Return one reason for each record that does not fit."""
        faults = Faults()
        arrays = self.build(records, Place(faults))
        found = {error.index: error for error in (*self.conform(arrays), *faults.row_errors("batching"))}
        return found.values()


@dataclass(frozen=True, slots=True)
class _Known:
    """The fields of a table or struct by their names in lower case, with those of structs inside."""

    fields: Mapping[str, tuple[str, _Known | None]]

    @classmethod
    def of(cls, fields: Iterable[Field]) -> _Known:
        return cls(
            {
                field.name.lower(): (field.name, cls.of(field.type.fields) if isinstance(field.type, Struct) else None)
                for field in fields
            }
        )


@dataclass(slots=True)
class _Split:
    """A record, split into fields that the table has, by its names, and the rest, by the record's."""

    fit: dict[str, Any]
    rest: dict[Any, Any]
    original: dict[str, tuple[Any, Any]]

    def move(self, name: str) -> None:
        key, value = self.original[name]
        self.rest[key] = value
        del self.fit[name]


def _split(record: dict[Any, Any], known: _Known) -> _Split:
    """Split a record; of names that differ in case only, the one that is written as in the table is taken."""
    split = _Split({}, {}, {})
    for key, value in record.items():
        name, inside = known.fields.get(key.lower(), (None, None)) if isinstance(key, str) else (None, None)
        if name is None or (name != key and (name in split.fit or name in record)):
            split.rest[key] = value
            continue
        split.original[name] = key, value
        inner = None if inside is None or value is None else as_dict(value)
        if inside is None or inner is None:
            split.fit[name] = value
            continue
        parts = _split(inner, inside)
        split.fit[name] = parts.fit
        if parts.rest:
            split.rest[key] = parts.rest
    return split


def _with_text_keys(rest: dict[Any, Any]) -> dict[str, Any]:
    if not all(isinstance(key, str) for key in rest):
        raise TypeError
    return rest

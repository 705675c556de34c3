"""Elements that are one row each to RecordBatches: for one table schema, and for a table whose schema may change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from beam_zerobus.batching.elements import Converted, ElementConverter, RowKind, element_converter
from beam_zerobus.batching.new_fields import fields_to_add
from beam_zerobus.batching.rescue import RescuingConverter
from beam_zerobus.destinations import KeptFields
from beam_zerobus.errors import RowErrors
from beam_zerobus.schema import RowErrorType, TableSchema
from beam_zerobus.schema.additions import FindAdditions
from beam_zerobus.schema.reasons import may_fit_wider_column
from beam_zerobus.schema.time_rules import TimeRules
from beam_zerobus.schema.unknown_fields import IgnoreUnknown

__all__ = ["CurrentRowConverter", "RowConverter", "RowOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOptions:
    """How elements become rows of a table.

    Attributes:
        ignore_unknown_fields: Drop fields that the table does not have, instead of rejecting their elements.
        rescue_column: The column that receives them, and values that do not fit; None to reject their elements.
        add_fields: Fields that the table lacks may be added; those without a value are dropped.
        times: How timestamps without a time zone or a unit are read.
        kept: The fields that are written; None for all.
    """

    ignore_unknown_fields: bool = False
    rescue_column: str | None = None
    add_fields: bool = False
    times: TimeRules = TimeRules()  # noqa: RUF009 - frozen
    kept: KeptFields | None = None


class RowConverter:
    """Converts elements that are one row each, for one table schema; thread-safe.

    Attributes:
        schema: The table's.

    Args:
        schema: As above.
        options: How elements become its rows.
    """

    def __init__(self, schema: TableSchema, options: RowOptions) -> None:
        self.schema = schema
        self._options = options
        self._by_kind: dict[RowKind, ElementConverter] = {
            "json": _element_converter("json", schema, options),
            "row": _element_converter("row", schema, options),
        }

    def convert(self, values: Sequence[Any], kind: RowKind, parsed: list[Any] | None = None) -> Converted:
        """Convert elements of one kind; those that cannot be read are among `rejected`.

        Args:
            values: The elements.
            kind: How they hold their rows.
            parsed: What `parsed_rows` made of JSON objects; None or empty where they were not parsed.
        """
        return self._by_kind[kind](values, parsed)

    def may_be_outdated(self, values: Sequence[Any], kind: RowKind, converted: Converted) -> bool:
        """Return whether the table's schema may have changed, as elements that became `converted` do not fit it.

        They have a field that it lacks, or a value that would fit a wider column.
        """
        rejected = converted.rejected
        if may_fit_wider_column(rejected):
            return True
        rescued = self._options.rescue_column
        if rescued is not None and converted.whole.column(rescued).null_count < len(values):
            return True
        if self._options.ignore_unknown_fields:  # then only a strict converter notices
            rejected = element_converter(kind, self.schema, kept=self._options.kept)(values).rejected
        return RowErrorType.UNKNOWN_FIELD in RowErrors.of(rejected).by_type()

    def fields_to_add(self, values: Sequence[Any], kind: RowKind) -> FindAdditions:
        """Return the function that finds which fields of elements a schema lacks."""
        return lambda schema: fields_to_add(values, kind, schema, self._options.kept)


class CurrentRowConverter:
    """Converts rows for a table whose schema may change; thread-safe, as a race only makes an equal converter twice.

    Args:
        options: How elements become its rows.
    """

    def __init__(self, options: RowOptions) -> None:
        self._options = options
        self._converter: RowConverter | None = None

    def convert(
        self,
        values: Sequence[Any],
        kind: RowKind,
        parsed: list[Any] | None = None,
        *,
        schema: TableSchema,
        fetch_again: Callable[[FindAdditions], TableSchema] | None,
    ) -> tuple[Converted, TableSchema]:
        """Convert elements; where they do not fit the schema, fetch it again, and convert once more if it has changed.

        Args:
            values: The elements.
            kind: How they hold their rows.
            parsed: As for `RowConverter.convert`.
            schema: The table's schema as far as it is known.
            fetch_again: Adds what the function finds to the table, if the writer's options say so, and returns the
                newest schema; None where the schema cannot change, or was fetched a moment ago.

        Returns:
            The rows, and the schema that they were converted for.
        """
        converter = self._converter_for(schema)
        converted = converter.convert(values, kind, parsed)
        if fetch_again is not None and converter.may_be_outdated(values, kind, converted):
            newest = self._converter_for(fetch_again(converter.fields_to_add(values, kind)))
            if newest is not converter:
                return newest.convert(values, kind, parsed), newest.schema
        return converted, converter.schema

    def _converter_for(self, schema: TableSchema) -> RowConverter:
        converter = self._converter
        if converter is None or converter.schema is not schema:
            converter = self._converter = RowConverter(schema, self._options)
        return converter


def _element_converter(kind: RowKind, schema: TableSchema, options: RowOptions) -> ElementConverter:
    if options.rescue_column is not None:
        return RescuingConverter(kind, schema, options.rescue_column, options.times, options.kept)
    ignored: IgnoreUnknown = "nulls" if options.add_fields else options.ignore_unknown_fields
    return element_converter(kind, schema, ignore_unknown_fields=ignored, times=options.times, kept=options.kept)

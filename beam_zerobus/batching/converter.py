"""`RowConverter`: elements that are one row each, for one table schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from beam_zerobus.batching.elements import Converted, ElementConverter, RowKind, element_converter
from beam_zerobus.batching.new_fields import fields_to_add
from beam_zerobus.batching.rescue import RescuingConverter
from beam_zerobus.destinations import KeptFields
from beam_zerobus.schema import RowErrorType, TableSchema
from beam_zerobus.schema.additions import FindAdditions
from beam_zerobus.schema.reasons import may_fit_wider_column
from beam_zerobus.schema.time_rules import TimeRules
from beam_zerobus.schema.unknown_fields import IgnoreUnknown

__all__ = ["RowConverter"]


class RowConverter:
    """Converts elements that are one row each, for one table schema; thread-safe.

    Attributes:
        schema: The table's.

    Args:
        schema: As above.
        ignore_unknown_fields: Drop fields that the table does not have, instead of rejecting their elements.
        rescue_column: The column that receives them, and values that do not fit; None to reject their elements.
        add_fields: Fields that the table lacks may be added; those without a value are dropped.
        times: What timestamps may leave open.
    """

    def __init__(
        self,
        schema: TableSchema,
        *,
        ignore_unknown_fields: bool,
        rescue_column: str | None,
        add_fields: bool = False,
        times: TimeRules,
        kept: KeptFields | None = None,
    ) -> None:
        self.schema = schema
        self._ignores_unknown_fields = ignore_unknown_fields
        self._rescue_column = rescue_column
        self._kept = kept

        def converter(kind: RowKind) -> ElementConverter:
            if rescue_column is not None:
                return RescuingConverter(kind, schema, rescue_column, times, kept)
            ignored: IgnoreUnknown = "nulls" if add_fields else ignore_unknown_fields
            return element_converter(kind, schema, ignore_unknown_fields=ignored, times=times, kept=kept)

        self._by_kind: dict[RowKind, ElementConverter] = {"json": converter("json"), "row": converter("row")}

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
        if self._rescue_column is not None and converted.whole.column(self._rescue_column).null_count < len(values):
            return True
        if self._ignores_unknown_fields:  # then only a strict converter notices
            rejected = element_converter(kind, self.schema, kept=self._kept)(values).rejected
        return any(error.error_type == RowErrorType.UNKNOWN_FIELD for error in rejected)

    def fields_to_add(self, values: Sequence[Any], kind: RowKind) -> FindAdditions:
        """Return the function that finds which fields of elements a schema lacks."""
        return lambda schema: fields_to_add(values, kind, schema, self._kept)

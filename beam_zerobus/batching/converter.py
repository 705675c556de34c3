"""`RowConverter`: elements that are one row each, for one table schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from beam_zerobus.batching.elements import Converted, ElementConverter, RowKind, element_converter
from beam_zerobus.schema import RowErrorType, TableSchema
from beam_zerobus.schema.reasons import may_fit_wider_column
from beam_zerobus.schema.time_rules import TimeRules

__all__ = ["RowConverter"]


class RowConverter:
    """Converts elements that are one row each, for one table schema; thread-safe.

    Attributes:
        schema: The table's.
    """

    def __init__(self, schema: TableSchema, *, ignore_unknown_fields: bool, times: TimeRules) -> None:
        self.schema = schema
        self._ignores_unknown_fields = ignore_unknown_fields
        self._by_kind: dict[RowKind, ElementConverter] = {
            "json": element_converter("json", schema, ignore_unknown_fields=ignore_unknown_fields, times=times),
            "row": element_converter("row", schema, ignore_unknown_fields=ignore_unknown_fields, times=times),
        }

    def convert(self, values: Sequence[Any], kind: RowKind) -> Converted:
        """Convert elements of one kind; those that cannot be read are among `rejected`."""
        return self._by_kind[kind](values)

    def may_be_outdated(self, values: Sequence[Any], kind: RowKind, converted: Converted) -> bool:
        """Return whether the table's schema may have changed, as elements that became `converted` do not fit it.

        They have a field that it lacks, or a value that would fit a wider column.
        """
        rejected = converted.rejected
        if may_fit_wider_column(rejected):
            return True
        if self._ignores_unknown_fields:  # then only a strict converter notices
            rejected = element_converter(kind, self.schema)(values).rejected
        return any(error.error_type == RowErrorType.UNKNOWN_FIELD for error in rejected)

"""Whether rows with the columns of one table fit another one, in the types of tables; users may not know Arrow's."""

from __future__ import annotations

from collections.abc import Iterator

from beam_zerobus.schema.arrow import canonical_type
from beam_zerobus.schema.conform import listed
from beam_zerobus.schema.plan import Planner
from beam_zerobus.schema.table import TableSchema
from beam_zerobus.schema.time_rules import TimeRules
from beam_zerobus.schema.types import Array, DeltaType, Field, Map, Struct

__all__ = ["why_rows_do_not_fit"]

_STRICT = TimeRules()
_OPTIONS = {
    "assume_timezone": TimeRules(assume_timezone="UTC"),
    "epoch_unit": TimeRules(epoch_unit="us"),
}
"""What lets a type fit that does not fit without it."""


def why_rows_do_not_fit(
    rows: TableSchema, table: TableSchema, *, ignore_unknown_fields: bool = False, times: TimeRules = _STRICT
) -> str | None:
    """Return every reason why rows with the columns of one schema do not fit a table; None if they do.

    Args:
        rows: The columns of the rows.
        table: The table.
        ignore_unknown_fields: Leave columns out of account that the table lacks.
        times: How timestamps without a time zone or a unit are read.

    Example:
        >>> table = TableSchema.from_ddl("id BIGINT, name STRING")
        >>> why_rows_do_not_fit(TableSchema.from_ddl("id INT"), table)
        >>> why_rows_do_not_fit(TableSchema.from_ddl("id STRING"), table)
        "column 'id' is STRING, and BIGINT in the table, which does not accept it"
    """
    problems = list(_Comparison(ignore_unknown_fields, times).of_fields(rows.columns, table.columns, ""))
    return listed(problems) if problems else None


class _Comparison:
    def __init__(self, ignore_unknown_fields: bool, times: TimeRules) -> None:
        self._ignores = ignore_unknown_fields
        self._times = times

    def of_fields(self, ours: tuple[Field, ...], table: tuple[Field, ...], prefix: str) -> Iterator[str]:
        """Yield the problems of columns, or of a struct's fields; names match without regard to case."""
        missing = {field.name.lower(): field for field in table}
        for field in ours:
            path = prefix + field.name
            there = missing.pop(field.name.lower(), None)
            if there is not None:
                yield from self._of_type(field.type, there.type, path)
            elif not self._ignores:
                yield f"column {path!r} ({field.type}) is not in the table"
        for field in missing.values():
            if not field.nullable:
                yield f"the table's column {prefix + field.name!r} ({field.type}) is NOT NULL, and missing"

    def _of_type(self, ours: DeltaType, table: DeltaType, path: str) -> Iterator[str]:
        match ours, table:
            case Struct(), Struct():
                yield from self.of_fields(ours.fields, table.fields, f"{path}.")
            case Array(), Array():
                yield from self._of_type(ours.element, table.element, f"{path}.element")
            case Map(), Map():
                yield from self._of_type(ours.key, table.key, f"{path}.key")
                yield from self._of_type(ours.value, table.value, f"{path}.value")
            case _ if not _fits(ours, table, self._times):
                options = [name for name, times in _OPTIONS.items() if _fits(ours, table, times)]
                unless = f" unless {options[0]} is set" if options else ""
                yield f"column {path!r} is {ours}, and {table} in the table, which does not accept it{unless}"


def _fits(ours: DeltaType, table: DeltaType, times: TimeRules) -> bool:
    planner = Planner(False, times)
    planner.cast(canonical_type(ours), table, "", nullable=True)
    return not planner.problems

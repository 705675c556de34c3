"""`Destination`: what `table=` says where it is not one name: a template, or a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa

from beam_zerobus.destinations.arrow_rows import split_arrow
from beam_zerobus.destinations.records import split_records
from beam_zerobus.destinations.split import Split, bad_table, checked_name, row_errors
from beam_zerobus.destinations.template import Template, is_template
from beam_zerobus.options.fields import shown
from beam_zerobus.schema.reasons import Reason
from beam_zerobus.schema.table_name import check_table_name

__all__ = ["Destination", "TableOption", "destination_of"]

TableOption: TypeAlias = str | Callable[[Any], str]
"""What users may give as `table`: a name, a template such as ``"main.{region}.events"``, or a function."""


def destination_of(table: TableOption) -> Destination | None:
    """Return what chooses the table of each row; None where `table` is one name.

    Raises:
        ConfigurationError: It is neither a name nor a template nor a function; the message says what is wrong with it.

    Example:
        >>> destination_of("main.iot.air") is None, destination_of("main.{region}.air").label
        (True, 'main.{region}.air')
    """
    if callable(table):
        return Destination(f"{getattr(table, '__name__', type(table).__name__)}()", choose=table)
    if isinstance(table, str) and is_template(table):
        return Destination(table, template=Template.parse(table))
    check_table_name(table)
    return None


@dataclass(frozen=True, slots=True)
class Destination:
    """Chooses the table of each row by a template or by a function; it has one of the two.

    Attributes:
        label: What messages call it: the template, or the function's name.
        template: The template.
        choose: The function.
    """

    label: str
    template: Template | None = None
    choose: Callable[[Any], str] | None = None

    @property
    def reads_fields(self) -> bool:
        """True where JSON objects have to be parsed; a function receives them as they are."""
        return self.template is not None

    def split(self, elements: Sequence[Any]) -> Split:
        """Return the elements' positions by table; each element is one row.

        Args:
            elements: Dicts, Beam rows, NamedTuples, dataclasses, or parsed JSON objects; for a function anything.

        Example:
            >>> split = destination_of("main.{region}.air").split([{"region": "eu"}, {"region": "us"}, {}])
            >>> split.tables
            {'main.eu.air': [0], 'main.us.air': [1]}
            >>> split.bad[0].message
            "table='main.{region}.air' needs the field 'region', which is missing from the row: add it"
        """
        if self.template is not None:
            return split_records(self.template, self._named, elements)
        tables: dict[str, list[int]] = {}
        bad: dict[int, Reason] = {}
        for position, element in enumerate(elements):
            name = self._chosen(element)
            if isinstance(name, str):
                tables.setdefault(name, []).append(position)
            else:
                bad[position] = name
        return Split(tables, row_errors(bad))

    def split_batch(self, batch: pa.RecordBatch | pa.Table) -> Split:
        """Return the rows' positions by table; a function is called once, with the whole batch."""
        if self.template is not None:
            return split_arrow(self.template, self._named, batch)
        rows, name = range(batch.num_rows), self._chosen(batch)
        if isinstance(name, str):
            return Split({name: rows} if rows else {})
        return Split({}, row_errors(dict.fromkeys(rows, name)))

    @property
    def _named(self) -> str:
        return shown(self.label) or "<template>"

    def _chosen(self, element: Any) -> str | Reason:
        assert self.choose is not None  # noqa: S101 - it has no template
        try:
            name: object = self.choose(element)
        except Exception as error:  # noqa: BLE001 - the user's code, which may fail for one row
            return bad_table(self.label, f"raised {type(error).__name__} for this row: correct the function")
        if not isinstance(name, str):
            return bad_table(self.label, f"returned a value of type {type(name).__name__}: return a str")
        return checked_name(name, self.label)

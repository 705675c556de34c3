"""`ManyTables`: elements by the table that each belongs to."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from beam_zerobus.batching import RowKind, RowLimit, parsed_rows
from beam_zerobus.destinations import Destination, Positions
from beam_zerobus.encoding.take import take_rows
from beam_zerobus.errors import RowError, RowErrors, ZerobusError
from beam_zerobus.sink.bundle import Bundle
from beam_zerobus.sink.elements import Elements
from beam_zerobus.sink.failed_rows import bundle_error
from beam_zerobus.sink.held_batches import held_of_process
from beam_zerobus.sink.rows import Kind, rejected_rows, separated, unknown_table
from beam_zerobus.sink.settings import SinkSettings
from beam_zerobus.sink.table_rows import TableRows
from beam_zerobus.writer.writers_config import WritersConfig

__all__ = ["ManyTables"]

_MAX_IDLE = 1_000
"""Tables whose converters are kept while nothing is held for them."""


@dataclass(slots=True, eq=False)
class _Table:
    row_limit: RowLimit
    rows: TableRows | None = None
    held: Elements = field(default_factory=Elements)
    kind: RowKind = "row"

    @property
    def batches(self) -> float:
        """How many full batches the held elements are."""
        return len(self.held.values) / self.row_limit.full


class ManyTables:
    """Splits elements by table, and holds the single rows of each until they fill a batch.

    All bundles of a process together hold at most a few full batches (`held_batches.py`); where it would be more, the
    largest of a bundle are sent. A RecordBatch or Table is split, and its parts are sent at once.

    Args:
        settings: The settings of the sink.
        tables: The options of the tables.
        destination: Chooses the table of each row.
        bundle: Sends the batches.
        row_limit: How many rows the DoFn collects; here it learns how large those of all tables are.
    """

    def __init__(
        self,
        settings: SinkSettings,
        tables: WritersConfig,
        destination: Destination,
        *,
        bundle: Bundle,
        row_limit: RowLimit,
    ) -> None:
        self._settings = settings
        self._tables_config = tables
        self._destination = destination
        self._bundle = bundle
        self._row_limit = row_limit
        self._tables: dict[str, _Table] = {}

    def send(self, elements: Elements, *, incomplete: bool) -> None:
        """Submit the rows of each table that fill a batch; with `incomplete` all others, too.

        Raises:
            ZerobusError: An element cannot be written, and fails the bundle.
        """
        if elements.values:
            for kind, chosen in separated(elements):
                if kind == "batch":
                    self._split_batch(chosen)
                else:
                    self._split_rows(chosen, kind)
        if incomplete:
            open_tables = self._bundle.open_tables
            # Tables that are open are sent first: sending to another one closes one of them.
            for name in sorted(self._tables, key=lambda name: name not in open_tables):
                self._send_held(name)
        self._limit_held()

    def clear(self) -> None:
        """Drop what is held."""
        for table in self._tables.values():
            table.held.clear()
            if table.rows is not None:
                table.rows.clear()
        held_of_process.note(self, holds=False)

    def finish(self) -> None:
        """End a bundle; nothing is held."""

    def _limit_held(self) -> None:
        """Where more is held than allowed, send the largest until the rest is half of what is allowed."""
        held = {name: table.batches for name, table in self._tables.items() if table.held.values}
        total, allowed = sum(held.values()), held_of_process.allowed()
        if total > allowed:
            for name in sorted(held, key=held.__getitem__, reverse=True):
                self._send_held(name)
                total -= held.pop(name)
                if total <= allowed / 2:
                    break
        held_of_process.note(self, holds=bool(held))
        if len(self._tables) > _MAX_IDLE:
            self._tables = {name: self._tables[name] for name in held}

    def _split_rows(self, elements: Elements, kind: RowKind) -> None:
        if kind == "json" and self._destination.reads_fields:
            elements = self._parsed(elements)
        split = self._destination.split(elements.parsed or elements.values)
        if split.bad:
            self._reject_some(self._destination.label, elements, split.bad)
        rows, batches = len(elements.values), 0.0
        for name, positions in split.tables.items():
            table = self._table(name)
            if table.kind != kind:
                self._send_held(name)
                table.kind = kind
            if table.rows is None and not table.held.values:
                table.row_limit.guess(nbytes=_size_of(elements.values[positions[0]]))
            batches += len(positions) / table.row_limit.full
            table.held.add(elements if len(positions) == rows else elements.select(positions))
            while len(table.held.values) >= table.row_limit.rows:
                self._submit(name, table.held.take(table.row_limit.rows), kind)
        if batches:
            self._row_limit.learn_full(rows=rows, batches=batches)

    def _parsed(self, elements: Elements) -> Elements:
        """Parse JSON objects once, for their table and for their columns; others are rejected."""
        parsed, errors = parsed_rows(elements.values)
        elements = replace(elements, parsed=parsed)
        if not errors:
            return elements
        self._reject_some(self._destination.label, elements, errors)
        return elements.select(np.delete(np.arange(len(parsed)), RowErrors.of(errors).indices))

    def _split_batch(self, element: Elements) -> None:
        batch = element.values[0]
        split = self._destination.split_batch(batch)
        if split.bad:
            self._reject_some(self._destination.label, element, split.bad, holds_rows=True)
        for name, positions in split.tables.items():
            self._submit(name, _part(element, positions), "batch")

    def _table(self, name: str) -> _Table:
        if name not in self._tables:
            self._tables[name] = _Table(RowLimit(self._settings.batching))
        return self._tables[name]

    def _send_held(self, name: str) -> None:
        table = self._tables[name]
        while table.held.values:
            self._submit(name, table.held.take(table.row_limit.rows), table.kind)

    def _submit(self, name: str, elements: Elements, kind: Kind) -> None:
        """Submit elements of one kind; all of them are sent, or none is."""
        table = self._table(name)
        try:
            if table.rows is None:
                config = self._tables_config.of(name)
                table.rows = TableRows(config, self._settings, self._bundle, table.row_limit)
            table.rows.send_now(elements, kind)
        except ZerobusError as error:
            if not (error.unknown_table and self._settings.dead_letters):
                raise
            errors = unknown_table(elements.values[0].num_rows if kind == "batch" else len(elements.values), error)
            self._reject_all(name, elements, errors, holds_rows=kind == "batch")

    def _reject_some(
        self, table: str, elements: Elements, errors: Sequence[RowError], *, holds_rows: bool = False
    ) -> None:
        """Reject those rows of elements that have an error; without dead letters, they fail the bundle."""
        if not self._settings.dead_letters:
            rows = elements.values[0].num_rows if holds_rows else len(elements.values)
            raise bundle_error(errors, table=table, total_rows=rows)
        rows_of_errors = RowErrors.of(errors).indices
        chosen = _part(elements, rows_of_errors) if holds_rows else elements.select(rows_of_errors)
        self._reject_all(table, chosen, errors, holds_rows=holds_rows)

    def _reject_all(self, table: str, elements: Elements, errors: Sequence[RowError], *, holds_rows: bool) -> None:
        """Reject all rows of elements."""
        numbered = RowErrors.of(errors).at(np.arange(len(errors)))
        self._bundle.reject(table, rejected_rows(elements, numbered, holds_rows=holds_rows))


def _part(element: Elements, positions: Positions) -> Elements:
    """Return some rows of a RecordBatch or Table."""
    batch = element.values[0]
    if len(positions) == batch.num_rows:
        return element
    return Elements([take_rows(batch, positions)], element.micros, element.windows)


def _size_of(element: object) -> int:
    """Return about how many bytes a row has, from its pickle."""
    try:
        return len(element) if isinstance(element, str | bytes) else len(pickle.dumps(element, 5))
    except Exception:  # noqa: BLE001 - such as a class inside a function; the first batch shows the size
        return 0

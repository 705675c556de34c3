"""`ManyTables`: elements by the table that each belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from beam_zerobus.batching import RowLimit
from beam_zerobus.destinations import Destination, Positions
from beam_zerobus.encoding.take import take_rows
from beam_zerobus.errors import RowError, ZerobusError
from beam_zerobus.sink.bundle import Bundle
from beam_zerobus.sink.elements import Elements
from beam_zerobus.sink.failed_rows import bundle_error
from beam_zerobus.sink.rows import rejected_rows, separated, unknown_table
from beam_zerobus.sink.settings import SinkSettings
from beam_zerobus.sink.table_rows import TableRows
from beam_zerobus.writer.writers_config import WritersConfig

__all__ = ["ManyTables"]

_HELD_BATCHES = 4
"""Elements are held, of all tables together, for as many full batches."""

_MAX_IDLE = 1_000
"""Tables whose converters are kept from one bundle to the next."""


@dataclass(slots=True, eq=False)
class _Table:
    row_limit: RowLimit
    rows: TableRows | None = None
    held: Elements = field(default_factory=Elements)


class ManyTables:
    """Splits elements by table, and holds the single rows of each until they fill a batch.

    A RecordBatch or Table is split, and its parts are sent at once.

    Args:
        settings: The sink's.
        tables: The options of the tables.
        destination: Chooses the table of each row.
        bundle: Sends the batches.
        row_limit: How many rows fill a batch of any table; it bounds what is held of all.
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
        self._held = 0

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
                    self._split_rows(chosen, from_json=kind == "json")
        if incomplete:
            open_tables = self._bundle.open_tables
            # Tables that are open are sent first: sending to another one closes one of them.
            for name in sorted(self._tables, key=lambda name: name not in open_tables):
                self._send_held(name)
        elif self._held > _HELD_BATCHES * self._row_limit.rows:
            largest = sorted(self._tables, key=lambda name: len(self._tables[name].held.values), reverse=True)
            for name in largest:
                if 2 * self._held <= _HELD_BATCHES * self._row_limit.rows:
                    break
                self._send_held(name)

    def clear(self) -> None:
        """Drop what is held."""
        for table in self._tables.values():
            table.held.clear()
            if table.rows is not None:
                table.rows.clear()
        self._held = 0

    def finish(self) -> None:
        """End a bundle; nothing is held."""
        if len(self._tables) > _MAX_IDLE:
            self._tables.clear()

    def _split_rows(self, elements: Elements, *, from_json: bool) -> None:
        split = self._destination.split(elements.values, from_json=from_json)
        if split.bad:
            self._check_allowed(split.bad, total_rows=len(elements.values))
            chosen = elements.select([error.index for error in split.bad])
            self._set_apart(self._destination.label, chosen, split.bad)
        for name, positions in split.tables.items():
            table = self._table(name)
            table.held.add(elements if len(positions) == len(elements.values) else elements.select(positions))
            self._held += len(positions)
            if len(table.held.values) >= table.row_limit.rows:
                self._send_held(name)

    def _split_batch(self, element: Elements) -> None:
        batch = element.values[0]
        split = self._destination.split_batch(batch)

        def part(positions: Positions) -> Elements:
            whole = len(positions) == batch.num_rows
            return element if whole else Elements([take_rows(batch, positions)], element.micros, element.windows)

        if split.bad:
            self._check_allowed(split.bad, total_rows=batch.num_rows)
            chosen = part([error.index for error in split.bad])
            self._set_apart(self._destination.label, chosen, split.bad, holds_rows=True)
        for name, positions in split.tables.items():
            self._submit(name, part(positions))

    def _table(self, name: str) -> _Table:
        if name not in self._tables:
            self._tables[name] = _Table(RowLimit(self._settings.batching))
        return self._tables[name]

    def _send_held(self, name: str) -> None:
        table = self._tables[name]
        if table.held.values:
            held = table.held.take()
            self._held -= len(held.values)
            self._submit(name, held)
            self._row_limit.rows = table.row_limit.rows

    def _submit(self, name: str, elements: Elements) -> None:
        table = self._table(name)
        for kind, chosen in separated(elements):  # each is sent, or is not, as a whole
            try:
                if table.rows is None:
                    config = self._tables_config.of(name)
                    table.rows = TableRows(config, self._settings, self._bundle, table.row_limit)
                table.rows.send(chosen, incomplete=True)
            except ZerobusError as error:
                if not (error.unknown_table and self._settings.dead_letters):
                    raise
                errors = unknown_table(chosen.values[0].num_rows if kind == "batch" else len(chosen.values), error)
                self._set_apart(name, chosen, errors, holds_rows=kind == "batch")

    def _check_allowed(self, errors: Sequence[RowError], *, total_rows: int) -> None:
        """Without dead letters, fail the bundle."""
        if not self._settings.dead_letters:
            raise bundle_error(errors, table=self._destination.label, total_rows=total_rows)

    def _set_apart(
        self, table: str, elements: Elements, errors: Sequence[RowError], *, holds_rows: bool = False
    ) -> None:
        """Reject all rows of elements."""
        numbered = [error.at(row) for row, error in enumerate(errors)]
        self._bundle.set_apart(table, rejected_rows(elements, numbered, holds_rows=holds_rows))

"""The tables of the emulator by name, found again in its directory."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pyarrow as pa

from beam_zerobus.emulator.access.grants import TO_WRITE, Grants
from beam_zerobus.emulator.limits import check_nesting
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.tables.directory import StorageDirectory
from beam_zerobus.emulator.tables.layout import Layout, TableRules
from beam_zerobus.emulator.tables.storage import DeltaStorage, DiscardStorage, MemoryStorage, NotOurTableError
from beam_zerobus.emulator.tables.table import Table
from beam_zerobus.errors import ConfigurationError
from beam_zerobus.schema import TableSchema

__all__ = ["Catalog"]

_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_]+")


class Catalog:
    """Makes and finds tables; `_tables` is read and written under `_lock`.

    Names match without regard to case, as in Unity Catalog; a table keeps the name that it was created with.

    Args:
        directory: Holds the Delta tables, as ``catalog/schema/table``; those that exist are opened. None keeps rows in
            memory.
        discard: Count rows only; needs ``directory=None``.
        rules: The limits of every table.
        grants: Who may do what; the client may write to tables that exist already.
        created: Called with the name of each table that is made or asked for.

    Raises:
        ConfigurationError: The directory cannot be used.
    """

    def __init__(
        self,
        directory: Path | None,
        *,
        discard: bool = False,
        rules: TableRules,
        grants: Grants,
        created: Callable[[str], None],
    ) -> None:
        self._discard = discard
        self._rules = rules
        self._grants = grants
        self._created = created
        self._lock = threading.Lock()
        self._tables: dict[str, Table] = {}
        self._directory = None if directory is None else StorageDirectory(directory)
        for name, path in self._directory.tables() if self._directory is not None else ():
            self._open(name, path)

    def _open(self, name: str, path: Path) -> None:
        """Open a table that was found; one that cannot be opened is skipped."""
        if not _NAME.fullmatch(name) or name.lower() in self._tables:
            _LOG.warning("skipped %s: %s is not a table name, or is taken by another table", path, name)
            return
        try:
            storage = DeltaStorage.open(path)
        except NotOurTableError:
            _LOG.warning("skipped %s: this Delta table was not made by the emulator; move it elsewhere", path)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with this table, the others are not
            _LOG.warning("skipped %s: the Delta table cannot be opened: %s", path, error)
        else:
            self._tables[name.lower()] = self._table(name, storage, path)
            self._grants.grant(self._grants.client, name, TO_WRITE)

    def create(
        self,
        name: str,
        columns: str | pa.Schema | TableSchema,
        layout: Layout | None = None,
        *,
        owner: str | None = None,
    ) -> Table:
        """Make a table, or return the one that exists.

        Args:
            name: ``catalog.schema.table``.
            columns: Its columns.
            layout: What else it has.
            owner: The principal that owns a new table; without one, the client may write to it.

        Raises:
            ConfigurationError: The name is not three parts of ASCII letters, digits and underscores, or is taken by a
                table with other columns or another layout; or a column cannot be stored.
        """
        layout = layout or Layout()
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"table {name!r}: write catalog.schema.table, each of ASCII letters, digits and underscores"
            )
        schema = _schema(columns)
        with self._lock:
            table = self._tables.get(name.lower())
            if table is None:
                check_nesting(schema)
                layout.check(schema)
                table = self._tables[name.lower()] = self._make(name, schema, layout)
                self._grants.forget(name)
                if owner is None:
                    self._grants.grant(self._grants.client, name, TO_WRITE)
                else:
                    self._grants.own(owner, name)
            elif table.schema != schema:
                raise ConfigurationError(
                    f"table {name} exists with other columns: {table.schema.to_ddl()}; use these, drop the table, or "
                    "keep tables in another storage directory"
                )
            elif table.layout != layout:
                raise ConfigurationError(
                    f"table {name} exists with other partitions or another rescue column: drop it, or keep tables in "
                    "another storage directory"
                )
        self._created(table.name)
        return table

    def _make(self, name: str, schema: TableSchema, layout: Layout) -> Table:
        if self._directory is None:
            memory = DiscardStorage(schema) if self._discard else MemoryStorage(schema)
            return Table(name, schema, memory, layout=layout, rules=self._rules, grants=self._grants)
        storage, path = self._directory.create(
            name,
            make=lambda place: DeltaStorage.create(place, schema, name, layout),
            reopen=lambda place: DeltaStorage.open(place, rows=0),
        )
        return self._table(name, storage, path)

    def _table(self, name: str, storage: DeltaStorage, path: Path) -> Table:
        layout = storage.layout
        return Table(name, storage.schema, storage, path, layout=layout, rules=self._rules, grants=self._grants)

    def find(self, name: str) -> Table | None:
        """Return a table, or None if no table has that name."""
        with self._lock:
            return self._tables.get(name.lower())

    def drop(self, name: str) -> None:
        """Remove a table and its files; calls that wait for it get NOT_FOUND.

        Raises:
            KeyError: No table has that name.
        """
        with self._lock:
            table = self._tables.pop(name.lower())
        self._grants.forget(name)
        table.close(commit=False, reason=Rejection(grpc.StatusCode.NOT_FOUND, f"Table {name!r} cannot be found."))
        if self._directory is not None and table.path is not None:
            self._directory.remove(table.path)

    def lock(self) -> None:
        """Lock the directory again after `unlock`.

        Raises:
            ConfigurationError: Another emulator uses it now.
        """
        if self._directory is not None:
            self._directory.lock()

    def unlock(self) -> None:
        """Leave the directory to other emulators."""
        if self._directory is not None:
            self._directory.unlock()

    def __iter__(self) -> Iterator[Table]:
        with self._lock:
            return iter(list(self._tables.values()))


def _schema(columns: str | pa.Schema | TableSchema) -> TableSchema:
    if isinstance(columns, TableSchema):
        return columns
    return TableSchema.from_arrow(columns) if isinstance(columns, pa.Schema) else TableSchema.from_ddl(columns)

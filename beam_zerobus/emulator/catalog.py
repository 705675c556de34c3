"""The tables of the emulator by name, found again in its directory."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from beam_zerobus.emulator.storage import DeltaStorage, DiscardStorage, MemoryStorage
from beam_zerobus.emulator.table import Table
from beam_zerobus.errors import ConfigurationError
from beam_zerobus.schema import TableSchema

__all__ = ["Catalog"]

_NAME = re.compile(r"[A-Za-z0-9_]+\.[A-Za-z0-9_]+\.[A-Za-z0-9_]+")


class Catalog:
    """Makes and finds tables; `_tables` is read and written under `_lock`.

    Args:
        directory: Where Delta tables lie, as ``catalog/schema/table``; those that are there are opened. None keeps rows
            in memory.
        discard: Count rows only; needs ``directory=None``.
    """

    def __init__(self, directory: Path | None, *, discard: bool = False) -> None:
        self._directory = directory
        self._discard = discard
        self._lock = threading.Lock()
        self._tables: dict[str, Table] = {}
        for log in sorted(directory.glob("*/*/*/_delta_log")) if directory is not None else ():
            path = log.parent
            storage = DeltaStorage(path)
            name = ".".join(path.parts[-3:])
            self._tables[name] = Table(name, storage.schema, storage, path)

    def create(self, name: str, columns: str | pa.Schema | TableSchema) -> Table:
        """Make a table.

        Raises:
            ConfigurationError: The name is not three parts of ASCII letters, digits and underscores, or is taken by a
                table with other columns.
        """
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"table {name!r}: write catalog.schema.table, each of ASCII letters, digits and underscores"
            )
        schema = _schema(columns)
        with self._lock:
            table = self._tables.get(name)
            if table is None:
                table = self._tables[name] = self._make(name, schema)
            elif table.schema != schema:
                raise ConfigurationError(f"table {name} exists with other columns: {table.schema.to_ddl()}")
            return table

    def _make(self, name: str, schema: TableSchema) -> Table:
        if self._directory is None:
            return Table(name, schema, DiscardStorage(schema) if self._discard else MemoryStorage(schema))
        path = self._directory.joinpath(*name.split("."))
        return Table(name, schema, DeltaStorage(path, schema, name), path)

    def find(self, name: str) -> Table | None:
        """Return a table, or None where there is none of that name."""
        with self._lock:
            return self._tables.get(name)

    def drop(self, name: str) -> None:
        """Remove a table and its files.

        Raises:
            KeyError: There is none of that name.
        """
        with self._lock:
            table = self._tables.pop(name)
        table.close(commit=False)
        if table.path is not None:
            shutil.rmtree(table.path)

    def __iter__(self) -> Iterator[Table]:
        with self._lock:
            return iter(list(self._tables.values()))


def _schema(columns: str | pa.Schema | TableSchema) -> TableSchema:
    if isinstance(columns, TableSchema):
        return columns
    return TableSchema.from_arrow(columns) if isinstance(columns, pa.Schema) else TableSchema.from_ddl(columns)

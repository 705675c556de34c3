"""`Table`: one table of the emulator, and the thread that commits what arrives for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa

from beam_zerobus.emulator.limits import check_nesting
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.storage import Chunk, Storage
from beam_zerobus.errors import ConfigurationError
from beam_zerobus.schema import TableSchema

__all__ = ["GRANTS", "Table"]

GRANTS = frozenset({"USE CATALOG", "USE SCHEMA", "SELECT", "MODIFY"})
_MAX_WAITING_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class _Waiting:
    chunk: Chunk
    rows: int
    size: int
    done: Callable[[BaseException | None], None]


class Table:
    """One table: its columns, its rows and who may write to it.

    Made by `Emulator.create_table`.

    Group commits: one thread commits everything that arrived during the last commit, and only then are the calls
    acknowledged. So many small calls make few commits, and a single call is committed at once.

    Invariants, all under `_lock`: `_waiting` holds, in the order of arrival, what is not being committed yet;
    `_committing` says that the thread is writing outside the lock; storage and schema change only while it does not.

    Attributes:
        name: ``catalog.schema.table``.
        path: The Delta table's directory; None if rows are kept in memory.
        grants: The privileges that the client has; `revoke` and `grant` change them.
        description: Fields of Unity Catalog's description of the table that differ from a plain table's, such as
            ``{"table_type": "VIEW"}``; may be set at any time.
    """

    def __init__(self, name: str, schema: TableSchema, storage: Storage, path: Path | None = None) -> None:
        self.name = name
        self.path = path
        self.grants = GRANTS
        self.description: Mapping[str, Any] = {}
        self._schema = schema
        self._version = 0
        self._storage = storage
        self._lock = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._committing = False
        self._thread: threading.Thread | None = None
        self._stopping = False

    @property
    def schema(self) -> TableSchema:
        """The columns."""
        return self._schema

    @property
    def version(self) -> int:
        """Changes when columns change."""
        return self._version

    def to_arrow(self) -> pa.Table:
        """Return all stored rows, in the table's canonical Arrow types and in no particular order."""
        with self._exclusive():
            return self._storage.read()

    def count_rows(self) -> int:
        """Return the number of stored rows."""
        with self._exclusive():
            return self._storage.count()

    def add_column(self, ddl: str) -> None:
        """Add columns at the end, as ALTER TABLE ADD COLUMN does.

        Streams that are open go on; their rows have null in the new columns.

        Args:
            ddl: One or more nullable columns, such as ``"note STRING"``.

        Raises:
            ConfigurationError: The text does not describe columns, or a column is NOT NULL, has a name that is taken,
                or nests too deep.
        """
        added = TableSchema.from_ddl(ddl).columns
        for column in added:
            if not column.nullable:
                raise ConfigurationError(
                    f"column {column.name!r} cannot be added as NOT NULL: existing rows have no value for it"
                )
        with self._exclusive():
            # Numbers of dropped columns are not used again, like positions in Unity Catalog.
            first = 1 + max(column.number for column in self._schema.columns)
            numbered = tuple(replace(column, number=first + index) for index, column in enumerate(added))
            schema = TableSchema(self._schema.columns + numbered)
            check_nesting(schema)
            self._change(schema)

    def drop_column(self, name: str) -> None:
        """Drop a column and its values.

        A stream whose schema has the column is rejected at its next call (error 8001).

        Raises:
            ConfigurationError: The table has no such column, or no other.
        """
        with self._exclusive():
            left = tuple(column for column in self._schema.columns if column.name != name)
            if len(left) == len(self._schema.columns):
                raise ConfigurationError(f"table {self.name} has no column {name!r} to drop")
            self._change(TableSchema(left))

    def revoke(self, *privileges: str) -> None:
        """Revoke privileges of the client, all if none is named; new streams are rejected (error 4024)."""
        self.grants = self.grants - (set(privileges) or GRANTS)

    def grant(self, *privileges: str) -> None:
        """Grant privileges to the client, all that Zerobus needs if none is named."""
        self.grants = self.grants | (set(privileges) or GRANTS)

    def append(self, chunk: Chunk, rows: int, size: int, done: Callable[[BaseException | None], None]) -> None:
        """Queue rows for the next commit.

        Args:
            chunk: The rows, or a function that decodes them.
            rows: Their number.
            size: Bytes of memory that they occupy; the caller is blocked while too many bytes wait.
            done: Called after the commit, possibly from another thread, with the error or None.
        """
        if self.path is None:
            # In memory a group commit would cost more than it saves: a thread would have to wake up.
            with self._lock:
                self._storage.append([chunk], rows)
            done(None)
            return
        with self._lock:
            self._lock.wait_for(lambda: self._waiting_bytes < _MAX_WAITING_BYTES or self._stopping)
            if self._stopping:
                done(Rejection(grpc.StatusCode.UNAVAILABLE, "the emulator is being stopped"))
                return
            self._waiting.append(_Waiting(chunk, rows, size, done))
            self._waiting_bytes += size
            if self._thread is None:
                self._thread = threading.Thread(target=self._commit_all, name=f"commit {self.name}", daemon=True)
                self._thread.start()
            self._lock.notify_all()

    def open(self) -> None:
        """Accept rows again after `close`."""
        with self._lock:
            self._stopping = False

    def close(self, *, commit: bool) -> None:
        """Stop the thread.

        Args:
            commit: Whether waiting rows are still committed. Otherwise they are lost, as in a crash; they were not
                acknowledged.
        """
        with self._lock:
            if not commit:
                self._waiting.clear()
                self._waiting_bytes = 0
            self._stopping = True
            thread, self._thread = self._thread, None
            self._lock.notify_all()
        if thread is not None:
            thread.join()

    def _commit_all(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._waiting or self._stopping)
                if not self._waiting:
                    return
                group, self._waiting = self._waiting, []
                self._waiting_bytes = 0
                self._committing = True
                self._lock.notify_all()
            problem: BaseException | None = None
            try:
                self._storage.append([call.chunk for call in group], sum(call.rows for call in group))
            except Exception as error:  # noqa: BLE001 - whatever it is, the calls' streams must report it
                problem = error
            with self._lock:
                self._committing = False
                self._lock.notify_all()
            for call in group:
                with suppress(Exception):
                    call.done(problem)

    def _change(self, schema: TableSchema) -> None:
        self._storage.change_schema(schema)
        self._schema = schema
        self._version += 1

    def _exclusive(self) -> _Exclusive:
        return _Exclusive(self._lock, lambda: self._committing)

    def __repr__(self) -> str:
        return f"Table({self.name!r}, {self._schema.to_ddl()!r})"


@dataclass(frozen=True, slots=True)
class _Exclusive:
    """Holds the lock while no commit runs."""

    lock: threading.Condition
    busy: Callable[[], bool]

    def __enter__(self) -> None:
        self.lock.acquire()
        self.lock.wait_for(lambda: not self.busy())

    def __exit__(self, *_: object) -> None:
        self.lock.release()

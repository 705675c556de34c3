"""`Table`: one table of the emulator, and the thread that commits what arrives for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa

from beam_zerobus.emulator.access.grants import GRANTS, Grants
from beam_zerobus.emulator.limits import check_nesting
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.tables.altered import is_wider
from beam_zerobus.emulator.tables.layout import Layout, TableRules
from beam_zerobus.emulator.tables.partitions import PartitionWindow
from beam_zerobus.emulator.tables.publisher import Arrived, Publisher
from beam_zerobus.emulator.tables.storage import DeltaStorage, Storage
from beam_zerobus.errors import ConfigurationError, counted
from beam_zerobus.schema import Field, TableSchema
from beam_zerobus.schema.additions import Addition, with_additions

__all__ = ["Table"]

_LOG = logging.getLogger(__name__)
_MAX_WAITING_BYTES = 256 << 20
_RETRY_SECONDS = 1.0


class Table:
    """One table: its columns, its rows and who may write to it.

    Made by `Emulator.create_table`.

    Group commits: one thread commits everything that arrived during the last commit, and only then are the calls
    acknowledged. So many small calls make few commits, and a single call is committed at once.

    Invariants, all under `_lock`: `_waiting` holds, in the order of arrival, what is not being committed yet;
    `_committing` says that the thread is writing outside the lock; storage and schema change only while it does not;
    `_closed` is why no row is accepted, None if rows are.

    Attributes:
        name: ``catalog.schema.table``.
        path: The Delta table's directory; None if rows are kept in memory.
        layout: Partition columns and rescue column.
        description: Fields of Unity Catalog's description of the table that differ from a plain table's, such as
            ``{"table_type": "VIEW"}``; may be set at any time.
    """

    def __init__(
        self,
        name: str,
        schema: TableSchema,
        storage: Storage,
        path: Path | None = None,
        *,
        layout: Layout | None = None,
        rules: TableRules,
        grants: Grants,
    ) -> None:
        self.name = name
        self.path = path
        self.layout = layout or Layout()
        self._grants = grants
        self.description: Mapping[str, Any] = {}
        self._schema = schema
        self._version = 0
        self._last_number = max(column.number for column in schema.columns)
        self._storage = storage
        self._publisher: Publisher | None = None
        if isinstance(storage, DeltaStorage) and path is not None:
            self._publisher = Publisher(storage, path, rules.readable_after)
        self._partitions = PartitionWindow(self.layout.partitioned_by, rules.max_partitions)
        self._lock = threading.Condition()
        self._waiting: list[Arrived] = []
        self._waiting_bytes = 0
        self._committing = False
        self._thread: threading.Thread | None = None
        self._closed: Rejection | None = None

    @property
    def schema(self) -> TableSchema:
        """The columns."""
        return self._schema

    @property
    def version(self) -> int:
        """Changes when columns change."""
        return self._version

    def to_arrow(self) -> pa.Table:
        """Return all readable rows, in the table's canonical Arrow types and in no particular order."""
        with self._exclusive():
            return self._storage.read()

    def count_rows(self) -> int:
        """Return the number of readable rows."""
        with self._exclusive():
            return self._storage.count()

    def wait_for_rows(self, count: int, timeout: float = 10.0) -> pa.Table:
        """Wait until at least `count` rows are stored, and return all rows.

        Args:
            count: How many rows to wait for.
            timeout: Seconds to wait at most.

        Raises:
            TimeoutError: There are fewer after `timeout`; the message says how many.
        """
        deadline = time.monotonic() + timeout
        while (rows := self.count_rows()) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"table {self.name} has {rows} of {counted(count, 'row')} after {timeout:g} s")
            time.sleep(0.02)
        return self.to_arrow()

    def rejected_after_alter(self) -> list[pa.Table]:
        """Return the rows that were acknowledged and no longer fit the table, one Arrow table for each Parquet file.

        The files are in ``_zerobus/table_rejected_parquets/`` of the table's directory, as at the service.
        """
        with self._exclusive():
            return list(self._publisher.rejected()) if self._publisher is not None else []

    def add_column(self, ddl: str) -> None:
        """Add columns at the end, as ALTER TABLE ADD COLUMN does.

        Streams that are open go on; their rows have null in the new columns.

        Args:
            ddl: One or more nullable columns, such as ``"note STRING"``.

        Raises:
            ConfigurationError: The text does not describe columns, or a column is NOT NULL, has a name that is taken,
                or nests too deep.
        """
        self.add_fields([Addition((), column) for column in TableSchema.from_ddl(ddl).columns])

    def add_fields(self, additions: Sequence[Addition]) -> None:
        """Add columns, or fields of structs, as `add_column` does.

        Raises:
            ConfigurationError: As for `with_additions`, or one nests too deep.
        """
        with self._exclusive():
            schema = with_additions(self._schema, additions, self._last_number)
            check_nesting(schema)
            self._change(schema)
            self._last_number = max(self._last_number, *(column.number for column in schema.columns))

    def drop_column(self, name: str) -> None:
        """Drop a column and its values.

        A stream whose schema has the column is rejected at its next call (error 8001). Rows with the column that were
        acknowledged and are not readable yet never reach the table; see `rejected_after_alter`.

        Raises:
            ConfigurationError: The table has no such column, or no other, or is partitioned by it, or it is the rescue
                column.
        """
        with self._exclusive():
            dropped = self._column(name, "drop")
            if self.layout.uses(name):
                raise ConfigurationError(
                    f"column {name!r} of table {self.name} cannot be dropped: it is a partition column or the rescue "
                    "column; create another table"
                )
            self._change(TableSchema(tuple(column for column in self._schema.columns if column is not dropped)))

    def widen_column(self, name: str, type_ddl: str) -> None:
        """Give a column a type that holds all its values exactly, as ALTER TABLE ALTER COLUMN TYPE does.

        A protobuf or Arrow stream whose schema has the former type is rejected at its next call (error 8001).

        Args:
            name: The column.
            type_ddl: Its new type, such as ``"BIGINT"``: a wider integer, DOUBLE for FLOAT, DECIMAL with more digits,
                TIMESTAMP_NTZ for DATE.

        Raises:
            ConfigurationError: The table has no such column, or the type is not wider, or it is a partition column.
        """
        wider = TableSchema.from_ddl(f"c {type_ddl}").columns[0].type
        with self._exclusive():
            widened = self._column(name, "widen")
            if not is_wider(widened.type, wider):
                raise ConfigurationError(
                    f"column {name!r} of table {self.name} is {widened.type} and cannot become {wider}: "
                    "name a type that holds every value of it exactly"
                )
            if self.layout.uses(name):
                raise ConfigurationError(
                    f"column {name!r} of table {self.name} is a partition column: it keeps its type"
                )
            columns = [replace(column, type=wider) if column is widened else column for column in self._schema.columns]
            self._change(TableSchema(tuple(columns)))

    @property
    def grants(self) -> frozenset[str]:
        """The privileges that the client has for the table, those on its catalog and schema too."""
        return self._grants.effective(self._grants.client, self.name) & (GRANTS | {"ALL PRIVILEGES"})

    def revoke(self, *privileges: str) -> None:
        """Revoke privileges of the client, all if none is named; new streams are rejected (error 4024)."""
        self._grants.change(self.name, privileges or GRANTS, held=False)

    def grant(self, *privileges: str) -> None:
        """Grant privileges to the client, all that Zerobus needs if none is named."""
        self._grants.change(self.name, privileges or GRANTS, held=True)

    def check_partitions(self, rows: pa.RecordBatch) -> None:
        """Reject a call that writes too many partitions within five seconds.

        Raises:
            Rejection: RESOURCE_EXHAUSTED.
        """
        self._partitions.check(rows)

    def append(self, call: Arrived) -> None:
        """Queue rows for the next commit; blocks while too many bytes wait."""
        if self._publisher is None:
            # In memory a group commit would cost more than it saves: a thread would have to wake up.
            with self._lock:
                closed = self._closed
                if closed is None:
                    self._storage.append([call.chunk], call.rows)
            call.done(closed)
            return
        with self._lock:
            self._lock.wait_for(lambda: self._waiting_bytes < _MAX_WAITING_BYTES or self._closed is not None)
            closed = self._closed
            if closed is None:
                self._waiting.append(call)
                self._waiting_bytes += call.size
                self._ensure_thread(self._publisher)
                self._lock.notify_all()
        if closed is not None:
            call.done(closed)

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass for acknowledged rows that are not readable yet."""
        if self._publisher is not None:
            with self._exclusive():
                self._publisher.advance(seconds, self._schema)

    def open(self) -> None:
        """Accept rows again after `close`."""
        with self._lock:
            self._closed = None
            if self._publisher is not None and self._publisher.next_due() is not None:
                self._ensure_thread(self._publisher)

    def close(self, *, commit: bool, reason: Rejection | None = None) -> None:
        """Stop the thread.

        Args:
            commit: Whether waiting rows are still committed, and acknowledged rows become readable at once. Otherwise
                waiting rows are lost, as in a crash; they were not acknowledged.
            reason: What the calls that are lost get.
        """
        reason = reason or Rejection(grpc.StatusCode.UNAVAILABLE, "the emulator is being stopped")
        lost: list[Arrived] = []
        with self._lock:
            if not commit:
                lost, self._waiting = self._waiting, []
                self._waiting_bytes = 0
            self._closed = reason
            thread, self._thread = self._thread, None
            self._lock.notify_all()
        if thread is not None:
            thread.join()
        for call in lost:
            call.done(reason)
        if commit and self._publisher is not None:
            with self._exclusive():
                self._publisher.publish(self._schema, seconds=0.0)

    def _ensure_thread(self, publisher: Publisher) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._commit_all, args=(publisher,), name=f"commit {self.name}", daemon=True
            )
            self._thread.start()

    def _commit_all(self, publisher: Publisher) -> None:
        pause = 0.0
        while True:
            with self._lock:
                due = publisher.next_due()
                self._lock.wait_for(
                    lambda: self._waiting or self._closed is not None,
                    timeout=None if due is None else max(due, pause),
                )
                if not self._waiting and self._closed is not None:
                    return
                group, self._waiting = self._waiting, []
                self._waiting_bytes = 0
                self._committing = True
                self._lock.notify_all()
            problem = _attempt(partial(publisher.store, group, self._schema))
            pause = 0.0
            if publisher.next_due() == 0.0:
                late = _attempt(partial(publisher.publish, self._schema))
                if late is not None:
                    pause = _RETRY_SECONDS
                    _LOG.error("acknowledged rows of %s cannot be made readable yet: %s", self.name, late)
            with self._lock:
                self._committing = False
                self._lock.notify_all()
            for call in group:
                with suppress(Exception):
                    call.done(problem)

    def _column(self, name: str, change: str) -> Field:
        for column in self._schema.columns:
            if column.name == name:
                return column
        raise ConfigurationError(f"table {self.name} has no column {name!r} to {change}")

    def _change(self, schema: TableSchema) -> None:
        self._storage.change_schema(schema)
        self._schema = schema
        self._version += 1

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Hold the lock while no commit runs."""
        with self._lock:
            self._lock.wait_for(lambda: not self._committing)
            yield

    def __repr__(self) -> str:
        return f"Table({self.name!r}, {self._schema.to_ddl()!r})"


def _attempt(work: Callable[[], None]) -> Exception | None:
    """Do something; whatever goes wrong, the streams of the calls must report it."""
    try:
        work()
    except Exception as error:  # noqa: BLE001
        return error
    return None

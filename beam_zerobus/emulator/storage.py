"""Where rows are kept: a Delta table on disk, memory, or nowhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from beam_zerobus.schema import TableSchema

__all__ = ["Chunk", "DeltaStorage", "DiscardStorage", "MemoryStorage", "NotOurTableError", "Storage"]

_COLUMN = b"zerobus.column"
_CHECKPOINT_EVERY = 100

Chunk: TypeAlias = "pa.RecordBatch | Callable[[], pa.RecordBatch]"
"""Rows, or a function that decodes them from the bytes received, called when the table is read."""


@contextmanager
def _panics_as_errors() -> Iterator[None]:
    """Turn a panic of Delta's Rust library, which is not an `Exception`, into one; else it would end the thread."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise RuntimeError(f"the Delta library panicked: {error}") from None


class NotOurTableError(Exception):
    """A Delta table whose columns the emulator did not describe."""


class Storage(Protocol):
    """Keeps the rows of one table; used by one thread at a time."""

    def append(self, chunks: Sequence[Chunk], rows: int) -> None:
        """Keep rows. With a Delta table, they survive a kill of the process once this returns."""
        ...

    def read(self) -> pa.Table:
        """Return all rows, in the table's canonical Arrow types."""
        ...

    def count(self) -> int:
        """Return the number of rows."""
        ...

    def change_schema(self, schema: TableSchema) -> None:
        """Add or drop columns; rows stored before get null in new columns."""
        ...


class DeltaStorage:
    """A Delta table on disk.

    Each column's metadata holds the column as Unity Catalog describes it, so that protobuf field numbers, and types
    that are stored as another (VARIANT as string), are known again when the directory is opened.

    Made by `create` and `open`.
    """

    def __init__(self, delta: DeltaTable, schema: TableSchema, rows: int | None) -> None:
        self._delta = delta
        self.schema = schema
        self._arrow_schema = schema.to_canonical_arrow()
        self._rows = rows

    @classmethod
    def create(cls, path: Path, schema: TableSchema, name: str) -> DeltaStorage:
        """Make an empty table in a directory."""
        with _panics_as_errors():
            return cls(DeltaTable.create(path, schema=_stored_schema(schema), name=name), schema, 0)

    @classmethod
    def open(cls, path: Path, rows: int | None = None) -> DeltaStorage:
        """Open the table in a directory.

        Args:
            path: The directory.
            rows: The number of rows, if it is known.

        Raises:
            NotOurTableError: It has columns that the emulator did not make.
        """
        with _panics_as_errors():
            delta = DeltaTable(path)
            return cls(delta, _recovered_schema(delta), rows)

    def append(self, chunks: Sequence[Chunk], rows: int) -> None:
        """Commit rows as one version of the table."""
        with _panics_as_errors():
            write_deltalake(self._delta, _table(chunks, self._arrow_schema), mode="append")
        if self._rows is not None:
            self._rows += rows
        if self._delta.version() % _CHECKPOINT_EVERY == 0:
            # The log is read from the last checkpoint on; without any, opening a table gets slower with each commit.
            self._delta.create_checkpoint()

    def read(self) -> pa.Table:
        """Read the table's last version."""
        return self._delta.to_pyarrow_table().cast(self._arrow_schema)

    def count(self) -> int:
        """Count the rows of the table's last version."""
        if self._rows is None:
            self._rows = self._delta.to_pyarrow_dataset().count_rows()
        return self._rows

    def change_schema(self, schema: TableSchema) -> None:
        """Rewrite the table in one commit."""
        rows = _with_schema(self.read(), schema).cast(_stored_schema(schema))
        write_deltalake(self._delta, rows, mode="overwrite", schema_mode="overwrite")
        self.schema, self._arrow_schema = schema, schema.to_canonical_arrow()


class MemoryStorage:
    """Rows in memory; those not checked on arrival are decoded when the table is read."""

    def __init__(self, schema: TableSchema) -> None:
        self._schema = schema.to_canonical_arrow()
        self._chunks: list[Chunk] = []
        self._rows = 0

    def append(self, chunks: Sequence[Chunk], rows: int) -> None:
        """Keep the chunks."""
        self._chunks.extend(chunks)
        self._rows += rows

    def read(self) -> pa.Table:
        """Return all rows; raises `Rejection` if a call that was not checked is bad."""
        table = _table(self._chunks, self._schema)
        self._chunks = list(table.to_batches())
        return table

    def count(self) -> int:
        """Return the number of rows."""
        return self._rows

    def change_schema(self, schema: TableSchema) -> None:
        """Rewrite the rows."""
        self._chunks = list(_with_schema(self.read(), schema).to_batches())
        self._schema = schema.to_canonical_arrow()


class DiscardStorage:
    """Counts rows and forgets them."""

    def __init__(self, schema: TableSchema) -> None:
        self._schema = schema.to_canonical_arrow()
        self._rows = 0

    def append(self, chunks: Sequence[Chunk], rows: int) -> None:  # noqa: ARG002 - the other storages need them
        """Count the rows."""
        self._rows += rows

    def read(self) -> pa.Table:
        """Return no rows."""
        return self._schema.empty_table()

    def count(self) -> int:
        """Return the number of rows received."""
        return self._rows

    def change_schema(self, schema: TableSchema) -> None:
        """Take the new columns."""
        self._schema = schema.to_canonical_arrow()


def _table(chunks: Sequence[Chunk], schema: pa.Schema) -> pa.Table:
    batches = [chunk if isinstance(chunk, pa.RecordBatch) else chunk() for chunk in chunks]
    # A call decoded before a column was added or dropped still has the columns of that time.
    return pa.concat_tables(
        [_with_columns(pa.Table.from_batches([batch]), schema) for batch in batches] or [schema.empty_table()]
    )


def _with_schema(table: pa.Table, schema: TableSchema) -> pa.Table:
    return _with_columns(table, schema.to_canonical_arrow())


def _with_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    if table.schema.equals(schema):
        return table
    have = set(table.column_names)
    columns = [
        table.column(field.name) if field.name in have else pa.nulls(table.num_rows, field.type) for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _stored_schema(schema: TableSchema) -> pa.Schema:
    fields = []
    for field, column in zip(schema.to_canonical_arrow(), schema.to_unity_catalog(), strict=True):
        metadata = {_COLUMN: json.dumps(column)}
        if "comment" in column:
            metadata[b"comment"] = column["comment"]
        fields.append(field.with_metadata(metadata))
    return pa.schema(fields)


def _recovered_schema(delta: DeltaTable) -> TableSchema:
    fields = json.loads(delta.schema().to_json())["fields"]
    try:
        columns = [json.loads(field["metadata"][_COLUMN.decode()]) for field in fields]
    except KeyError:
        raise NotOurTableError from None
    return TableSchema.from_unity_catalog({"columns": columns})

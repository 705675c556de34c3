"""Where rows are kept: a Delta table on disk, memory, or nowhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from beam_zerobus.schema import TableSchema

__all__ = ["Chunk", "DeltaStorage", "DiscardStorage", "MemoryStorage", "Storage"]

_COLUMN = b"zerobus.column"
_CHECKPOINT_EVERY = 100

Chunk: TypeAlias = "pa.RecordBatch | Callable[[], pa.RecordBatch]"
"""Rows, or what makes them of the bytes that came when somebody reads the table."""


class Storage(Protocol):
    """Keeps the rows of one table; used by one thread at a time."""

    def append(self, chunks: Sequence[Chunk], rows: int) -> None:
        """Keep rows; what is kept when this returns survives a kill of the process, as far as the storage can."""
        ...

    def read(self) -> pa.Table:
        """Return all rows, in the table's canonical Arrow types."""
        ...

    def count(self) -> int:
        """Return the number of rows."""
        ...

    def change_schema(self, schema: TableSchema) -> None:
        """Add or drop columns; rows that are there get null in new columns."""
        ...


class DeltaStorage:
    """A Delta table on disk.

    Each column's metadata holds the column as Unity Catalog describes it, so that types which Delta stores as another
    (VARIANT as string) and protobuf field numbers are found again when the directory is opened.

    Args:
        path: The table's directory.
        schema: The columns of a new table; None opens one that exists.
        name: The name of a new table.
    """

    def __init__(self, path: Path, schema: TableSchema | None = None, name: str | None = None) -> None:
        if schema is None:
            self._delta = DeltaTable(path)
        else:
            path.mkdir(parents=True, exist_ok=True)
            self._delta = DeltaTable.create(path, schema=_stored_schema(schema), name=name)
        self.schema = schema if schema is not None else _recovered_schema(self._delta)
        self._arrow_schema = self.schema.to_canonical_arrow()
        self._rows: int | None = None if schema is None else 0

    def append(self, chunks: Sequence[Chunk], rows: int) -> None:
        """Commit rows as one version of the table."""
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
    """Rows in memory; those that were not checked on arrival are decoded when the table is read."""

    def __init__(self, schema: TableSchema) -> None:
        self._schema = schema.to_canonical_arrow()
        self._chunks: list[Chunk] = []
        self._rows = 0

    def append(self, chunks: Sequence[Chunk], rows: int) -> None:
        """Keep the chunks."""
        self._chunks.extend(chunks)
        self._rows += rows

    def read(self) -> pa.Table:
        """Return all rows; raises `Rejection` where a call that was not checked turns out to be bad."""
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
        """Return the number of rows that came."""
        return self._rows

    def change_schema(self, schema: TableSchema) -> None:
        """Take the new columns."""
        self._schema = schema.to_canonical_arrow()


def _table(chunks: Sequence[Chunk], schema: pa.Schema) -> pa.Table:
    batches = [chunk if isinstance(chunk, pa.RecordBatch) else chunk() for chunk in chunks]
    # A call that was decoded before a column was added or dropped has the columns of then.
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
    columns = [json.loads(field["metadata"][_COLUMN.decode()]) for field in fields]
    return TableSchema.from_unity_catalog({"columns": columns})

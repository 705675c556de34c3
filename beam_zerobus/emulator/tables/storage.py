"""Where rows are kept: a Delta table on disk, memory, or nowhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, TableFeatures, Transaction, write_deltalake

from beam_zerobus.emulator.tables.altered import convert
from beam_zerobus.emulator.tables.layout import Layout
from beam_zerobus.schema import TableSchema

__all__ = [
    "Chunk",
    "DeltaStorage",
    "DiscardStorage",
    "MemoryStorage",
    "NotOurTableError",
    "Storage",
    "described",
    "recover",
]

_COLUMN = b"zerobus.column"
_RESCUE = b"zerobus.rescue"
_LANDED = "zerobus.landed"
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
        """Add, drop or widen columns; rows stored before get null in new columns."""
        ...


class DeltaStorage:
    """A Delta table on disk.

    Each column's metadata holds the column as Unity Catalog describes it, so that protobuf field numbers, and types
    that are stored as another (VARIANT as string), are known again when the directory is opened.

    Made by `create` and `open`.
    """

    def __init__(self, delta: DeltaTable, schema: TableSchema, layout: Layout, rows: int | None) -> None:
        self._delta = delta
        self.schema = schema
        self.layout = layout
        self._arrow_schema = schema.to_canonical_arrow()
        self._rows = rows

    @classmethod
    def create(cls, path: Path, schema: TableSchema, name: str, layout: Layout) -> DeltaStorage:
        """Make an empty table in a directory."""
        with _panics_as_errors():
            stored = described(schema, layout.rescue_column)
            first = stored if not _hides_ntz(stored) else _with_plain_ntz(stored, layout)
            delta = DeltaTable.create(path, schema=first, name=name, partition_by=list(layout.partitioned_by) or None)
            if first is not stored:
                write_deltalake(delta, stored.empty_table(), mode="overwrite", schema_mode="overwrite")
            return cls(delta, schema, layout, 0)

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
            columns = {
                field["name"]: {key.encode(): value for key, value in field["metadata"].items()}
                for field in json.loads(delta.schema().to_json())["fields"]
            }
            layout = Layout(
                partitioned_by=tuple(delta.metadata().partition_columns),
                rescue_column=next((name for name, metadata in columns.items() if _RESCUE in metadata), None),
            )
            return cls(delta, recover(columns.values()), layout, rows)

    @property
    def landed(self) -> int:
        """The number that was given to `append` last; 0 for none."""
        return self._delta.transaction_version(_LANDED) or 0

    def append(self, chunks: Sequence[Chunk], rows: int, landed: int | None = None) -> None:
        """Commit rows as one version of the table, and a number with them: both are in the table, or neither is."""
        commit = None if landed is None else CommitProperties(app_transactions=[Transaction(_LANDED, landed)])
        with _panics_as_errors():
            write_deltalake(self._delta, _table(chunks, self._arrow_schema), mode="append", commit_properties=commit)
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
        rows = convert(self.read(), schema.to_canonical_arrow())
        rows = rows.cast(described(schema, self.layout.rescue_column))
        if _hides_ntz(rows.schema):
            self._delta.alter.add_feature(TableFeatures.TimestampWithoutTimezone, allow_protocol_versions_increase=True)
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
        self._chunks = list(convert(self.read(), schema.to_canonical_arrow()).to_batches())
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
    # A call decoded before the columns changed still has the columns of that time.
    return pa.concat_tables(
        [convert(pa.Table.from_batches([batch]), schema) for batch in batches] or [schema.empty_table()]
    )


def described(schema: TableSchema, rescue_column: str | None = None) -> pa.Schema:
    """Return the canonical Arrow schema of columns; each field's metadata describes its column for `recover`."""
    fields = []
    for field, column in zip(schema.to_canonical_arrow(), schema.to_unity_catalog(), strict=True):
        metadata = {_COLUMN: json.dumps(column)}
        if "comment" in column:
            metadata[b"comment"] = column["comment"]
        if field.name == rescue_column:
            metadata[_RESCUE] = "true"
        fields.append(field.with_metadata(metadata))
    return pa.schema(fields)


def _hides_ntz(schema: pa.Schema) -> bool:
    """Return whether a MAP has a TIMESTAMP_NTZ: the Delta library looks for none there, and rejects what it made."""

    def found(arrow_type: pa.DataType, *, in_map: bool = False) -> bool:
        if pa.types.is_timestamp(arrow_type):
            return in_map and arrow_type.tz is None
        in_map = in_map or pa.types.is_map(arrow_type)
        return any(found(arrow_type.field(index).type, in_map=in_map) for index in range(arrow_type.num_fields))

    return any(found(arrow_type) for arrow_type in schema.types)


def _with_plain_ntz(schema: pa.Schema, layout: Layout) -> pa.Schema:
    """Return a schema from which the Delta library sees that the table needs its feature for TIMESTAMP_NTZ."""
    name = max(schema.names, key=len) + "_"
    return pa.schema([pa.field(name, pa.timestamp("us")), *(schema.field(column) for column in layout.partitioned_by)])


def recover(columns: Iterable[Mapping[bytes, Any]]) -> TableSchema:
    """Return the columns from the metadata of the fields that `described` made.

    Raises:
        NotOurTableError: A field has no such metadata.
    """
    try:
        return TableSchema.from_unity_catalog({"columns": [json.loads(metadata[_COLUMN]) for metadata in columns]})
    except KeyError:
        raise NotOurTableError from None

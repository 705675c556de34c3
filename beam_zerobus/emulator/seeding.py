"""Rows that are in a table before a test begins: from Parquet, CSV, JSON, JSON lines and Arrow."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.row_request import store_rows
from beam_zerobus.emulator.rows import JsonReader, parse_json
from beam_zerobus.emulator.rows.ipc import read_batch, read_schema
from beam_zerobus.emulator.tables.json_rows import to_json_rows
from beam_zerobus.emulator.tables.table import Table
from beam_zerobus.errors import ConfigurationError
from beam_zerobus.schema import Array, Conformer, DeltaType, Map, Primitive, Struct, TableSchema
from beam_zerobus.schema.arrow import canonical_type
from beam_zerobus.schema.texts import FLOATS, INTEGERS, read_text

__all__ = ["MEDIA_TYPES", "seed", "seed_from_file"]

_MAX_BYTES = 256 << 20
_NUMBERS = (*INTEGERS, *FLOATS)
MEDIA_TYPES = {
    "application/json": "json",
    "application/x-ndjson": "jsonl",
    "text/csv": "csv",
    "application/vnd.apache.parquet": "parquet",
    "application/vnd.apache.arrow.stream": "arrow",
}
"""The formats by the media types of bodies."""

_SUFFIXES = {".ndjson": "jsonl", ".arrows": "arrow"} | {f".{name}": name for name in MEDIA_TYPES.values()}


def seed_from_file(table: Table, path: Path) -> int:
    """Add the rows of a file to a table; return how many.

    Args:
        table: The table.
        path: The file; its name's end says the format: ``.parquet``, ``.csv``, ``.json``, ``.jsonl`` or ``.arrow``.

    Raises:
        ConfigurationError: The file cannot be read, or a row does not fit the table; none was added then.
    """
    kind = _SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise ConfigurationError(f"{path}: the name must end with one of {', '.join(sorted(_SUFFIXES))}")
    try:
        return seed(table, kind, path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}; name a file that you may read") from None
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{path}: {error}; no row was added: correct the file, or the columns of {table.name}"
        ) from None


def seed(table: Table, kind: str, content: bytes) -> int:
    """Add rows to a table; return how many. They are not a client's call: no fault strikes them, none is counted.

    Args:
        table: The table.
        kind: ``"json"``, ``"jsonl"``, ``"csv"``, ``"parquet"`` or ``"arrow"``.
        content: The rows. Columns match by name; a nullable one may be missing.

    Raises:
        ConfigurationError: The content cannot be read, or a row does not fit the table; none was added then.
    """
    schema = table.schema
    try:
        rows = pa.Table.from_batches(_READERS[kind](content, table), schema=schema.to_canonical_arrow())
        for batch in rows.combine_chunks().to_batches():  # one at most
            store_rows(table, batch, batch.nbytes, schema)
    except Rejection as rejection:
        raise ConfigurationError(f"the rows cannot be added: {rejection.message}") from None
    except pa.ArrowException as error:
        raise ConfigurationError(f"the rows cannot be read as {kind}: {_without_values(error)}") from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the rows cannot be read as {kind}: {str(error)[:200]}") from None
    count: int = rows.num_rows
    return count


def _without_values(error: pa.ArrowException) -> str:
    """Return what pyarrow says, up to where it quotes a value or a row."""
    return re.split(r" '|: invalid value|, got \d+", str(error))[0][:200]


def _json(content: bytes, table: Table) -> Iterator[pa.RecordBatch]:
    rows = parse_json(content)
    if not isinstance(rows, list):
        raise ConfigurationError("the JSON must be an array of objects")
    yield _from_objects(rows, table)


def _jsonl(content: bytes, table: Table) -> Iterator[pa.RecordBatch]:
    yield _from_objects([parse_json(line) for line in content.splitlines() if line.strip()], table)


def _from_objects(rows: Sequence[Any], table: Table) -> pa.RecordBatch:
    return JsonReader(table.schema, table.layout.rescue_column).read_rows(rows)


def _csv(content: bytes, table: Table) -> Iterator[pa.RecordBatch]:
    from pyarrow import csv  # noqa: PLC0415 - an emulator that needs none starts sooner

    schema = table.schema
    parsing = csv.ParseOptions(newlines_in_values=True)
    kinds = {column.name.lower(): column.type for column in schema.columns}
    with csv.open_csv(pa.BufferReader(content), parse_options=parsing) as header:
        columns = {name: kinds[name.lower()] for name in header.schema.names if name.lower() in kinds}
    types = {
        name: pa.string() if kind in _NUMBERS else canonical_type(kind)
        for name, kind in columns.items()
        if not isinstance(kind, Array | Map | Struct)
    }
    options = csv.ConvertOptions(
        column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    rows = csv.read_csv(pa.BufferReader(content), parse_options=parsing, convert_options=options).combine_chunks()
    for index, name in enumerate(rows.column_names):
        kind = columns.get(name)
        if isinstance(kind, Primitive) and kind in _NUMBERS:
            rows = rows.set_column(index, name, _numbers(name, kind, rows.column(index)))
    return _from_arrow(rows.to_batches(), schema)


def _numbers(name: str, kind: Primitive, text: pa.ChunkedArray) -> pa.Array:
    """Return text as numbers, by the rules of `beam-zerobus send`: none is rounded, none becomes infinity."""
    numbers, misfits = read_text(pa.concat_arrays(text.chunks or [pa.array([], pa.string())]), kind, trim=True)
    if misfits:
        row = min(int(bad.argmax()) for bad in misfits.values())
        raise ConfigurationError(
            f"row {row} does not fit the table: column {name!r} is {kind} and has a value that does not fit it"
        )
    return numbers


def _parquet(content: bytes, table: Table) -> Iterator[pa.RecordBatch]:
    from pyarrow import parquet  # noqa: PLC0415 - as above

    with parquet.ParquetFile(pa.BufferReader(content)) as file:
        groups = range(file.metadata.num_row_groups)
        if sum(file.metadata.row_group(group).total_byte_size for group in groups) > _MAX_BYTES:
            raise ConfigurationError(f"the file has more than {_MAX_BYTES} bytes without compression; divide it")
        return _from_arrow(file.read(use_threads=False).to_batches(), table.schema)


def _arrow(content: bytes, table: Table) -> Iterator[pa.RecordBatch]:
    source = pa.BufferReader(content)
    messages = pa.ipc.MessageReader.open_stream(source)
    try:
        stream = read_schema(messages.read_next_message().metadata.to_pybytes())
    except StopIteration:
        raise ValueError("there is no schema") from None
    batches = [read_batch(one.metadata.to_pybytes(), one.body.to_pybytes(), stream) for one in messages]
    if source.tell() < len(content):
        raise ValueError("there are bytes after the end of the stream")
    return _from_arrow(batches, table.schema)


def _from_arrow(batches: Sequence[pa.RecordBatch], schema: TableSchema) -> Iterator[pa.RecordBatch]:
    conformer = Conformer(schema, names_options=False)  # the emulator has none of a sink's
    has_variant = any(_has_variant(column.type) for column in schema.columns)
    count = 0
    for batch in batches:
        batch.validate(full=True)
        conformed = conformer.conform(batch)
        if conformed.rejected:
            first = conformed.rejected[0]
            raise ConfigurationError(f"row {count + first.index} does not fit the table: {first.message}")
        count += batch.num_rows
        rows = pa.Table.from_batches([conformed.batch])
        if has_variant:
            # Only the reader of JSON looks into the text of a VARIANT.
            yield JsonReader(schema).read_rows(to_json_rows(rows, schema))
        else:
            yield from rows.cast(schema.to_canonical_arrow()).combine_chunks().to_batches()


def _has_variant(kind: DeltaType) -> bool:
    match kind:
        case Array(element, _):
            return _has_variant(element)
        case Map(key, value, _):
            return _has_variant(key) or _has_variant(value)
        case Struct(fields):
            return any(_has_variant(field.type) for field in fields)
        case _:
            return kind is Primitive.VARIANT


_READERS: dict[str, Callable[[bytes, Table], Iterator[pa.RecordBatch]]] = {
    "json": _json,
    "jsonl": _jsonl,
    "csv": _csv,
    "parquet": _parquet,
    "arrow": _arrow,
}

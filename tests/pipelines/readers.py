"""The readers of files without a pipeline around them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.filesystem import FileMetadata
from apache_beam.pvalue import TaggedOutput

from beam_zerobus.programs.open_files import FilePart, parts_of
from beam_zerobus.programs.read_avro import ReadRecords
from beam_zerobus.programs.read_csv import CsvMeaning, ReadCsv
from beam_zerobus.programs.read_json import ReadObjects
from beam_zerobus.programs.read_parquet import FindRowGroups, ReadRowGroups
from beam_zerobus.schema import TableSchema
from beam_zerobus.sink.rows_of_file import RowsOfFile

TABLE = "main.files.readings"


def metadata(path: Path) -> FileMetadata:
    return FileMetadata(os.fspath(path), path.stat().st_size)


def csv_rows(
    path: Path, ddl: str, *, dead_letters: bool = True, **meaning: Any
) -> tuple[list[dict[str, Any]], list[Any]]:
    """Return the rows that can be read, and the rejected ones as failed rows."""
    reader = ReadCsv(CsvMeaning(table=TABLE, schema=TableSchema.from_ddl(ddl), **meaning), dead_letters=dead_letters)
    rows: list[dict[str, Any]] = []
    failed: list[Any] = []
    for output in reader.process(metadata(path)):
        if isinstance(output, TaggedOutput):
            failed += [beam.Row(**letter) for letter in output.value.letters()]
        else:
            rows += output.rows.to_pylist()
    return rows, failed


def csv_lines(path: Path, ddl: str) -> list[int]:
    """Return the line of each row that can be read."""
    reader = ReadCsv(CsvMeaning(table=TABLE, schema=TableSchema.from_ddl(ddl)), dead_letters=True)
    outputs = reader.process(metadata(path))
    return [int(line) for rows in outputs if isinstance(rows, RowsOfFile) for line in rows.numbers]


def json_lines(path: Path, part_bytes: int | None = None) -> list[bytes]:
    return [line for part in _parts(path, part_bytes) for rows in ReadObjects().process(part) for line in rows.rows]


def avro_records(path: Path, part_bytes: int | None = None) -> list[Any]:
    return [record for part in _parts(path, part_bytes) for rows in ReadRecords().process(part) for record in rows.rows]


def parquet_tables(path: Path) -> list[pa.Table]:
    groups = FindRowGroups().process(metadata(path))
    return [rows.rows for group in groups for rows in ReadRowGroups().process(group)]


def _parts(path: Path, part_bytes: int | None) -> list[FilePart]:
    if part_bytes is None:
        return list(parts_of(metadata(path)))
    size = path.stat().st_size
    stops = [*range(part_bytes, size, part_bytes), None]
    return [FilePart(os.fspath(path), part_bytes * number, stop) for number, stop in enumerate(stops)]

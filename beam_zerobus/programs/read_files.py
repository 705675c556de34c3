"""Finds files, determines their formats, and reads each format into elements for the sink."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import apache_beam as beam
import pyarrow as pa
from apache_beam.io import fileio
from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.pvalue import PCollection

from beam_zerobus.programs.command import InputError, literal
from beam_zerobus.programs.open_files import COMPRESSED, parts_of
from beam_zerobus.programs.read_avro import ReadRecords
from beam_zerobus.programs.read_csv import REJECTED, CsvMeaning, ReadCsv
from beam_zerobus.programs.read_json_lines import ReadLines
from beam_zerobus.programs.read_parquet import FindRowGroups, ReadRowGroups
from beam_zerobus.sink.failed_rows import FailedRows
from beam_zerobus.sink.rows_of_file import RowsOfFile

__all__ = ["FORMATS", "FileFormat", "find_files", "patterns_by_format", "read_csv", "read_rows"]

FileFormat: TypeAlias = Literal["parquet", "csv", "jsonl", "avro"]

FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)

_SUFFIXES: Mapping[str, FileFormat] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".avro": "avro",
}


def patterns_by_format(patterns: Sequence[str], file_format: FileFormat | None) -> dict[FileFormat, list[str]]:
    """Group file patterns by format: the one given, or the one of their endings.

    Raises:
        InputError: The ending of a pattern is that of no format.

    Example:
        >>> patterns_by_format(["in/*.csv.gz", "more.ndjson"], None)
        {'csv': ['in/*.csv.gz'], 'jsonl': ['more.ndjson']}
    """
    sorted_patterns: defaultdict[FileFormat, list[str]] = defaultdict(list)
    for pattern in patterns:
        sorted_patterns[file_format or _format_of(pattern)].append(pattern)
    return dict(sorted_patterns)


def _format_of(pattern: str) -> FileFormat:
    name = pattern.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    for suffix, file_format in _SUFFIXES.items():
        if name.endswith(suffix):
            return file_format
    raise InputError(
        f"The ending of {pattern} is that of no known format: give --format {'|'.join(FORMATS)}, "
        f"or a pattern that ends in {', '.join(_SUFFIXES)}"
    )


def find_files(patterns: Sequence[str]) -> list[FileMetadata]:
    """Return the files that match; each pattern must match at least one.

    Raises:
        InputError: A pattern matches no file.
    """
    found: list[FileMetadata] = []
    escaped = [literal(pattern) for pattern in patterns]
    for pattern, match in zip(patterns, FileSystems.match(escaped), strict=True):
        if not match.metadata_list:
            raise InputError(f"No file matches {pattern}: check the path, and put patterns in quotes")
        found += match.metadata_list
    return found


def read_rows(pipeline: beam.Pipeline, file_format: FileFormat, patterns: Sequence[str]) -> PCollection[Any]:
    """Read Parquet, JSON lines or Avro: row groups as Tables, lines as bytes, records as dicts, with their places."""
    files = _files(pipeline, file_format, patterns)
    divide: beam.PTransform[Any, Any] = beam.FlatMap(parts_of)
    read: beam.DoFn
    match file_format:
        case "parquet":
            divide, read = beam.ParDo(FindRowGroups()), ReadRowGroups()
        case "avro":
            read = ReadRecords()
        case _:
            read = ReadLines()
    return (
        files
        | f"Divide {file_format}" >> divide
        | f"Spread parts of {file_format}" >> beam.Reshuffle()
        | f"Read {file_format}" >> beam.ParDo(read).with_output_types(RowsOfFile)
    )


def read_csv(
    pipeline: beam.Pipeline, patterns: Sequence[str], meaning: CsvMeaning, *, dead_letters: bool
) -> tuple[PCollection[pa.RecordBatch], PCollection[Any]]:
    """Read CSV into RecordBatches; the second result is rows that cannot be read, as a sink's `failed_rows`."""
    read = _files(pipeline, "csv", patterns) | "Read csv" >> beam.ParDo(
        ReadCsv(meaning, dead_letters=dead_letters)
    ).with_output_types(pa.RecordBatch, **{REJECTED: FailedRows}).with_outputs(REJECTED, main="rows")
    return read["rows"], read[REJECTED]


def _files(pipeline: beam.Pipeline, label: str, patterns: Sequence[str]) -> PCollection[FileMetadata]:
    return (
        pipeline
        | f"Find {label}" >> beam.Create([literal(pattern) for pattern in patterns])
        | f"Match {label}" >> fileio.MatchAll()
        | f"Spread {label}" >> beam.Reshuffle()
    )

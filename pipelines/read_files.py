"""Which files there are, in which format, and how each format is read into what the sink takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import apache_beam as beam
import pyarrow as pa
from apache_beam.coders import BytesCoder
from apache_beam.io import ReadAllFromAvro, ReadAllFromParquetBatched, ReadAllFromText, fileio
from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.pvalue import PCollection

from pipelines.command import InputError
from pipelines.read_csv import REJECTED, CsvMeaning, ReadCsv

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
_COMPRESSED = (".gz", ".bz2", ".zst", ".xz")


def patterns_by_format(patterns: Sequence[str], file_format: FileFormat | None) -> dict[FileFormat, list[str]]:
    """Sort file patterns by format: the one given, or what their ends tell.

    Raises:
        InputError: The end of a pattern tells no format.

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
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    for suffix, file_format in _SUFFIXES.items():
        if name.endswith(suffix):
            return file_format
    raise InputError(
        f"The end of {pattern} tells no format: give --format {'|'.join(FORMATS)}, "
        f"or a pattern that ends in {', '.join(_SUFFIXES)}"
    )


def find_files(patterns: Sequence[str]) -> list[FileMetadata]:
    """Return the files that match; each pattern must find one at least.

    Raises:
        InputError: A pattern finds no file.
    """
    found: list[FileMetadata] = []
    for pattern, match in zip(patterns, FileSystems.match(list(patterns)), strict=True):
        if not match.metadata_list:
            raise InputError(f"No file matches {pattern}: check the path, and put patterns in quotes")
        found += match.metadata_list
    return found


def read_rows(pipeline: beam.Pipeline, file_format: FileFormat, patterns: Sequence[str]) -> PCollection[Any]:
    """Read Parquet, JSON lines or Avro: row groups as Tables, lines as bytes, records as dicts."""
    files = pipeline | f"Find {file_format}" >> beam.Create(patterns)
    match file_format:
        case "parquet":
            return files | "Read parquet" >> ReadAllFromParquetBatched().with_output_types(pa.Table)
        case "avro":
            return files | "Read avro" >> ReadAllFromAvro().with_output_types(dict[str, Any])
        case _:
            lines = files | "Read jsonl" >> ReadAllFromText(coder=BytesCoder()).with_output_types(bytes)
            return lines | "Leave out empty lines" >> beam.Filter(len)


def read_csv(
    pipeline: beam.Pipeline, patterns: Sequence[str], meaning: CsvMeaning, *, dead_letters: bool
) -> tuple[PCollection[pa.RecordBatch], PCollection[Any]]:
    """Read CSV into RecordBatches; rows that cannot be read come second, as a sink's `failed_rows`."""
    read = (
        pipeline
        | "Find csv" >> beam.Create(patterns)
        | "Match csv" >> fileio.MatchAll()
        | "Spread csv" >> beam.Reshuffle()
        | "Read csv" >> beam.ParDo(ReadCsv(meaning, dead_letters=dead_letters)).with_outputs(REJECTED, main="rows")
    )
    return read["rows"], read[REJECTED]

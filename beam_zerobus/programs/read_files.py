"""Reads files of each format into elements for the sink."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystem import FileMetadata
from apache_beam.pvalue import PCollection

from beam_zerobus.programs.find_files import FileFormat
from beam_zerobus.programs.open_files import FilePart, parts_of
from beam_zerobus.programs.read_avro import ReadRecords
from beam_zerobus.programs.read_csv import REJECTED, CsvMeaning, ReadCsv
from beam_zerobus.programs.read_json import ReadObjects, parts_of_json
from beam_zerobus.programs.read_parquet import FindRowGroups, ReadRowGroups
from beam_zerobus.programs.written_rows import NumberedFile, ReadUnwritten, Spans
from beam_zerobus.sink.failed_rows import FailedRows
from beam_zerobus.sink.rows_of_file import RowsOfFile

__all__ = ["read_csv", "read_numbered", "read_rows"]


def read_rows(
    pipeline: beam.Pipeline, file_format: FileFormat, files: Sequence[FileMetadata], label: str
) -> PCollection[Any]:
    """Read Parquet, JSON or Avro: row groups as Tables, objects as bytes, records as dicts, with their places."""
    divide: beam.PTransform[Any, Any]
    read: beam.DoFn
    match file_format:
        case "parquet":
            divide, read = beam.ParDo(FindRowGroups()), ReadRowGroups()
        case "avro":
            divide, read = beam.FlatMap(parts_of), ReadRecords()
        case _:
            divide, read = beam.FlatMap(parts_of_json), ReadObjects()
    return (
        _spread(pipeline, label, files)
        | f"Divide {label}" >> divide
        | f"Spread parts of {label}" >> beam.Reshuffle()
        | f"Read {label}" >> beam.ParDo(read).with_output_types(RowsOfFile)
    )


def read_csv(
    pipeline: beam.Pipeline, files: Sequence[FileMetadata], meaning: CsvMeaning, label: str, *, dead_letters: bool
) -> tuple[PCollection[RowsOfFile], PCollection[Any]]:
    """Read CSV into RecordBatches; the second result is rows that cannot be read, as a sink's `failed_rows`."""
    read = _spread(pipeline, label, files) | f"Read {label}" >> beam.ParDo(
        ReadCsv(meaning, dead_letters=dead_letters)
    ).with_output_types(RowsOfFile, **{REJECTED: FailedRows}).with_outputs(REJECTED, main="rows")
    return read["rows"], read[REJECTED]


def read_numbered(
    pipeline: beam.Pipeline,
    file_format: FileFormat,
    files: Sequence[NumberedFile],
    written: dict[int, Spans],
    *,
    meaning: CsvMeaning | None,
    label: str,
) -> tuple[PCollection[Any], PCollection[Any]]:
    """Read the rows that are not written yet, each file as a whole, since only so its rows have numbers.

    Args:
        pipeline: The pipeline.
        file_format: The format of all the files.
        files: The files.
        written: The rows of each file that are written.
        meaning: How CSV represents rows; None for other formats.
        label: Stands for format and table in the names of steps.

    Returns:
        The rows, and those that cannot be read, as a sink's `failed_rows`.
    """
    if meaning is not None:
        whole: Callable[[FileMetadata], Iterator[Any]] = ReadCsv(meaning, dead_letters=True).process
    else:
        whole = {"parquet": _tables, "avro": _records, "jsonl": _objects}[file_format]
    read = _spread(pipeline, label, files) | f"Read {label}" >> beam.ParDo(
        ReadUnwritten(whole, written)
    ).with_output_types(RowsOfFile, **{REJECTED: FailedRows}).with_outputs(REJECTED, main="rows")
    return read["rows"], read[REJECTED]


def _tables(file: FileMetadata) -> Iterator[RowsOfFile]:
    for groups in FindRowGroups().process(file):
        yield from ReadRowGroups().process(groups)


def _records(file: FileMetadata) -> Iterator[RowsOfFile]:
    return ReadRecords().process(FilePart(file.path))


def _objects(file: FileMetadata) -> Iterator[RowsOfFile]:
    return ReadObjects().process(FilePart(file.path))


def _spread(pipeline: beam.Pipeline, label: str, files: Sequence[Any]) -> PCollection[Any]:
    return pipeline | f"Files of {label}" >> beam.Create(files) | f"Spread {label}" >> beam.Reshuffle()

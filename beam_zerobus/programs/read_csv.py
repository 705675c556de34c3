"""CSV files as RecordBatches in the types of a table, with the line of each row.

A file is read in blocks of whole records. Arrow splits a block into values, which are text until they are cast to the
types of the table's columns, a column at a time. A row is rejected alone if its text does not fit its columns, if it
has too many or too few values, or if text follows a closing quote.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, TypeAlias

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.io.filesystem import FileMetadata
from apache_beam.pvalue import TaggedOutput
from pyarrow import csv as arrow_csv

from beam_zerobus.errors import ConversionError, RowError, counted
from beam_zerobus.options import OnUnknownFields
from beam_zerobus.programs.command import InputError
from beam_zerobus.programs.csv_blocks import Block, blocks
from beam_zerobus.programs.csv_columns import Column
from beam_zerobus.programs.csv_records import records_of
from beam_zerobus.programs.open_files import naming, opened
from beam_zerobus.schema import Conformer, Primitive, RowErrorType, TableSchema
from beam_zerobus.schema.reasons import Faults, Place
from beam_zerobus.schema.time_rules import TimeRules
from beam_zerobus.schema.unknown_fields import IgnoreUnknown
from beam_zerobus.sink.dead_letters import RawText
from beam_zerobus.sink.failed_rows import FailedRows
from beam_zerobus.sink.rows_of_file import RowsOfFile

__all__ = ["REJECTED", "CsvMeaning", "ReadCsv", "check_header"]

REJECTED = "rejected"

_STAGE = "reading"
_SHOWN_REASONS = 3
_ELEMENTS_AT_ONCE = 1_000
_HEADER_BYTES = 64 << 10  # where the header mostly ends

_TEXT = re.compile(rb"[^\r\n]")

Rejected: TypeAlias = "tuple[list[RowError], Iterator[Any]]"
"""Why rows are rejected, and the rows as elements: made one after another, since there may be very many."""


@dataclass(frozen=True, kw_only=True)
class CsvMeaning:
    """How CSV text represents the rows of a table.

    Attributes:
        table: ``catalog.schema.table``.
        schema: The table's schema, which gives the type of each column.
        on_unknown_fields: Columns that the table does not have fail the file, also with ``"add"``, as CSV has no types;
            or they are left out, or rescued as text.
        delimiter: The character between two values.
        null_values: Unquoted text that means null; in quotes it is text.
        times: What timestamps may leave open.
    """

    table: str
    schema: TableSchema
    on_unknown_fields: OnUnknownFields = "reject"
    delimiter: str = ","
    null_values: tuple[str, ...] = ("",)
    times: TimeRules = TimeRules()  # noqa: RUF009 - frozen


class ReadCsv(beam.DoFn):
    """Reads files into RecordBatches with lines; rows that cannot be read go to the output `REJECTED`.

    Args:
        meaning: How the text represents rows.
        dead_letters: Emit rejected rows to the output `REJECTED`; otherwise they fail the bundle.
    """

    def __init__(self, meaning: CsvMeaning, *, dead_letters: bool) -> None:
        super().__init__()
        self._meaning = meaning
        self._dead_letters = dead_letters

    def process(self, file: FileMetadata) -> Iterator[Any]:
        """Read one file.

        Raises:
            InputError: The file cannot be read, or a quote is not closed.
            ConversionError: Its header does not fit the table; or a row is rejected and must not be a dead letter.
        """
        table = self._meaning.table
        for rows, (errors, elements) in _rows(file.path, self._meaning):
            if errors and not self._dead_letters:
                raise _unreadable(errors, rows.num_rows + len(errors), table)
            if rows.num_rows:
                yield rows
            # In parts, since there may be very many.
            for start in range(0, len(errors), _ELEMENTS_AT_ONCE):
                part = list(islice(elements, _ELEMENTS_AT_ONCE))
                reasons = errors[start : start + _ELEMENTS_AT_ONCE]
                yield TaggedOutput(REJECTED, FailedRows.of(part, reasons, table=table))


def _unreadable(errors: list[RowError], rows: int, table: str) -> ConversionError:
    more = f"; and {len(errors) - _SHOWN_REASONS} more" if len(errors) > _SHOWN_REASONS else ""
    reasons = "; ".join(error.message for error in errors[:_SHOWN_REASONS])
    return ConversionError(
        f"{len(errors)} of {counted(rows, 'row')} rejected for table {table}: {reasons}{more}", row_errors=errors
    )


def check_header(path: str, meaning: CsvMeaning) -> None:
    """Check that the header of a file fits the table.

    Raises:
        InputError: The file cannot be read.
        ConversionError: The header does not fit; the message names each wrong column and the remedy.
    """
    with naming(path), opened(path) as stream:
        for block in blocks(path, stream, meaning.delimiter):
            _header(path, block, meaning)
            return


def _header(path: str, block: Block, meaning: CsvMeaning) -> tuple[list[str], dict[str, Column], int]:
    """Return the names in the header, the columns that the table has, and where the rows start.

    Raises:
        ConversionError: The header does not fit the table.
    """
    records = records_of(block.data[:_HEADER_BYTES], ord(meaning.delimiter), block.quotes)
    if len(records.starts) < 2 and len(block.data) > _HEADER_BYTES:
        records = block.records(meaning.delimiter)
    if not len(records.starts):
        return [], {}, 0
    end = int(records.ends[0])
    # Text that is not UTF-8 is rejected in the rows.
    text = block.data[records.starts[0] : end].decode("utf-8", errors="replace")
    names = next(csv.reader([text], delimiter=meaning.delimiter))
    types = {field.name.lower(): field.type for field in meaning.schema.columns}
    if meaning.on_unknown_fields == "rescue":
        types = dict.fromkeys((name.lower() for name in names), Primitive.STRING) | types
    columns = {name: Column(name, types[name.lower()], path, meaning.times) for name in names if name.lower() in types}
    no_rows = [columns[name].no_values if name in columns else pa.array([], pa.string()) for name in names]
    ignored: IgnoreUnknown = "nulls" if meaning.on_unknown_fields == "add" else meaning.on_unknown_fields != "reject"
    conformer = Conformer(meaning.schema, ignore_unknown_fields=ignored)
    try:
        conformer.conform(pa.RecordBatch.from_arrays(no_rows, names=names))
    except ConversionError as error:
        raise ConversionError(f"The header of {path}: {error}") from error
    if not columns:
        raise ConversionError(f"The header of {path} names no column of the table: check it, and --delimiter")
    return names, columns, end


def _rows(path: str, meaning: CsvMeaning) -> Iterator[tuple[RowsOfFile, Rejected]]:
    """Yield the rows of a file: those that can be read, and the others."""
    names: list[str] = []
    columns: dict[str, Column] = {}
    line = 0
    with naming(path, lambda: f"after line {line}" if line else ""), opened(path) as stream:
        for block in blocks(path, stream, meaning.delimiter):
            if not names:
                names, columns, start = _header(path, block, meaning)
                block = replace(block, start=start)  # noqa: PLW2901 - the header is not a row
            if names:
                yield _read(path, block, names, columns, meaning)
            line = block.line


def _read(
    path: str, block: Block, names: list[str], columns: dict[str, Column], meaning: CsvMeaning
) -> tuple[RowsOfFile, Rejected]:
    malformed: list[Any] = []
    errors: list[RowError] = []
    texts = None if len(block.quotes.stray) else _split(block.data, block.start, names, columns, meaning)
    if texts is not None:
        lines = block.lines(texts.num_rows)
    else:
        data, lines, malformed, errors = _without_malformed(path, block, len(names), meaning)
        texts = _split(data, 0, names, columns, meaning)
    if texts is None:
        raise InputError(f"{path}, line {block.line}: this block cannot be read as CSV; check --delimiter")
    if len(lines) != texts.num_rows:
        raise InputError(f"{path}, line {block.line}: the rows of this block cannot be counted; check its quotes")
    faults = Faults()
    place = Place(faults)
    arrays = [columns[name].typed(text, place) for name, text in zip(columns, texts.columns, strict=True)]
    batch = pa.RecordBatch.from_arrays(arrays, names=list(columns))
    if not faults:
        return RowsOfFile(batch, path, "line", lines), (errors, iter(malformed))
    unfit = faults.row_errors(_STAGE)
    elements = _elements(batch, texts, list(columns.values()), [error.index for error in unfit])
    errors += [_at(path, lines, error) for error in unfit]
    kept = faults.kept(batch.num_rows)
    rows = RowsOfFile(batch.take(pa.array(kept)), path, "line", lines[kept])
    return rows, (errors, chain(malformed, elements))


def _at(path: str, lines: np.ndarray, error: RowError) -> RowError:
    return RowError(error.index, error.error_type, f"{path}, line {lines[error.index]}, {error.message}", _STAGE)


def _split(
    data: bytes, start: int, names: list[str], columns: dict[str, Column], meaning: CsvMeaning
) -> pa.RecordBatch | None:
    """Return the values of records as text; None if a record does not have the header's number of values."""
    wanted = list(columns)
    if not _TEXT.search(data, start):
        return pa.RecordBatch.from_arrays([pa.array([], pa.binary())] * len(wanted), names=wanted)
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(pa.py_buffer(data).slice(start)),
            # Arrow would cut blocks of its own otherwise, and loses a line feed between two of them.
            arrow_csv.ReadOptions(block_size=len(data) + 1, use_threads=False, column_names=names),
            arrow_csv.ParseOptions(delimiter=meaning.delimiter, newlines_in_values=True),
            arrow_csv.ConvertOptions(
                include_columns=wanted,
                # Bytes: one value that is not UTF-8 would fail the whole block.
                column_types=dict.fromkeys(wanted, pa.binary()),
                null_values=list(meaning.null_values),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None
    (batch,) = table.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]
    return batch


def _without_malformed(
    path: str, block: Block, values: int, meaning: CsvMeaning
) -> tuple[bytes, np.ndarray, list[Any], list[RowError]]:
    """Return a block without records that have stray quotes or a wrong number of values.

    Returns:
        The text of the other records, the line of each, the rejected rows and why they are rejected.
    """
    records = block.records(meaning.delimiter)
    lines = block.lines_of(records.starts)
    stray = np.zeros(len(lines), dtype=bool)
    stray[np.searchsorted(records.starts, block.quotes.stray, side="right") - 1] = True
    bad = stray | (records.values != values)
    rejected, errors = [], []
    for index in np.flatnonzero(bad).tolist():
        text = block.data[records.starts[index] : records.ends[index]]
        count = records.values[index]
        what = (
            "text follows a closing quote; double quotes inside a value"
            if stray[index]
            else f"it has {count} values, the header {values}; correct the row"
        )
        errors.append(RowError(0, RowErrorType.INVALID_TEXT.value, f"{path}, line {lines[index]}: {what}", _STAGE))
        rejected.append(_text(text))
    spans = zip(records.starts[~bad].tolist(), records.ends[~bad].tolist(), strict=True)
    return b"".join(block.data[start:end] + b"\n" for start, end in spans), lines[~bad], rejected, errors


def _elements(
    batch: pa.RecordBatch, texts: pa.RecordBatch, columns: Sequence[Column], rows: list[int]
) -> Iterator[dict[str, Any]]:
    """Yield rows as dicts: numbers and booleans as values, everything else as the text in the file."""
    names = batch.schema.names
    for start in range(0, len(rows), _ELEMENTS_AT_ONCE):
        chosen = pa.array(rows[start : start + _ELEMENTS_AT_ONCE], pa.int64())
        raw = [[None if value is None else _text(value) for value in text.take(chosen).to_pylist()] for text in texts]
        read = [
            text if column.is_text else _or(values.take(chosen).to_pylist(), text)
            for column, values, text in zip(columns, batch.columns, raw, strict=True)
        ]
        for values in zip(*read, strict=True):
            yield dict(zip(names, values, strict=True))


def _or(values: list[Any], texts: list[str | RawText | None]) -> list[Any]:
    return [text if value is None else value for value, text in zip(values, texts, strict=True)]


def _text(value: bytes) -> str | RawText:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return RawText(value)

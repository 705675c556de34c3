"""CSV files as RecordBatches in the types of a table, with the line of each row.

A file is read in blocks of whole records. Arrow splits a block into values, which are text until they are cast to the
types of the table's columns, a column at a time. A row is rejected alone if its text does not fit its columns, if it
has too many or too few values, or if text follows a closing quote.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.io.filesystem import FileMetadata
from apache_beam.pvalue import TaggedOutput
from pyarrow import csv as arrow_csv

from beam_zerobus.errors import ConversionError, RowError, RowErrors, counted
from beam_zerobus.options import OnUnknownFields
from beam_zerobus.programs.command import InputError
from beam_zerobus.programs.csv_blocks import Block, blocks
from beam_zerobus.programs.csv_columns import Column
from beam_zerobus.programs.csv_records import records_of
from beam_zerobus.programs.open_files import naming, opened
from beam_zerobus.schema import Conformer, Primitive, RowErrorType, TableSchema
from beam_zerobus.schema.reasons import Faults, Place, Reason
from beam_zerobus.schema.time_rules import TimeRules
from beam_zerobus.schema.unknown_fields import IgnoreUnknown
from beam_zerobus.sink.failed_rows import FailedRows
from beam_zerobus.sink.raw_text import RawText, as_text
from beam_zerobus.sink.rows_in_columns import RowsInColumns
from beam_zerobus.sink.rows_of_file import Places, RowsOfFile, chosen

__all__ = ["REJECTED", "CsvMeaning", "ReadCsv", "check_header"]

REJECTED = "rejected"

_STAGE = "reading"
_SHOWN_REASONS = 3
_ELEMENTS_AT_ONCE = 1_000
_HEADER_BYTES = 64 << 10  # where the header mostly ends

_TEXT = re.compile(rb"[^\r\n]")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rejected:
    """Rows of a block that cannot be read.

    Attributes:
        errors: Why each is rejected.
        places: The line of each.
        elements: Makes elements of some of them; there may be very many.
    """

    errors: RowErrors
    places: Places
    elements: Callable[[slice], Sequence[Any] | RowsInColumns]

    def messages(self) -> list[str]:
        """Return the message of each."""
        return self.places.of(error.message for error in self.errors)

    def failed(self, table: str) -> Iterator[FailedRows]:
        """Yield them as elements of a sink's `failed_rows`."""
        for start in range(0, len(self.errors), _ELEMENTS_AT_ONCE):
            some = slice(start, start + _ELEMENTS_AT_ONCE)
            yield FailedRows.of(self.elements(some), self.errors[some], table=table, places=self.places[some])


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
        times: How timestamps without a time zone or a unit are read.
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
        for rows, rejected in _rows(file.path, self._meaning):
            if rejected and not self._dead_letters:
                raise _unreadable(rejected, np.asarray(rows.numbers), table)
            if rows.num_rows:
                yield rows
            for some in rejected:
                for failed in some.failed(table):
                    yield TaggedOutput(REJECTED, failed)


def _unreadable(rejected: list[_Rejected], good_lines: np.ndarray, table: str) -> ConversionError:
    """Return an error with rejected rows in the order of lines, each with its position among the rows of the block."""
    lines = np.sort(np.concatenate([good_lines, *(some.places.numbers for some in rejected)]))
    errors = [
        RowError(index, error.error_type, message, error.stage)
        for some in rejected
        for index, error, message in zip(
            np.searchsorted(lines, some.places.numbers).tolist(), some.errors, some.messages(), strict=True
        )
    ]
    errors.sort(key=lambda error: error.index)
    more = f"; and {len(errors) - _SHOWN_REASONS} more" if len(errors) > _SHOWN_REASONS else ""
    reasons = "; ".join(error.message for error in errors[:_SHOWN_REASONS])
    return ConversionError(
        f"{len(errors)} of {counted(len(lines), 'row')} rejected for table {table}: {reasons}{more}",
        row_errors=errors,
    )


def check_header(path: str, meaning: CsvMeaning) -> None:
    """Check that the header of a file fits the table.

    Raises:
        InputError: The file cannot be read.
        ConversionError: The header does not fit; the message names each wrong column and the remedy.
    """
    with naming(path) as source, opened(path) as stream:
        for block in blocks(source, stream, meaning.delimiter):
            _header(source, block, meaning)
            return


def _header(source: str, block: Block, meaning: CsvMeaning) -> tuple[list[str], dict[str, Column], int]:
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
    header = block.data[records.starts[0] : end]
    text = header.decode("utf-8", errors="replace")  # a column that is left out may have any name
    names = next(csv.reader([text], delimiter=meaning.delimiter))
    types = {field.name.lower(): field.type for field in meaning.schema.columns}
    if meaning.on_unknown_fields == "rescue":
        if len(set(names)) < len(names):
            twice = Counter(names).most_common(1)[0][0]
            raise ConversionError(f"The header of {source} has two columns {twice!r}; drop or rename one of them")
        types = dict.fromkeys((name.lower() for name in names), Primitive.STRING) | types
    columns = {
        name: Column(name, types[name.lower()], source, meaning.times) for name in names if name.lower() in types
    }
    no_rows = [columns[name].no_values if name in columns else pa.array([], pa.string()) for name in names]
    ignored: IgnoreUnknown = "nulls" if meaning.on_unknown_fields == "add" else meaning.on_unknown_fields != "reject"
    conformer = Conformer(meaning.schema, ignore_unknown_fields=ignored, names_arrow_types=False)
    try:
        conformer.conform(pa.RecordBatch.from_arrays(no_rows, names=names))
    except ConversionError as error:
        if text.encode() != header:
            raise ConversionError(
                f"The header of {source} is not text in UTF-8: encode the file as UTF-8, or check its format and its "
                "compression"
            ) from error
        raise ConversionError(f"The header of {source}: {error.problem}") from error
    if not columns:
        raise ConversionError(f"The header of {source} names no column of the table: check it, and --delimiter")
    return names, columns, end


def _rows(path: str, meaning: CsvMeaning) -> Iterator[tuple[RowsOfFile, list[_Rejected]]]:
    """Yield the rows of a file: those that can be read, and the others."""
    names: list[str] = []
    columns: dict[str, Column] = {}
    line = 0
    with naming(path, lambda: f"after line {line}" if line else "") as source, opened(path) as stream:
        for block in blocks(source, stream, meaning.delimiter):
            if not names:
                names, columns, start = _header(source, block, meaning)
                block = replace(block, start=start)  # noqa: PLW2901 - the header is not a row
            if names:
                yield _read(source, block, names, columns, meaning)
            line = block.line


def _read(
    source: str, block: Block, names: list[str], columns: dict[str, Column], meaning: CsvMeaning
) -> tuple[RowsOfFile, list[_Rejected]]:
    rejected: list[_Rejected] = []
    lines: range | np.ndarray
    texts = None if len(block.quotes.stray) else _split(block.data, block.start, names, columns, meaning)
    if texts is not None:
        lines = block.lines(texts.num_rows)
    else:
        data, lines, malformed = _without_malformed(source, block, len(names), meaning)
        rejected += [malformed] if malformed.errors else []
        texts = _split(data, 0, names, columns, meaning)
    if texts is None:
        raise InputError(f"{source}, line {block.line}: this block cannot be read as CSV; check --delimiter")
    if len(lines) != texts.num_rows:
        raise InputError(f"{source}, line {block.line}: the rows of this block cannot be counted; check its quotes")
    faults = Faults()
    place = Place(faults)
    arrays = [columns[name].typed(text, place) for name, text in zip(columns, texts.columns, strict=True)]
    batch = pa.RecordBatch.from_arrays(arrays, names=list(columns))
    if not faults:
        return RowsOfFile(batch, source, "line", lines), rejected
    errors = faults.row_errors(_STAGE)

    def elements(some: slice) -> RowsInColumns:
        return _elements(batch, texts, list(columns.values()), errors.indices[some])

    places = Places(f"{source}, line ", chosen(lines, errors.indices))
    rejected.append(_Rejected(errors=errors, places=places, elements=elements))
    kept = faults.kept(batch.num_rows)
    return RowsOfFile(batch.take(pa.array(kept)), source, "line", chosen(lines, kept)), rejected


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
    source: str, block: Block, values: int, meaning: CsvMeaning
) -> tuple[bytes, np.ndarray, _Rejected]:
    """Return a block without records that have stray quotes or a wrong number of values.

    Returns:
        The text of the other records, the line of each, and the rejected ones.
    """
    records = block.records(meaning.delimiter)
    lines = block.lines_of(records.starts)
    stray = np.zeros(len(lines), dtype=bool)
    stray[np.searchsorted(records.starts, block.quotes.stray, side="right") - 1] = True
    bad = stray | (records.values != values)
    faults = Faults()
    after_quote = "text follows a closing quote; write each quote inside a value twice"
    faults.add(Reason(RowErrorType.INVALID_TEXT, after_quote), np.flatnonzero(stray))
    for count in np.unique(records.values[bad & ~stray]).tolist():
        wrong_number = f"it has {counted(count, 'value')}, the header {values}; correct the row"
        rows = np.flatnonzero(~stray & (records.values == count))
        faults.add(Reason(RowErrorType.INVALID_TEXT, wrong_number), rows)
    starts, ends = records.starts[bad], records.ends[bad]

    def elements(some: slice) -> list[str | RawText]:
        spans = zip(starts[some].tolist(), ends[some].tolist(), strict=True)
        return [as_text(block.data[start:end]) for start, end in spans]

    spans = zip(records.starts[~bad].tolist(), records.ends[~bad].tolist(), strict=True)
    data = b"".join(block.data[start:end] + b"\n" for start, end in spans)
    places = Places(f"{source}, line ", lines[bad], ": ")
    malformed = _Rejected(errors=faults.row_errors(_STAGE), places=places, elements=elements)
    return data, lines[~bad], malformed


def _elements(
    batch: pa.RecordBatch, texts: pa.RecordBatch, columns: Sequence[Column], rows: np.ndarray
) -> RowsInColumns:
    """Return rows: numbers, bytes and booleans as values, everything else as the text in the file."""
    taken = pa.array(rows, pa.int64())
    read = [
        column.elements(values.take(taken), text.take(taken))
        for column, values, text in zip(columns, batch.columns, texts.columns, strict=True)
    ]
    return RowsInColumns(batch.schema.names, read)

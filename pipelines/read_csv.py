"""CSV files to RecordBatches in the types of a table.

A file is read block by block, never whole. Its values are text until they are cast to the types of the table's columns,
a column at a time. A row is rejected alone whose text its columns cannot hold, or that has too many or too few values.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.pvalue import TaggedOutput
from pyarrow import csv as arrow_csv

from beam_zerobus import ConversionError, RowError
from beam_zerobus.schema import Conformer, Decimal, DeltaType, Primitive, RowErrorType, TableSchema
from beam_zerobus.schema.arrow import canonical_type
from beam_zerobus.schema.reasons import Faults, Place, Reason
from beam_zerobus.sink.failed_rows import failed_row

__all__ = ["REJECTED", "CsvMeaning", "ReadCsv", "check_header"]

REJECTED = "rejected"

_STAGE = "reading"
_SHOWN_REASONS = 3
_BLOCK_BYTES = 16 << 20  # a row must fit into a block, and Zerobus takes none above 10 MB

_WHOLE_NUMBER = "a whole number in its range"
_NUMBER = "a number in its range"
_WANTED: dict[Primitive, str] = {
    Primitive.TINYINT: _WHOLE_NUMBER,
    Primitive.SMALLINT: _WHOLE_NUMBER,
    Primitive.INT: _WHOLE_NUMBER,
    Primitive.BIGINT: _WHOLE_NUMBER,
    Primitive.FLOAT: _NUMBER,
    Primitive.DOUBLE: _NUMBER,
    Primitive.BOOLEAN: "true or false",
    Primitive.DATE: "a date of the form YYYY-MM-DD",
    Primitive.TIMESTAMP: "an ISO 8601 timestamp with a zone, such as 2026-01-31T12:00:00Z",
    Primitive.TIMESTAMP_NTZ: "an ISO 8601 timestamp without a zone",
    Primitive.BINARY: "base64",
}

_Cast: TypeAlias = Callable[[pa.Array], pa.Array]

Rejected: TypeAlias = "list[tuple[Any, RowError]]"
"""Rows as they came, each with its reason."""


@dataclass(frozen=True, kw_only=True)
class CsvMeaning:
    """How CSV text stands for the rows of a table.

    Attributes:
        table: ``catalog.schema.table``.
        schema: The table's schema, which tells what the text of each column means.
        ignore_unknown_fields: Leave out columns that the table does not have, instead of failing.
        delimiter: What stands between two values.
        null_values: Unquoted text that means null; in quotes it is text.
    """

    table: str
    schema: TableSchema
    ignore_unknown_fields: bool = False
    delimiter: str = ","
    null_values: tuple[str, ...] = ("",)


class ReadCsv(beam.DoFn):
    """Reads files into RecordBatches; rows that cannot be read go to the output `REJECTED`.

    Args:
        meaning: How the text stands for rows.
        dead_letters: Give rejected rows to the output `REJECTED`; otherwise they fail the bundle.
    """

    def __init__(self, meaning: CsvMeaning, *, dead_letters: bool) -> None:
        super().__init__()
        self._meaning = meaning
        self._dead_letters = dead_letters

    def process(self, file: FileMetadata) -> Iterator[Any]:
        """Read one file.

        Raises:
            ConversionError: Its header does not fit the table; or a row is rejected and must not be a dead letter.
        """
        table = self._meaning.table
        for batch, rejected in _blocks(file.path, self._meaning):
            if rejected and not self._dead_letters:
                raise _unreadable(rejected, batch.num_rows + len(rejected), table)
            yield batch
            for element, error in rejected:
                yield TaggedOutput(REJECTED, failed_row(element, error, table=table, attempts=0))


def _unreadable(rejected: Rejected, rows: int, table: str) -> ConversionError:
    errors = [error for _, error in rejected]
    reasons = list(dict.fromkeys(error.message for error in errors))
    more = f"; and {len(reasons) - _SHOWN_REASONS} more reasons" if len(reasons) > _SHOWN_REASONS else ""
    return ConversionError(
        f"{len(rejected)} of {rows} rows rejected for table {table}: {'; '.join(reasons[:_SHOWN_REASONS])}{more}",
        row_errors=errors,
    )


def check_header(path: str, meaning: CsvMeaning) -> None:
    """Check that the header of a file fits the table.

    Raises:
        ConversionError: It does not; the message names each column that is to blame, and the remedy.
    """
    _columns(path, meaning)


def _blocks(path: str, meaning: CsvMeaning) -> Iterator[tuple[pa.RecordBatch, Rejected]]:
    """Yield the rows of a file: those that can be read, and the others."""
    columns = _columns(path, meaning)
    if not columns:
        return  # an empty file
    malformed: Rejected = []
    for texts in _text_blocks(path, list(columns), meaning, malformed):
        batch, rejected = _typed(texts, list(columns.values()))
        yield batch, rejected + _moved_out(malformed)
    if malformed:
        no_rows = [column.no_values for column in columns.values()]
        yield pa.RecordBatch.from_arrays(no_rows, names=list(columns)), malformed


def _columns(path: str, meaning: CsvMeaning) -> dict[str, _Column]:
    """Return the columns of a file that the table has, by the names in its header."""
    header = _header(path, meaning.delimiter)
    types = {field.name.lower(): field.type for field in meaning.schema.columns}
    columns = {
        name: _Column(f"{path}, column {name!r}", types[name.lower()]) for name in header if name.lower() in types
    }
    no_rows = [columns[name].no_values if name in columns else pa.array([], pa.string()) for name in header]
    if header:
        conformer = Conformer(meaning.schema, ignore_unknown_fields=meaning.ignore_unknown_fields)
        try:
            conformer.conform(pa.RecordBatch.from_arrays(no_rows, names=header))
        except ConversionError as error:
            raise ConversionError(f"The header of {path}: {error}") from error
        if not columns:
            raise ConversionError(f"The header of {path} names no column of the table: check it, and --delimiter")
    return columns


def _header(path: str, delimiter: str) -> list[str]:
    with _opened(path) as stream:
        # What is no UTF-8 further down is rejected there.
        text = io.TextIOWrapper(stream, "utf-8-sig", errors="replace", newline="")
        return next((row for row in csv.reader(text, delimiter=delimiter) if row), [])


def _text_blocks(path: str, names: list[str], meaning: CsvMeaning, malformed: Rejected) -> Iterator[pa.RecordBatch]:
    """Yield the rows as text; those with too many or too few values are added to `malformed`."""

    def reject(row: arrow_csv.InvalidRow) -> str:
        where = path if row.number is None else f"{path}, row {row.number}"
        what = f"{where}: it has {row.actual_columns} values, the header {row.expected_columns}; correct the row"
        malformed.append((row.text, RowError(0, RowErrorType.INVALID_TEXT.value, what, _STAGE)))
        return "skip"

    try:
        with _opened(path) as stream:
            yield from arrow_csv.open_csv(
                stream,
                arrow_csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),
                arrow_csv.ParseOptions(
                    delimiter=meaning.delimiter, newlines_in_values=True, invalid_row_handler=reject
                ),
                arrow_csv.ConvertOptions(
                    include_columns=names,
                    # Bytes: one that is no UTF-8 would fail a whole block of text.
                    column_types=dict.fromkeys(names, pa.binary()),
                    null_values=list(meaning.null_values),
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
    except pa.ArrowInvalid as error:
        raise ConversionError(f"{path} cannot be read as CSV: {error}; check its quotes and --delimiter") from error


def _moved_out(malformed: Rejected) -> Rejected:
    # The reader's own thread may append meanwhile: only what is seen now is taken away.
    moved = malformed[:]
    del malformed[: len(moved)]
    return moved


def _typed(texts: pa.RecordBatch, columns: list[_Column]) -> tuple[pa.RecordBatch, Rejected]:
    faults = Faults()
    place = Place(faults)
    arrays = [column.typed(text, place) for column, text in zip(columns, texts.columns, strict=True)]
    batch = pa.RecordBatch.from_arrays(arrays, names=texts.schema.names)
    if not faults:
        return batch, []
    rejected = [(_as_it_came(batch, texts, error.index), error) for error in faults.row_errors(_STAGE)]
    return batch.take(pa.array(faults.kept(batch.num_rows))), rejected


def _as_it_came(batch: pa.RecordBatch, texts: pa.RecordBatch, row: int) -> dict[str, Any]:
    """Return a row with its values where they could be read, and their text where not."""
    (values,) = batch.slice(row, 1).to_pylist()
    (raw,) = texts.slice(row, 1).to_pylist()
    return {
        name: raw[name].decode(errors="backslashreplace") if value is None and raw[name] is not None else value
        for name, value in values.items()
    }


class _Column:
    """How the text of a column becomes values.

    Args:
        where: The file and the column, for messages.
        delta_type: What the table's column holds.

    Raises:
        ConversionError: CSV has no form for the type.
    """

    def __init__(self, where: str, delta_type: DeltaType) -> None:
        self._cast: _Cast
        if isinstance(delta_type, Decimal) or delta_type in (Primitive.STRING, Primitive.VARIANT):
            self._cast = _to_text  # the sink reads a decimal's digits itself
            kind, misfit = RowErrorType.INVALID_UTF8, "a value is not UTF-8; encode the file so"
        elif isinstance(delta_type, Primitive):
            self._cast = _to_bytes if delta_type is Primitive.BINARY else partial(_to, canonical_type(delta_type))
            wanted = f"a value is not {_WANTED[delta_type]}"
            kind, misfit = RowErrorType.INVALID_TEXT, f"{wanted}; correct the row, or use STRING in the table"
        else:
            raise ConversionError(f"{where} is {delta_type}, which CSV has no form for: use JSON lines or Parquet")
        self._reason = Reason(kind, f"{where} is {delta_type}: {misfit}")
        self.no_values = self._cast(pa.array([], pa.binary()))

    def typed(self, text: pa.Array, place: Place) -> pa.Array:
        """Cast the column; text that stands for no value is rejected and becomes null."""
        try:
            return self._cast(text)
        except pa.ArrowInvalid:
            bad = np.zeros(len(text), dtype=bool)
            bad[list(_misfits(text, self._cast))] = True
        place.reject(bad, self._reason)
        return self._cast(pc.if_else(pa.array(bad), pa.scalar(None, text.type), text))


def _misfits(text: pa.Array, cast: _Cast, first: int = 0) -> Iterator[int]:
    """Yield the positions that a cast rejects, found by halving: there are few, mostly."""
    try:
        cast(text)
    except pa.ArrowInvalid:
        half = len(text) // 2
        if not half:
            yield first
            return
        yield from _misfits(text.slice(0, half), cast, first)
        yield from _misfits(text.slice(half), cast, first + half)


def _to_text(text: pa.Array) -> pa.Array:
    return text.cast(pa.string())


def _to(target: pa.DataType, text: pa.Array) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(_to_text(text))
    values = trimmed.cast(target)
    if pa.types.is_floating(target):
        # Arrow makes infinity of a number that is too large.
        too_large = pc.and_(pc.is_inf(values), pc.invert(pc.match_substring(trimmed, "inf", ignore_case=True)))
        if pc.any(too_large).as_py():
            raise pa.ArrowInvalid("a number is too large")
    return values


def _to_bytes(text: pa.Array) -> pa.Array:
    try:
        return pa.array(
            [None if value is None else base64.b64decode(value, validate=True) for value in text.to_pylist()],
            pa.binary(),
        )
    except binascii.Error as error:
        raise pa.ArrowInvalid(str(error)) from error


class _Readable(io.RawIOBase):
    """A file of a Beam filesystem as Python's and Arrow's readers want it; Beam's compressed files are not quite so."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def _opened(path: str) -> Iterator[io.BufferedReader]:
    with FileSystems.open(path) as file:
        yield io.BufferedReader(_Readable(file), 1 << 20)

"""Keeps rejected rows in files: a line of JSON, or a row of Parquet, for each."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, TypeAlias

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io import WriteToParquetBatched, WriteToText
from apache_beam.io.filesystems import FileSystems
from apache_beam.pvalue import PCollection
from apache_beam.transforms.window import GlobalWindow, GlobalWindows
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from beam_zerobus.sink.dead_letters.letters import LETTER_SCHEMA, letters_of, lines_of, table_of

__all__ = ["KeepDeadLetters", "LetterFormat"]

LetterFormat: TypeAlias = Literal["jsonl", "parquet"]

_LETTERS = 1_000
_BYTES = 1 << 18


class KeepDeadLetters(beam.PTransform[PCollection[Any], PCollection[Any]]):
    """Writes the `failed_rows` of a sink to JSON lines or Parquet in a directory.

    For each row, `element` is the row to read and to correct, and `typed` the row with its exact values and types,
    which are needed unless the row is JSON text. `beam-zerobus replay` sends the rows again.

    A bounded pipeline writes the files at its end and overwrites those of an earlier run; an unbounded one adds a file
    for each bundle with failed rows, so that no row waits for a window to close.

    Args:
        directory: The directory for the files: a local path or any Beam filesystem.
        file_format: ``"jsonl"``, to be corrected in an editor, or ``"parquet"``, to be queried with SQL.

    Example:
        >>> import tempfile
        >>> from beam_zerobus import WriteToZerobus
        >>> sink = WriteToZerobus("main.iot.air", schema="co2 INT", dry_run=True, on_bad_rows="dead_letter")
        >>> with tempfile.TemporaryDirectory() as directory, beam.Pipeline() as pipeline:
        ...     result = pipeline | beam.Create([{"co2": 417}, {"co2": "?"}]) | sink
        ...     kept = result.failed_rows | KeepDeadLetters(directory)
    """

    def __init__(self, directory: str, file_format: LetterFormat = "jsonl") -> None:
        super().__init__()
        self._directory = directory.rstrip("/")
        self._format = file_format

    def expand(self, failed_rows: PCollection[Any]) -> PCollection[Any]:
        """Write them."""
        prefix, suffix = f"{self._directory}/rows", f".{self._format}"
        write: beam.PTransform[Any, Any]
        if not failed_rows.is_bounded:
            return failed_rows | "Write" >> beam.ParDo(_WriteEachBundle(self._directory, self._format))
        if not isinstance(failed_rows.windowing.windowfn, GlobalWindows):
            failed_rows |= "Forget windows" >> beam.WindowInto(GlobalWindows())
        if self._format == "parquet":
            tables = _Gather(list, letters_of, _LETTERS, table_of)
            letters = failed_rows | "ToTable" >> beam.ParDo(tables).with_output_types(pa.Table)
            write = WriteToParquetBatched(prefix, LETTER_SCHEMA, file_name_suffix=suffix)
        else:
            lines = _Gather(bytearray, lines_of, _BYTES, bytes)
            letters = failed_rows | "ToJson" >> beam.ParDo(lines).with_output_types(bytes)
            write = WriteToText(prefix, suffix, append_trailing_newlines=False, skip_if_empty=True)
        return letters | "Write" >> write


class _Gather(beam.DoFn):
    """Writes letters many at a time, since each element of a pipeline costs as much as a letter does.

    Args:
        empty: Makes what letters are added to.
        letters: Returns the letters of an element of `failed_rows`.
        enough: How many of them to write at once.
        write: Makes one element of many letters.
    """

    def __init__(
        self, empty: Callable[[], Any], letters: Callable[[Any], Any], enough: int, write: Callable[[Any], Any]
    ) -> None:
        super().__init__()
        self._empty = empty
        self._letters_of = letters
        self._enough = enough
        self._write = write

    def start_bundle(self) -> None:
        self._letters = self._empty()

    def process(self, failed: Any) -> Iterable[Any] | None:
        self._letters += self._letters_of(failed)
        return self._written() if len(self._letters) >= self._enough else None

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for written in self._written():
            yield WindowedValue(written, MIN_TIMESTAMP, (GlobalWindow(),))

    def _written(self) -> Iterator[Any]:
        letters, self._letters = self._letters, self._empty()
        if letters:
            yield self._write(letters)


class _WriteEachBundle(beam.DoFn):
    def __init__(self, directory: str, file_format: LetterFormat) -> None:
        super().__init__()
        self._directory = directory
        self._format = file_format

    def start_bundle(self) -> None:
        self._failed: list[Any] = []

    def process(self, failed: Any) -> None:
        self._failed.append(failed)

    def finish_bundle(self) -> None:
        if not self._failed:
            return
        name = f"rows-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex}.{self._format}"
        with FileSystems.create(FileSystems.join(self._directory, name)) as file:
            if self._format == "parquet":
                pq.write_table(table_of([letter for failed in self._failed for letter in letters_of(failed)]), file)
            else:
                file.writelines(map(lines_of, self._failed))

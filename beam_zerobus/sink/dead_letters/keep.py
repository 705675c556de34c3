"""Rejected rows as files: a line of JSON, or a row of Parquet, for each."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

import apache_beam as beam
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io import WriteToParquetBatched, WriteToText
from apache_beam.io.filesystems import FileSystems
from apache_beam.pvalue import PCollection, Row
from apache_beam.transforms.window import GlobalWindow, GlobalWindows
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from beam_zerobus.sink.dead_letters.arrow_values import each_to_base64, rows_of
from beam_zerobus.sink.dead_letters.json_text import dumps, is_utf8
from beam_zerobus.sink.dead_letters.readable import plain
from beam_zerobus.sink.dead_letters.typed_values import exact
from beam_zerobus.sink.failed_rows import FailedRows
from beam_zerobus.sink.single_rows import SingleRows

__all__ = ["KeepDeadLetters", "LetterFormat", "to_json", "to_record"]

LetterFormat: TypeAlias = Literal["jsonl", "parquet"]

_BYTES = (bytes, bytearray)
_SIMPLE: frozenset[type] = frozenset({str, int, float, bool, type(None)})
_SIMPLE_IN_ROWS = _SIMPLE | {bytes, decimal.Decimal, dt.date, dt.datetime}
_AT_ONCE = 1_000
_PARQUET = pa.schema(
    [
        ("element", pa.string()),
        ("error_type", pa.string()),
        ("message", pa.string()),
        ("stage", pa.string()),
        ("table", pa.string()),
        ("attempts", pa.int64()),
        ("timestamp", pa.timestamp("us", "UTC")),
        ("typed", pa.string()),
    ]
)


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
            letters = failed_rows | "ToTable" >> beam.ParDo(_Gather(_to_table)).with_output_types(pa.Table)
            write = WriteToParquetBatched(prefix, _PARQUET, file_name_suffix=suffix)
        else:
            letters = failed_rows | "ToJson" >> beam.ParDo(_Gather(_to_lines)).with_output_types(str)
            write = WriteToText(prefix, file_name_suffix=suffix, skip_if_empty=True)
        return letters | "Write" >> write


class _Gather(beam.DoFn):
    """Writes letters many at a time, since each element of a pipeline costs as much as a letter does."""

    def __init__(self, write: Callable[[list[dict[str, Any]]], Any]) -> None:
        super().__init__()
        self._write = write

    def start_bundle(self) -> None:
        self._letters: list[dict[str, Any]] = []

    def process(self, failed: Any) -> Iterable[Any] | None:
        self._letters += _letters(failed)
        return self._written() if len(self._letters) >= _AT_ONCE else None

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for written in self._written():
            yield WindowedValue(written, MIN_TIMESTAMP, (GlobalWindow(),))

    def _written(self) -> Iterator[Any]:
        letters, self._letters = self._letters, []
        for start in range(0, len(letters), _AT_ONCE):
            yield self._write(letters[start : start + _AT_ONCE])


class _WriteEachBundle(beam.DoFn):
    def __init__(self, directory: str, file_format: LetterFormat) -> None:
        super().__init__()
        self._directory = directory
        self._format = file_format

    def start_bundle(self) -> None:
        self._letters: list[dict[str, Any]] = []

    def process(self, failed: Any) -> None:
        self._letters += _letters(failed)

    def finish_bundle(self) -> None:
        if self._letters:
            name = f"rows-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex}.{self._format}"
            with FileSystems.create(FileSystems.join(self._directory, name)) as file:
                if self._format == "parquet":
                    pq.write_table(_to_table(self._letters), file)
                else:
                    file.write((_to_lines(self._letters) + "\n").encode())


def _letters(failed: Any) -> Iterable[dict[str, Any]]:
    """Return the letters of an element: a Row, the NamedTuple that some runners make of it, or `FailedRows`."""
    if isinstance(failed, FailedRows):
        if isinstance(failed.elements, SingleRows):
            failed = replace(failed, elements=list(_written(failed.elements.batch)))
        return failed.letters()
    return (failed.as_dict() if isinstance(failed, Row) else failed._asdict(),)


class _Written(NamedTuple):
    """The two forms of an element as JSON text."""

    readable: str
    typed: str | None


def _written(rows: pa.RecordBatch) -> Iterator[_Written]:
    for row, stream in zip(rows_of(rows), each_to_base64(rows), strict=True):
        text = _simple(row) if _is_simple(row, _SIMPLE_IN_ROWS) else None
        yield _Written(text or dumps(plain(row)), f'{{"$arrow": "{stream}"}}')


def _to_table(letters: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(map(_record, letters)), _PARQUET)


def _to_lines(letters: list[dict[str, Any]]) -> str:
    return "\n".join(map(_line, letters))


def to_json(failed_row: Any) -> str:
    """Return an element of `failed_rows`, a Row or the NamedTuple that some runners make of it, as one line of JSON.

    >>> to_json(Row(element={"id": 1, "price": 1.1}, error_type="wrong_type"))
    '{"element": {"id":1,"price":1.1}, "error_type": "wrong_type", "typed": {"id":1,"price":1.1}}'
    """
    (letter,) = _letters(failed_row)
    return _line(letter)


def _line(letter: dict[str, Any]) -> str:
    readable, typed = _texts(letter["element"])
    parts = [
        f'"{name}": {_text(value) if name == "message" else _text_once(value)}'
        for name, value in letter.items()
        if name != "element"
    ]
    if typed is not None:
        parts.append(f'"typed": {typed}')
    return f'{{"element": {readable}, {", ".join(parts)}}}'


def _text(value: Any) -> str:
    """Return a field of a letter as JSON."""
    return (_simple(value) if isinstance(value, str | int) else None) or dumps(plain(value))


_text_once = lru_cache(maxsize=256, typed=True)(_text)  # all but elements and messages repeat


def _texts(element: Any) -> tuple[str, str | None]:
    """Return the two forms of an element as JSON text."""
    if isinstance(element, _Written):
        return element
    if type(element) is dict and _is_simple(element) and (text := _simple(element)):
        return text, text
    readable, typed = _forms(element)
    text = _simple(readable) if isinstance(readable, str) else None
    return text or dumps(readable), None if typed is None else dumps(typed)


def _is_simple(fields: dict[Any, Any], simple: frozenset[type] = _SIMPLE) -> bool:
    """Return whether `_simple` writes a row's form for people, and of the default types also the exact one."""
    types = set(map(type, fields.values()))
    finite = float not in types or all(math.isfinite(value) for value in fields.values() if type(value) is float)
    return finite and types <= simple and _have_no_tag(tuple(fields))


@lru_cache(maxsize=256)
def _have_no_tag(names: tuple[Any, ...]) -> bool:
    return all(type(name) is str and not name.startswith("$") for name in names)


def _simple(value: Any) -> str | None:
    """Write JSON fast; None where `dumps` must do it: text that UTF-8 cannot hold, integers of many digits."""
    try:
        return orjson.dumps(value, default=plain).decode()
    except TypeError:
        return None


def to_record(failed_row: Any) -> dict[str, Any]:
    """Return an element of `failed_rows` as a row of Parquet: `element` and `typed` are JSON text.

    >>> from apache_beam.utils.timestamp import Timestamp
    >>> to_record(Row(element={"id": 1}, timestamp=Timestamp(0)))["element"]
    '{"id": 1}'
    """
    (letter,) = _letters(failed_row)
    return _record(letter)


def _record(letter: dict[str, Any]) -> dict[str, Any]:
    element = letter["element"]
    if not isinstance(element, _Written):
        readable, typed = _forms(element)
        element = _Written(
            readable if typed is None or isinstance(element, _BYTES) else dumps(readable),
            None if typed is None else dumps(typed),
        )
    return letter | {
        "element": element.readable,
        "timestamp": letter["timestamp"].to_utc_datetime(has_tz=True),
        "typed": element.typed,
    }


def _forms(element: Any) -> tuple[Any, Any]:
    """Return the form for people, and the exact one; None for the second if the first is the row's JSON text."""
    if isinstance(element, _BYTES):  # JSON, or what should have been JSON
        text = element.decode(errors="backslashreplace")
        return text, None if text.encode() == element else exact(element)
    if isinstance(element, str) and is_utf8(element):
        return element, None
    return plain(element), exact(element)

"""Rejected rows as files: a line of JSON, or a row of Parquet, for each."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any, Literal, TypeAlias

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io import WriteToParquet, WriteToText
from apache_beam.io.filesystems import FileSystems
from apache_beam.pvalue import PCollection, Row

from beam_zerobus.sink.dead_letters.json_text import dumps, is_utf8
from beam_zerobus.sink.dead_letters.readable import plain
from beam_zerobus.sink.dead_letters.typed_values import exact

__all__ = ["KeepDeadLetters", "LetterFormat", "to_json", "to_record"]

LetterFormat: TypeAlias = Literal["jsonl", "parquet"]

_BYTES = (bytes, bytearray)
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
        if self._format == "parquet":
            letters = failed_rows | "ToRecord" >> beam.Map(to_record).with_output_types(dict[str, Any])
            write = WriteToParquet(prefix, _PARQUET, file_name_suffix=suffix)
        else:
            letters = failed_rows | "ToJson" >> beam.Map(to_json).with_output_types(str)
            write = WriteToText(prefix, file_name_suffix=suffix, skip_if_empty=True)
        if not failed_rows.is_bounded:
            write = beam.ParDo(_WriteEachBundle(self._directory, self._format))
        return letters | "Write" >> write


class _WriteEachBundle(beam.DoFn):
    def __init__(self, directory: str, file_format: LetterFormat) -> None:
        super().__init__()
        self._directory = directory
        self._format = file_format
        self._letters: list[Any] = []

    def start_bundle(self) -> None:
        self._letters = []

    def process(self, letter: Any) -> None:
        self._letters.append(letter)

    def finish_bundle(self) -> None:
        if self._letters:
            name = f"rows-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex}.{self._format}"
            with FileSystems.create(FileSystems.join(self._directory, name)) as file:
                if self._format == "parquet":
                    pq.write_table(pa.Table.from_pylist(self._letters, _PARQUET), file)
                else:
                    file.write("".join(f"{line}\n" for line in self._letters).encode())


def to_json(failed_row: Any) -> str:
    """Return an element of `failed_rows`, a Row or the NamedTuple that some runners make of it, as one line of JSON.

    >>> to_json(Row(element={"id": 1, "price": 1.1}, error_type="wrong_type"))
    '{"element": {"id": 1, "price": 1.1}, "error_type": "wrong_type", "typed": {"id": 1, "price": 1.1}}'
    """
    letter = _letter(failed_row)
    readable, typed = _forms(letter["element"])
    letter = {name: plain(value) for name, value in letter.items() if name != "element"}
    return dumps({"element": readable, **letter, **({} if typed is None else {"typed": typed})})


def to_record(failed_row: Any) -> dict[str, Any]:
    """Return an element of `failed_rows` as a row of Parquet: `element` and `typed` are JSON text.

    >>> from apache_beam.utils.timestamp import Timestamp
    >>> to_record(Row(element={"id": 1}, timestamp=Timestamp(0)))["element"]
    '{"id": 1}'
    """
    letter = _letter(failed_row)
    element = letter["element"]
    readable, typed = _forms(element)
    return letter | {
        "element": readable if typed is None or isinstance(element, _BYTES) else dumps(readable),
        "timestamp": letter["timestamp"].to_utc_datetime(has_tz=True),
        "typed": None if typed is None else dumps(typed),
    }


def _letter(failed_row: Any) -> dict[str, Any]:
    letter: dict[str, Any] = failed_row.as_dict() if isinstance(failed_row, Row) else failed_row._asdict()
    return letter


def _forms(element: Any) -> tuple[Any, Any]:
    """Return the form for people, and the exact one; None for the second if the first is the row's JSON text."""
    if isinstance(element, _BYTES):  # JSON, or what should have been JSON
        text = element.decode(errors="backslashreplace")
        return text, None if text.encode() == element else exact(element)
    if isinstance(element, str) and is_utf8(element):
        return element, None
    return plain(element), exact(element)

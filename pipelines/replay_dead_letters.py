r"""Keep the rows that a table rejected, and send them again once they are corrected.

Give the `failed_rows` of a sink to `KeepDeadLetters`, in your own pipeline:

    result = rows | WriteToZerobus("main.iot.air_quality", on_bad_rows="dead_letter")
    result.failed_rows | KeepDeadLetters("dead-letters/2026-01-31")

Each becomes a line of JSON: `element` (the row as it was), `error_type`, `message`, `stage`, `table`, `attempts`,
`timestamp`; or a row of Parquet, with `element` as JSON text. Look at them, correct `element` in the files or in
`correct` below, and send them again; what is rejected once more lands in a directory of its own, so nothing is lost and
nothing is sent for ever:

    python -m pipelines.replay_dead_letters --input dead-letters/2026-01-31 --zerobus_table main.iot.air_quality \
        --dead_letters dead-letters/again

Endpoint, workspace and credentials come from the environment, as for any sink; docs/pipelines.md tells the rest.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import dataclasses
import datetime as dt
import json
import sys
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io import ReadFromParquet, ReadFromText, WriteToParquet, WriteToText
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection, Row
from apache_beam.utils.timestamp import Timestamp
from rich.console import Console

from beam_zerobus import ZerobusError
from beam_zerobus.sink.pipeline_options import ZerobusOptions
from pipelines.command import InputError, arguments_of, check_unused, parser_of, quieten, sink_of
from pipelines.progress import CountFailed, CountWritten, run_and_report

__all__ = ["KeepDeadLetters", "correct", "main", "to_json", "to_record"]

LetterFormat: TypeAlias = Literal["jsonl", "parquet"]

_PARQUET = pa.schema(
    [
        ("element", pa.string()),
        ("error_type", pa.string()),
        ("message", pa.string()),
        ("stage", pa.string()),
        ("table", pa.string()),
        ("attempts", pa.int64()),
        ("timestamp", pa.timestamp("us", "UTC")),
    ]
)


class KeepDeadLetters(beam.PTransform[PCollection[Any], PCollection[Any]]):
    """Writes failed rows to JSON lines or Parquet under a directory.

    A bounded pipeline writes the files at its end, over those of an earlier run; an unbounded one adds a file for each
    bundle with failed rows, so that none waits for a window or comes too late for it.

    Args:
        directory: Where the files go; a local path or any Beam filesystem.
        file_format: ``"jsonl"``, to be corrected in an editor, or ``"parquet"``, to be looked at with SQL.
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

    >>> to_json(Row(element={"id": 1, "raw": b"ab"}, error_type="wrong_type"))
    '{"element": {"id": 1, "raw": "YWI="}, "error_type": "wrong_type"}'
    """
    return json.dumps(plain(_letter(failed_row)), ensure_ascii=False)


def to_record(failed_row: Any) -> dict[str, Any]:
    """Return an element of `failed_rows` as a row of Parquet: `element` is JSON text, `timestamp` a timestamp.

    >>> to_record(Row(element={"id": 1}, timestamp=Timestamp(0)))["element"]
    '{"id": 1}'
    """
    letter = _letter(failed_row)
    element = plain(letter["element"])
    text = element if isinstance(element, str) else json.dumps(element, ensure_ascii=False)
    return letter | {"element": text, "timestamp": letter["timestamp"].to_utc_datetime(has_tz=True)}


def _letter(failed_row: Any) -> dict[str, Any]:
    letter: dict[str, Any] = failed_row.as_dict() if isinstance(failed_row, Row) else failed_row._asdict()
    if isinstance(letter["element"], bytes):  # JSON, or what should have been
        letter["element"] = letter["element"].decode(errors="backslashreplace")
    return letter


def plain(value: Any) -> Any:
    """Return a value as JSON has it, in the form that the sink reads back: base64 for bytes, ISO 8601 for times."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, Timestamp):
        return value.to_utc_datetime(has_tz=True).isoformat()
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, Row):
        value = value.as_dict()
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    elif isinstance(value, pa.RecordBatch | pa.Table):
        value = value.to_pylist()[0]
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, Iterable) else str(value)


def correct(element: Any) -> Any:
    """Put a row right before it is sent again; change this for what was wrong with yours.

    Args:
        element: The row as in the file: a dict, or text that was no JSON.
    """
    return element


def to_element(kept: Mapping[str, Any]) -> str:
    """Return the corrected row of a dead letter, as the JSON text that is sent."""
    element = kept["element"]
    if isinstance(element, str):  # it came as JSON, or as what should have been
        with contextlib.suppress(ValueError):
            element = json.loads(element)
    element = correct(element)
    return element if isinstance(element, str) else json.dumps(element, ensure_ascii=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Send kept rows again; return 0, 1 where the pipeline failed, 2 for a wrong argument, 130 when interrupted."""
    letters, options = arguments_of(_parser(), arguments)
    console = Console()
    quieten()
    try:
        pipeline = _pipeline(letters, options)
    except (InputError, ZerobusError) as error:
        print(f"replay_dead_letters: {error}", file=sys.stderr)
        return 2
    table = options.view_as(ZerobusOptions).zerobus_table
    console.print(f"Sending the rows of {letters.input} again to {table}", highlight=False)
    return run_and_report(pipeline, console, dead_letters=letters.dead_letters)


def _pipeline(letters: argparse.Namespace, options: PipelineOptions) -> beam.Pipeline:
    """Make the pipeline.

    Raises:
        InputError: There is nothing to read, or rows that are rejected again would be written over.
        ZerobusError: A setting of the sink is wrong.
    """
    kept = _kept(letters.input)
    if letters.dead_letters:
        check_unused(letters.dead_letters)
    sink = sink_of(options, dead_letters=letters.dead_letters)
    pipeline = beam.Pipeline(options=options)
    result = (
        tuple(pipeline | f"Read {suffix}" >> _read(suffix, pattern) for suffix, pattern in kept.items())
        | beam.Flatten()
        | "Correct" >> beam.Map(to_element).with_output_types(str)
        | "Send" >> sink
    )
    result.acknowledged | CountWritten()
    failed = result.failed_rows | CountFailed()
    if letters.dead_letters:
        failed | KeepDeadLetters(letters.dead_letters)
    return pipeline


def _kept(directory: str) -> dict[LetterFormat, str]:
    """Return a pattern for each format that there are files of.

    Raises:
        InputError: There are none.
    """
    patterns = {suffix: FileSystems.join(directory, f"*.{suffix}") for suffix in get_args(LetterFormat)}
    matches = zip(patterns, FileSystems.match(list(patterns.values()), limits=[1] * len(patterns)), strict=True)
    kept = {suffix: patterns[suffix] for suffix, match in matches if match.metadata_list}
    if not kept:
        raise InputError(f"No file matches {' or '.join(patterns.values())}: check the path")
    return kept


def _read(suffix: LetterFormat, pattern: str) -> beam.PTransform[Any, Any]:
    if suffix == "parquet":
        return ReadFromParquet(pattern, columns=["element"])
    return ReadFromText(pattern) | beam.Map(json.loads)


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("replay_dead_letters", "Send rows again that a table rejected.")
    parser.add_argument("--input", required=True, metavar="DIR", help="what --dead_letters or KeepDeadLetters kept")
    return parser


if __name__ == "__main__":
    sys.exit(main())

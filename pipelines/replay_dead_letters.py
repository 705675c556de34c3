"""Send the rows again that a table rejected and `KeepDeadLetters` kept.

Look at the files, correct `element` in them or in `correct` below, and send them again. A row that is rejected once
more is kept in a directory of its own, so nothing is lost and nothing is sent forever:

    python -m pipelines.replay_dead_letters --input dead-letters/2026-01-31 --zerobus_table main.iot.air_quality \
        --dead_letters dead-letters/again

Endpoint, workspace and credentials come from the environment, as for any sink; docs/pipelines.md describes the rest.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io import fileio
from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console

from beam_zerobus import ZerobusError
from beam_zerobus.schema import Array, DeltaType, Map, Primitive, Struct, TableSchema
from beam_zerobus.sink.pipeline_options import ZerobusOptions
from pipelines.command import InputError, arguments_of, check_unused, literal, parser_of, quieten, sink_of
from pipelines.dead_letters import KeepDeadLetters, LetterFormat, to_json, to_record
from pipelines.open_files import naming
from pipelines.progress import CountFailed, CountWritten, run_and_report
from pipelines.typed_values import dumps, fields_of, loads, plain, restored

__all__ = ["KeepDeadLetters", "correct", "main", "to_element", "to_json", "to_record"]

_MAX_GATHERED = 10_000


def correct(element: Any) -> Any:
    """Correct a row before it is sent again; change this function for what was wrong with yours.

    Args:
        element: The row as in the file: a dict, or text that was not valid JSON.
    """
    return element


def to_element(letter: Mapping[str, Any], schema: TableSchema | None = None) -> Any:
    """Return the corrected row of a dead letter as an element for the sink.

    Values that nobody changed are the exact ones, those that were changed are as in the file.

    Args:
        letter: What `to_json` or `to_record` returned; parsed, in the first case.
        schema: The table's schema, which gives the columns where text is base64; None reads no text as base64.
    """
    element, typed = letter["element"], letter.get("typed")
    if typed is None:
        return _json_text(element)
    element = loads(element) if isinstance(typed, str) and isinstance(element, str) else element
    value = restored(loads(typed) if isinstance(typed, str) else typed)
    readable = value.decode(errors="backslashreplace") if isinstance(value, bytes) else plain(value)
    corrected = _merged(value, readable, correct(element))
    if isinstance(corrected, dict) and schema is not None:
        return {name: _with_bytes(inner, _column_type(schema, name)) for name, inner in corrected.items()}
    return corrected


def _json_text(element: Any) -> str:
    """Return the JSON text that is sent for a row whose readable form is exact."""
    if not isinstance(element, str):
        return dumps(correct(element))
    try:
        parsed = loads(element)
    except ValueError:
        corrected = correct(element)
        return corrected if isinstance(corrected, str) else dumps(corrected)
    before = dumps(parsed)
    after = dumps(correct(parsed))
    return element if after == before else after  # as it was, down to the digits


def _merged(value: Any, readable: Any, corrected: Any) -> Any:
    """Return a value with the parts replaced that differ from its readable form."""
    if dumps(readable) == dumps(corrected):
        return value
    fields = fields_of(value)
    if fields is not None and isinstance(readable, dict) and isinstance(corrected, dict):
        keys = {str(key): key for key in fields}
        return {
            keys.get(key, key): _merged(fields[keys[key]], readable[key], inner) if key in keys else inner
            for key, inner in corrected.items()
        }
    if isinstance(value, list) and isinstance(corrected, list) and len(value) == len(corrected):
        return [_merged(*parts) for parts in zip(value, readable, corrected, strict=True)]
    return corrected


def _column_type(schema: TableSchema, name: Any) -> DeltaType | None:
    return next((field.type for field in schema.columns if field.name.lower() == str(name).lower()), None)


def _with_bytes(value: Any, delta_type: DeltaType | None) -> Any:
    """Decode base64 text where the table has BINARY, as the sink does for JSON."""
    if delta_type is Primitive.BINARY and isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error:
            return value
    if isinstance(delta_type, Array) and isinstance(value, list):
        return [_with_bytes(inner, delta_type.element) for inner in value]
    if isinstance(delta_type, Map) and isinstance(value, dict):
        return {key: _with_bytes(inner, delta_type.value) for key, inner in value.items()}
    if isinstance(delta_type, Struct) and isinstance(value, dict):
        types = {field.name.lower(): field.type for field in delta_type.fields}
        return {key: _with_bytes(inner, types.get(str(key).lower())) for key, inner in value.items()}
    return value


class _ReadLetters(beam.DoFn):
    """Reads the dead letters of a file as elements for the sink; rows of RecordBatches are gathered again."""

    def __init__(self, schema: TableSchema | None) -> None:
        super().__init__()
        self._schema = schema

    def process(self, file: FileMetadata) -> Iterator[Any]:
        """Read one file.

        Raises:
            InputError: The file cannot be read, or a line is not a dead letter.
        """
        batches: list[pa.RecordBatch] = []
        for letter in _letters(file.path):
            element = to_element(letter, self._schema)
            if not isinstance(element, pa.RecordBatch):
                yield element
                continue
            if batches and (len(batches) == _MAX_GATHERED or not element.schema.equals(batches[0].schema)):
                yield _gathered(batches)
                batches = []
            batches.append(element)
        if batches:
            yield _gathered(batches)


def _gathered(batches: list[pa.RecordBatch]) -> pa.Table:
    return pa.Table.from_batches(batches)


def _letters(path: str) -> Iterator[Mapping[str, Any]]:
    if path.endswith(".parquet"):
        with naming(path), FileSystems.open(path) as file, pq.ParquetFile(file) as source:
            names = [name for name in ("element", "typed") if name in source.schema_arrow.names]
            for batch in source.iter_batches(columns=names):
                yield from batch.to_pylist()
        return
    number = 0
    with naming(path, lambda: f"after line {number}" if number else ""), FileSystems.open(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                letter = loads(line)
            except ValueError as error:
                raise InputError(f"{path}, line {number} is not valid JSON ({error}): correct it") from error
            if not isinstance(letter, dict) or "element" not in letter:
                raise InputError(f"{path}, line {number} is not a dead letter: it needs the key element")
            yield letter


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
        InputError: There is nothing to read, or dead letters would be overwritten.
        ZerobusError: A setting of the sink is wrong.
    """
    kept = _kept(letters.input)
    if letters.dead_letters:
        check_unused(letters.dead_letters)
    sink = sink_of(options, dead_letters=letters.dead_letters)
    pipeline = beam.Pipeline(options=options)
    zerobus = options.view_as(ZerobusOptions)
    known = zerobus.zerobus_schema or not zerobus.zerobus_dry_run
    result = (
        pipeline
        | "Find" >> beam.Create(kept)
        | "Match" >> fileio.MatchAll()
        | "Read" >> beam.ParDo(_ReadLetters(sink.resolve_schema() if known else None)).with_output_types(Any)
        | "Send" >> sink
    )
    result.acknowledged | CountWritten()
    failed = result.failed_rows | CountFailed()
    if letters.dead_letters:
        failed | KeepDeadLetters(letters.dead_letters)
    return pipeline


def _kept(directory: str) -> list[str]:
    """Return a pattern for each format that the directory has files of.

    Raises:
        InputError: It has none.
    """
    patterns = [FileSystems.join(literal(directory), f"*.{suffix}") for suffix in get_args(LetterFormat)]
    matches = zip(patterns, FileSystems.match(patterns, limits=[1] * len(patterns)), strict=True)
    kept = [pattern for pattern, match in matches if match.metadata_list]
    if not kept:
        raise InputError(f"No file matches {' or '.join(patterns)}: check the path")
    return kept


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("replay_dead_letters", "Send the rows again that a table rejected.")
    parser.add_argument("--input", required=True, metavar="DIR", help="directory of --dead_letters or KeepDeadLetters")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Send the rows again that a table rejected and `KeepDeadLetters` kept.

Look at the files, correct `element` in them or in `correct` below, and send them again. A row that is rejected once
more is kept in a directory of its own, so nothing is lost and nothing is sent forever:

    beam-zerobus replay --input dead-letters/2026-01-31 --zerobus_table main.iot.air_quality \
        --dead_letters dead-letters/again

Endpoint, workspace and credentials come from the environment, as for any sink; docs/pipelines.md describes the rest.
"""

from __future__ import annotations

import argparse
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

from beam_zerobus.errors import ZerobusError
from beam_zerobus.programs.command import InputError, arguments_of, check_unused, literal, parser_of, quieten, sink_of
from beam_zerobus.programs.open_files import naming
from beam_zerobus.programs.progress import CountFailed, CountWritten, run_and_report
from beam_zerobus.schema import TableSchema
from beam_zerobus.sink.dead_letters import KeepDeadLetters, LetterFormat, loads, to_element
from beam_zerobus.sink.pipeline_options import ZerobusOptions

__all__ = ["correct", "main"]

_MAX_GATHERED = 10_000


def correct(element: Any) -> Any:
    """Correct a row before it is sent again; change this function for what was wrong with yours.

    Args:
        element: The row as in the file: a dict, or text that was not valid JSON.
    """
    return element


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
        for place, letter in _letters(file.path):
            element = self._element(letter, place)
            if not isinstance(element, pa.RecordBatch):
                yield element
                continue
            if batches and (len(batches) == _MAX_GATHERED or not element.schema.equals(batches[0].schema)):
                yield _gathered(batches)
                batches = []
            batches.append(element)
        if batches:
            yield _gathered(batches)

    def _element(self, letter: Mapping[str, Any], place: str) -> Any:
        try:
            return to_element(letter, self._schema, correct=correct)
        except Exception as error:
            raise InputError(
                f"{place} cannot be made into an element ({type(error).__name__}): leave typed as it was kept, or "
                "remove it to send element as JSON"
            ) from error


def _gathered(batches: list[pa.RecordBatch]) -> pa.RecordBatch | pa.Table:
    try:
        return pa.concat_batches(batches)
    except pa.ArrowException:  # such as different dictionaries of nested values
        return pa.Table.from_batches(batches)


def _letters(path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the letters of a file, each after its place."""
    number = 0
    if path.endswith(".parquet"):
        with naming(path), FileSystems.open(path) as file, pq.ParquetFile(file) as source:
            names = [name for name in ("element", "typed") if name in source.schema_arrow.names]
            for batch in source.iter_batches(columns=names):
                for letter in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", letter
        return
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
            yield f"{path}, line {number}", letter


def main(arguments: Sequence[str] | None = None) -> int:
    """Send kept rows again; return 0, 1 where the pipeline failed, 2 for a wrong argument, 130 when interrupted."""
    console = Console()
    quieten()
    try:
        letters, options = arguments_of(_parser(), arguments)
        pipeline = _pipeline(letters, options)
    except (InputError, ZerobusError) as error:
        sys.stderr.write(f"beam-zerobus replay: {error}\n")
        return 2
    zerobus = options.view_as(ZerobusOptions)
    console.print(f"Sending the rows of {letters.input} again to {zerobus.zerobus_table}", highlight=False)
    return run_and_report(pipeline, console, dead_letters=letters.dead_letters, dry_run=bool(zerobus.zerobus_dry_run))


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
    parser = parser_of("replay", "Send the rows again that a table rejected.")
    parser.add_argument("--input", required=True, metavar="DIR", help="directory of --dead_letters or KeepDeadLetters")
    return parser

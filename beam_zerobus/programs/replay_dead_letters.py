"""Send the rows again that a table rejected and `KeepDeadLetters` kept.

Look at the files, correct `element` in them or in `correct` below, and send them again. A row that is rejected once
more is kept in a directory of its own, so nothing is lost and nothing is sent forever:

    beam-zerobus replay --input dead-letters/2026-01-31 --zerobus_table main.iot.air_quality \
        --dead_letters dead-letters/again

Endpoint, workspace and credentials come from the environment, as for any sink; docs/pipelines.md describes the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io import fileio
from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import TaggedOutput
from rich.console import Console

from beam_zerobus.errors import ZerobusError
from beam_zerobus.programs.command import (
    InputError,
    arguments_of,
    check_unused,
    complain,
    listing,
    literal,
    parser_of,
    quieten,
    sink_of,
)
from beam_zerobus.programs.open_files import naming
from beam_zerobus.programs.progress import CountFailed, CountWritten, run_and_report
from beam_zerobus.programs.read_csv import REJECTED
from beam_zerobus.programs.still_rejected import still_rejected
from beam_zerobus.programs.tables import folder_of, letters_of, matches_template
from beam_zerobus.schema import TableSchema
from beam_zerobus.sink.dead_letters import KeepDeadLetters, LetterFormat, loads, to_element
from beam_zerobus.sink.failed_rows import FailedRows, bundle_error
from beam_zerobus.sink.pipeline_options import ZerobusOptions

__all__ = ["correct", "main"]

_MAX_GATHERED = 10_000
_SHOWN = 3
_COLUMNS = ("element", "typed", "error_type", "message", "stage")


def correct(element: Any) -> Any:
    """Correct a row before it is sent again; change this function for what was wrong with yours.

    Args:
        element: The row as in the file: a dict, or text that was not valid JSON.
    """
    return element


class _ReadLetters(beam.DoFn):
    """Reads the dead letters of a file as elements for the sink; rows of RecordBatches are gathered again."""

    def __init__(self, table: str, schema: TableSchema | None, *, dead_letters: bool) -> None:
        super().__init__()
        self._table = table
        self._schema = schema
        self._dead_letters = dead_letters

    def process(self, file: FileMetadata) -> Iterator[Any]:
        """Read one file.

        Raises:
            InputError: The file cannot be read, or a line is not a dead letter.
            ConversionError: A row is rejected as before, and not kept.
        """
        batches: list[pa.RecordBatch] = []
        for place, letter in _letters(file.path):
            element = self._element(letter, place)
            if (reason := still_rejected(letter, element, self._schema)) is not None:
                if not self._dead_letters:
                    raise bundle_error([reason], table=self._table, total_rows=1)
                yield TaggedOutput(REJECTED, FailedRows.of([element], [reason], table=self._table))
                continue
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
            names = [name for name in _COLUMNS if name in source.schema_arrow.names]
            if "element" not in names:
                raise InputError(f"{path} does not hold dead letters: they need the column element")
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
    if not number:
        raise InputError(f"{path} is empty, and dead letters never are: it was cut off; restore it, or remove it")


def main(arguments: Sequence[str] | None = None) -> int:
    """Send kept rows again; return 0, 1 where the pipeline failed, 2 for a wrong argument, 130 or 143 if stopped."""
    console = Console()
    quieten()
    try:
        letters, options = arguments_of(_parser(), arguments)
        pipeline = _pipeline(letters, options)
    except (InputError, ZerobusError) as error:
        complain("replay", error)
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
    zerobus = options.view_as(ZerobusOptions)
    kept = _kept(letters.input, zerobus.zerobus_table)
    directories = {
        table: letters.dead_letters
        and letters_of(letters.dead_letters, None if table == zerobus.zerobus_table else table)
        for table in kept
    }
    for directory in filter(None, directories.values()):
        check_unused(directory)
    sinks = {
        table: sink_of(options, dead_letters=letters.dead_letters, profile=letters.profile, table=table)
        for table in kept
    }
    known = zerobus.zerobus_schema or not zerobus.zerobus_dry_run
    schemas = {table: sink.resolve_schema() if known else None for table, sink in sinks.items()}
    pipeline = beam.Pipeline(options=options)
    for table, patterns in kept.items():
        name = "" if len(kept) == 1 else f" {table}"
        keeps = bool(letters.dead_letters) or zerobus.zerobus_on_bad_rows == "dead_letter"
        read = (
            pipeline
            | f"Find{name}" >> beam.Create(patterns)
            | f"Match{name}" >> fileio.MatchAll()
            | f"Read{name}"
            >> beam.ParDo(_ReadLetters(table, schemas[table], dead_letters=keeps))
            .with_output_types(Any, **{REJECTED: FailedRows})
            .with_outputs(REJECTED, main="rows")
        )
        result = read["rows"] | f"Send{name}" >> sinks[table]
        result.acknowledged | f"CountWritten{name}" >> CountWritten()
        every = (result.failed_rows, read[REJECTED]) | f"Flatten{name}" >> beam.Flatten()
        failed = every | f"CountFailed{name}" >> CountFailed()
        if (directory := directories[table]) is not None:
            failed | f"KeepDeadLetters{name}" >> KeepDeadLetters(directory)
    return pipeline


def _kept(directory: str, table: str) -> dict[str, list[str]]:
    """Return for each table a pattern for each format that there are dead letters of.

    Raises:
        InputError: There are none, or those of other tables.
    """
    found: dict[str, list[str]] = {}
    with listing(directory):
        patterns = [FileSystems.join(literal(directory), f"*.{suffix}") for suffix in get_args(LetterFormat)]
        matches = zip(patterns, FileSystems.match(patterns, limits=[1] * len(patterns)), strict=True)
        kept = [pattern for pattern, match in matches if match.metadata_list]
        below = [FileSystems.join(literal(directory), "*", f"*.{suffix}") for suffix in get_args(LetterFormat)]
        for match in [] if kept else FileSystems.match(below):
            for file in match.metadata_list:
                found.setdefault(folder_of(file.path), []).append(literal(file.path))
    if kept and "{" in table:
        raise InputError(
            f"{directory} has the dead letters of one table: name that, as --zerobus_table=catalog.schema.table, "
            "instead of a template"
        )
    if kept:
        return {table: kept}
    if not found and Path(directory).is_file():
        raise InputError(f"{directory} is a file: name the directory that it is in")
    if not found:
        raise InputError(f"No file matches {' or '.join(patterns)}: check the path")
    others = [name for name in found if not matches_template(table, name)]
    if others:
        raise InputError(
            f"{directory} has a directory for the dead letters of each table, and --zerobus_table={table} is not that "
            f"of {', '.join(sorted(others)[:_SHOWN])}: name one of the directories and its table, or the template of "
            "the run, such as main.iot.{folder}"
        )
    return found


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("replay", "Send the rows again that a table rejected.")
    parser.add_argument(
        "--input",
        required=True,
        metavar="DIR",
        help="directory of --dead_letters or KeepDeadLetters; with the template of a run, that of all its tables",
    )
    return parser

"""Send the rows of Parquet, CSV, JSON and Avro files to a Delta table through Zerobus.

    beam-zerobus send --input 'data/*.parquet' --zerobus_table main.iot.air_quality

Endpoint, workspace and credentials come from the environment, as for any sink; docs/pipelines.md describes the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystem import FileMetadata
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.pvalue import PCollection
from rich.console import Console

from beam_zerobus.errors import ZerobusError, counted
from beam_zerobus.programs.command import InputError, arguments_of, check_unused, complain, parser_of, quieten, sink_of
from beam_zerobus.programs.find_files import FORMATS, STDIN, FileFormat, files_by_format, with_stdin_as_file
from beam_zerobus.programs.progress import (
    CountFailed,
    CountWritten,
    again_from_the_start,
    run_and_report,
)
from beam_zerobus.programs.read_csv import CsvMeaning, check_header
from beam_zerobus.programs.read_files import read_csv, read_numbered, read_rows
from beam_zerobus.programs.tables import folder_of, letters_of, tables_of
from beam_zerobus.programs.written_rows import Run, check_free, journal_of
from beam_zerobus.schema.time_rules import TimeRules
from beam_zerobus.sink.dead_letters import KeepDeadLetters
from beam_zerobus.sink.pipeline_options import ZerobusOptions
from beam_zerobus.sink.transform import WriteToZerobus, noting_written
from beam_zerobus.writer.writers_config import WritersOptions

__all__ = ["main", "make_parser"]

_SHOWN_FILES = 3
_FOLDER = "{folder}"
_RUNNERS_ON_THIS_MACHINE = ("FnApiRunner", "DirectRunner")


def main(arguments: Sequence[str] | None = None) -> int:
    """Send the files; return 0, 1 where rows or the pipeline failed, 2 for a wrong argument, 130 or 143 if stopped."""
    console = Console()
    quieten()
    try:
        files, options = arguments_of(make_parser(), arguments)
        with with_stdin_as_file(files.input, files.format) as patterns:
            return _send(files, patterns, options, console)
    except (InputError, ZerobusError) as error:
        complain("send", error)
        return 2


def _send(files: argparse.Namespace, patterns: list[str], options: PipelineOptions, console: Console) -> int:
    """Send the files of patterns.

    Raises:
        InputError: A file or an argument is wrong.
        ZerobusError: A setting of the sink is wrong, or the header of a CSV file does not fit the table.
    """
    zerobus = options.view_as(ZerobusOptions)
    found, left_out = files_by_format(patterns, files.format)
    _check(files, zerobus, found)
    tables = _by_table(zerobus, found)
    if files.dead_letters and not files.resume:
        for table in tables:
            check_unused(letters_of(files.dead_letters, table if _by_folder(zerobus) else None))
    sinks = {
        table: sink_of(options, dead_letters=files.dead_letters, profile=files.profile, table=table) for table in tables
    }
    meanings = {
        table: _csv_meaning(files, zerobus, sinks[table], table)
        for table, of_table in tables.items()
        if "csv" in of_table
    }
    for table, meaning in meanings.items():
        check_header(tables[table]["csv"][0].path, meaning)
    run = _run(files, found, options, meanings)
    with nullcontext() if run is None else run:
        pipeline = _pipeline(files, tables, options, sinks=sinks, meanings=meanings, run=run)
        _announce(zerobus, found, left_out, run, console)
        status = run_and_report(
            pipeline,
            console,
            dead_letters=files.dead_letters,
            dry_run=bool(zerobus.zerobus_dry_run),
            total_bytes=sum(file.size_in_bytes for of_format in found.values() for file in of_format),
            how_to_go_on=_from_the_start if run is None else run.how_to_go_on,
        )
        if run is not None and status == 0:
            run.finish()
    return status


def _announce(
    zerobus: ZerobusOptions,
    found: Mapping[FileFormat, list[FileMetadata]],
    left_out: Sequence[str],
    run: Run | None,
    console: Console,
) -> None:
    count = sum(map(len, found.values()))
    say = console.out
    files, table = counted(count, "file"), zerobus.zerobus_table
    dry = zerobus.zerobus_dry_run
    say(f"Checking {files} for {table}; nothing is sent" if dry else f"Sending {files} to {table}", highlight=False)
    if zerobus.zerobus_dry_run and not zerobus.zerobus_schema:
        say("The table is not read; --zerobus_schema=unity_catalog checks the rows against it", highlight=False)
    if left_out:
        names = ", ".join(left_out[:_SHOWN_FILES]) + (", ..." if len(left_out) > _SHOWN_FILES else "")
        say(f"Left out {counted(len(left_out), 'file')} of unknown format: {names}", highlight=False)
    if run is not None and run.rows_before:
        say(f"An earlier run wrote {counted(run.rows_before, 'row')}; what it wrote is not sent again", highlight=False)


def _from_the_start(written: int) -> str:
    hint = " A run with --dead_letters DIR, a directory of this machine, can go on after a failure, with --resume."
    return again_from_the_start(written) + hint


def _pipeline(
    files: argparse.Namespace,
    tables: Mapping[str, Mapping[FileFormat, list[FileMetadata]]],
    options: PipelineOptions,
    *,
    sinks: Mapping[str, WriteToZerobus],
    meanings: Mapping[str, CsvMeaning],
    run: Run | None,
) -> beam.Pipeline:
    zerobus = options.view_as(ZerobusOptions)
    with_failed_rows = bool(files.dead_letters) or zerobus.zerobus_on_bad_rows == "dead_letter"
    pipeline = beam.Pipeline(options=options)
    for table, of_table in tables.items():
        name = "" if len(tables) == 1 else f" {table}"
        failed = _write(
            pipeline,
            of_table,
            sinks[table],
            meaning=meanings.get(table),
            run=run,
            name=name,
            with_failed_rows=with_failed_rows,
        )
        # Runners may store what is flattened, so not without need.
        all_failed = failed[0] if len(failed) == 1 else failed | f"Flatten{name}" >> beam.Flatten()
        counted_failed = all_failed | f"CountFailed{name}" >> CountFailed()
        if files.dead_letters:
            letters = letters_of(files.dead_letters, table if _by_folder(zerobus) else None)
            counted_failed | f"KeepDeadLetters{name}" >> KeepDeadLetters(letters)
    return pipeline


def _write(
    pipeline: beam.Pipeline,
    found: Mapping[FileFormat, list[FileMetadata]],
    sink: WriteToZerobus,
    *,
    meaning: CsvMeaning | None,
    run: Run | None,
    name: str,
    with_failed_rows: bool,
) -> list[PCollection[Any]]:
    """Read the files of a table and write their rows; return those that failed."""
    if run is not None:
        sink = noting_written(sink, run.journal.note)
    failed: list[PCollection[Any]] = []
    for file_format, of_format in found.items():
        label = file_format + name
        csv = meaning if file_format == "csv" else None
        if run is not None:
            rows, rejected = read_numbered(
                pipeline, file_format, run.numbered(of_format), run.written, meaning=csv, label=label
            )
            failed.append(rejected)
        elif csv is not None:
            rows, rejected = read_csv(pipeline, of_format, csv, label, dead_letters=with_failed_rows)
            failed.append(rejected)
        else:
            rows = read_rows(pipeline, file_format, of_format, label)
        # Formats apart, as their rows differ in kind; it is one sink all the same, and so one stream.
        result = rows | f"Write {label}" >> sink
        result.acknowledged | f"Count {label}" >> CountWritten()
        failed.append(result.failed_rows)
    return failed


def _by_folder(zerobus: ZerobusOptions) -> bool:
    return _FOLDER in (zerobus.zerobus_table or "")


def _by_table(
    zerobus: ZerobusOptions, found: Mapping[FileFormat, list[FileMetadata]]
) -> dict[str, dict[FileFormat, list[FileMetadata]]]:
    """Return the files of each table, by format.

    Raises:
        InputError: There are more tables than may be open at once, or two folders give one name.
    """
    if not _by_folder(zerobus):
        return {zerobus.zerobus_table: dict(found)}  # the sink says what is wrong with it
    every = {file.path: folder_of(file.path) for of_format in found.values() for file in of_format}
    names = tables_of(zerobus.zerobus_table, "folder", every.values())
    limit = zerobus.zerobus_max_open_tables or WritersOptions().max_open_tables
    if len(set(names.values())) > limit:
        raise InputError(
            f"The files are for {len(names)} tables, and --zerobus_max_open_tables={limit} may be open at once: raise "
            "it, or send the folders in several runs"
        )
    tables: dict[str, dict[FileFormat, list[FileMetadata]]] = {}
    for file_format, of_format in found.items():
        for file in of_format:
            of_table = tables.setdefault(names[every[file.path]], {})
            of_table.setdefault(file_format, []).append(file)
    return tables


def _run(
    files: argparse.Namespace,
    found: Mapping[FileFormat, list[FileMetadata]],
    options: PipelineOptions,
    meanings: Mapping[str, CsvMeaning],
) -> Run | None:
    """Begin the run that notes what is written; None where it cannot be resumed.

    Raises:
        InputError: There is nothing to resume, it would not find the same rows again, or another run is using the
            directory.
    """
    zerobus = options.view_as(ZerobusOptions)
    reasons = {
        "it needs --dead_letters DIR, where the run that did not finish noted what is written": not files.dead_letters,
        "--dead_letters must be a local directory": "://" in (files.dead_letters or ""),
        "standard input cannot be read again": STDIN in files.input,
        "a dry run writes nothing": bool(zerobus.zerobus_dry_run),
        f"--runner must be {' or '.join(_RUNNERS_ON_THIS_MACHINE)}": (
            options.view_as(StandardOptions).runner.rpartition(".")[2] not in _RUNNERS_ON_THIS_MACHINE
        ),
    }
    reason = next((reason for reason, holds in reasons.items() if holds), None)
    if reason is not None:
        if files.resume:
            raise InputError(f"--resume is not possible: {reason}")
        return None
    settings: dict[str, Any] = {"--zerobus_table": zerobus.zerobus_table, "--format": files.format}
    if meanings:
        # What decides which rows of a file can be read, and so their numbers.
        meaning = next(iter(meanings.values()))
        settings |= {
            "--delimiter": meaning.delimiter,
            "--null_value": list(meaning.null_values),
            "--zerobus_assume_timezone": meaning.times.assume_timezone,
            "--zerobus_epoch_unit": meaning.times.epoch_unit,
            "--zerobus_on_unknown_fields": meaning.on_unknown_fields,
            "the table's columns": {table: meaning.schema.to_ddl() for table, meaning in sorted(meanings.items())},
        }
    every = [file for of_format in found.values() for file in of_format]
    return Run.begin(files.dead_letters, every, settings, resume=files.resume)


def _check(files: argparse.Namespace, zerobus: ZerobusOptions, formats: Iterable[FileFormat]) -> None:
    if "{" in (zerobus.zerobus_table or "").replace(_FOLDER, ""):
        raise InputError(
            f"--zerobus_table={zerobus.zerobus_table} has a field, and this program chooses a table only by the folder "
            "of a file, as {folder}: use WriteToZerobus in a pipeline"
        )
    if STDIN in files.input and _FOLDER in (zerobus.zerobus_table or ""):
        raise InputError(f"--zerobus_table={zerobus.zerobus_table}: standard input has no folder; name the table")
    if files.dead_letters and "://" not in files.dead_letters:
        check_free(files.dead_letters)
        journal = journal_of(files.dead_letters)
        if files.resume and not journal.exists():
            raise InputError(
                f"{files.dead_letters} has no notes of a run that did not finish: name its directory, "
                "or leave out --resume"
            )
        if not files.resume and journal.exists():
            raise InputError(
                f"{files.dead_letters} has the notes of a run that did not finish: add --resume to send what it did "
                "not write, or name another directory"
            )
    untyped = [file_format for file_format in formats if file_format != "parquet"]
    if untyped and zerobus.zerobus_dry_run and not zerobus.zerobus_schema:
        raise InputError(
            f"A dry run sends no request, and {', '.join(untyped)} does not determine the columns: give "
            "--zerobus_schema=unity_catalog to fetch the table's, or write them as DDL"
        )


def _csv_meaning(files: argparse.Namespace, zerobus: ZerobusOptions, sink: WriteToZerobus, table: str) -> CsvMeaning:
    return CsvMeaning(
        table=table,
        schema=sink.resolve_schema(),
        on_unknown_fields=zerobus.zerobus_on_unknown_fields
        or ("ignore" if zerobus.zerobus_ignore_unknown_fields else "reject"),
        delimiter=files.delimiter,
        null_values=tuple(files.null_value),
        times=TimeRules(
            assume_timezone=zerobus.zerobus_assume_timezone or None, epoch_unit=zerobus.zerobus_epoch_unit or None
        ),
    )


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the program's own flags."""
    parser = parser_of(
        "send",
        "Send the rows of Parquet, CSV, JSON and Avro files to a Delta table through Zerobus. "
        "With --zerobus_table 'main.iot.{folder}' each folder has a table of its own.",
    )
    parser.add_argument(
        "--input",
        required=True,
        nargs="+",
        action="extend",
        metavar="PATTERN",
        help="files, patterns in quotes, or directories, local or of a Beam filesystem such as gs://bucket/*.parquet; "
        "- is standard input",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="send what a run with the same --dead_letters did not write before it ended",
    )
    parser.add_argument("--format", choices=FORMATS, type=_format, help="format of all files (what their names end in)")
    parser.add_argument("--delimiter", default=",", type=_delimiter, metavar="CHAR", help="between CSV values (,)")
    parser.add_argument(
        "--null_value",
        nargs="+",
        default=[""],
        metavar="TEXT",
        help="unquoted text that means null in CSV (nothing between two delimiters)",
    )
    return parser


def _format(text: str) -> str:
    return "jsonl" if text == "json" else text


def _delimiter(text: str) -> str:
    character = {"\\t": "\t", "tab": "\t"}.get(text, text)
    if len(character) != 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not one character")
    return character

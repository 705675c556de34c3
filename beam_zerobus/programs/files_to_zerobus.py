"""Send the rows of Parquet, CSV, JSON lines and Avro files to a Delta table through Zerobus.

    beam-zerobus send --input 'data/*.parquet' --zerobus_table main.iot.air_quality

Endpoint, workspace and credentials come from the environment, as for any sink; docs/pipelines.md describes the rest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection
from rich.console import Console

from beam_zerobus.errors import ZerobusError
from beam_zerobus.programs.command import InputError, arguments_of, check_unused, parser_of, quieten, sink_of
from beam_zerobus.programs.progress import CountFailed, CountWritten, run_and_report
from beam_zerobus.programs.read_csv import CsvMeaning, check_header
from beam_zerobus.programs.read_files import FORMATS, FileFormat, find_files, patterns_by_format, read_csv, read_rows
from beam_zerobus.schema.time_rules import TimeRules
from beam_zerobus.sink.dead_letters import KeepDeadLetters
from beam_zerobus.sink.pipeline_options import ZerobusOptions
from beam_zerobus.sink.transform import WriteToZerobus

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Send the files; return 0, 1 where rows or the pipeline failed, 2 where an argument or a file is wrong."""
    console = Console()
    quieten()
    try:
        files, options = arguments_of(_parser(), arguments)
        pipeline, count = _pipeline(files, options)
    except (InputError, ZerobusError) as error:
        sys.stderr.write(f"beam-zerobus send: {error}\n")
        return 2
    zerobus = options.view_as(ZerobusOptions)
    verb = "Checking (nothing is sent)" if zerobus.zerobus_dry_run else "Sending"
    console.print(f"{verb} {count:,} file{'s' * (count != 1)} to {zerobus.zerobus_table}", highlight=False)
    return run_and_report(pipeline, console, dead_letters=files.dead_letters, dry_run=bool(zerobus.zerobus_dry_run))


def _pipeline(files: argparse.Namespace, options: PipelineOptions) -> tuple[beam.Pipeline, int]:
    """Check what can be checked before anything runs, and make the pipeline.

    Returns:
        The pipeline, and the number of files that it reads.

    Raises:
        InputError: A file or an argument is wrong.
        ZerobusError: A setting of the sink is wrong, or the header of a CSV file does not fit the table.
    """
    zerobus = options.view_as(ZerobusOptions)
    inputs = patterns_by_format(files.input, files.format)
    found = {file_format: find_files(patterns) for file_format, patterns in inputs.items()}
    _check(files, zerobus, inputs)
    with_failed_rows = bool(files.dead_letters) or zerobus.zerobus_on_bad_rows == "dead_letter"
    sink = sink_of(options, dead_letters=files.dead_letters)
    pipeline = beam.Pipeline(options=options)
    failed: list[PCollection[Any]] = []
    for file_format, patterns in inputs.items():
        if file_format == "csv":
            meaning = _csv_meaning(files, zerobus, sink)
            check_header(found[file_format][0].path, meaning)
            rows, rejected = read_csv(pipeline, patterns, meaning, dead_letters=with_failed_rows)
            failed.append(rejected)
        else:
            rows = read_rows(pipeline, file_format, patterns)
        # Formats apart, as their rows differ in kind; it is one sink all the same, and so one stream.
        result = rows | f"Write {file_format}" >> sink
        result.acknowledged | f"Count {file_format}" >> CountWritten()
        failed.append(result.failed_rows)
    # Runners may store what is flattened, so not without need.
    all_failed = (failed[0] if len(failed) == 1 else failed | beam.Flatten()) | CountFailed()
    if files.dead_letters:
        all_failed | KeepDeadLetters(files.dead_letters)
    return pipeline, sum(map(len, found.values()))


def _check(files: argparse.Namespace, zerobus: ZerobusOptions, formats: Iterable[FileFormat]) -> None:
    if files.dead_letters:
        check_unused(files.dead_letters)
    untyped = [file_format for file_format in formats if file_format != "parquet"]
    if untyped and zerobus.zerobus_dry_run and not zerobus.zerobus_schema:
        raise InputError(
            f"A dry run asks nobody for the table's columns, and {', '.join(untyped)} does not determine them: "
            "give --zerobus_schema"
        )


def _csv_meaning(files: argparse.Namespace, zerobus: ZerobusOptions, sink: WriteToZerobus) -> CsvMeaning:
    return CsvMeaning(
        table=zerobus.zerobus_table,
        schema=sink.resolve_schema(),
        ignore_unknown_fields=bool(zerobus.zerobus_ignore_unknown_fields),
        delimiter=files.delimiter,
        null_values=tuple(files.null_value),
        times=TimeRules(
            assume_timezone=zerobus.zerobus_assume_timezone or None, epoch_unit=zerobus.zerobus_epoch_unit or None
        ),
    )


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(
        "send", "Send the rows of Parquet, CSV, JSON lines and Avro files to a Delta table through Zerobus."
    )
    parser.add_argument(
        "--input",
        required=True,
        nargs="+",
        action="extend",
        metavar="PATTERN",
        help="files, or patterns in quotes, local or of a Beam filesystem such as gs://bucket/*.parquet",
    )
    parser.add_argument("--format", choices=FORMATS, help="format of all files (what their names end in)")
    parser.add_argument("--delimiter", default=",", type=_delimiter, metavar="CHAR", help="between CSV values (,)")
    parser.add_argument(
        "--null_value",
        nargs="+",
        default=[""],
        metavar="TEXT",
        help="unquoted text that means null in CSV (nothing between two delimiters)",
    )
    return parser


def _delimiter(text: str) -> str:
    character = {"\\t": "\t", "tab": "\t"}.get(text, text)
    if len(character) != 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not one character")
    return character

"""The command `beam-zerobus`, which leads to all others."""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from beam_zerobus.errors import ZerobusError
from beam_zerobus.options.extras import needs_extra
from beam_zerobus.options.flags import BriefParser, CommandParser, nearest, whole_number
from beam_zerobus.options.signals import exit_code_of, interrupt_at_signals
from beam_zerobus.options.wording import for_command
from beam_zerobus.version import __version__

if TYPE_CHECKING:
    from beam_zerobus.debug_files.inspect.files import DebugFile

__all__ = ["main"]

_PROGRAMS = {"send": "files_to_zerobus", "kafka": "kafka_to_zerobus", "replay": "replay_dead_letters"}
_OF_THE_EMULATOR = {"emulator": "__main__", "replay-calls": "recording.command"}
_in_flags = for_command(
    (
        *("assume_timezone", "create_table", "endpoint", "epoch_unit", "message_name", "on_unknown_fields"),
        *("rescue_column", "schema", "warehouse_id", "wire_format", "workspace_url"),
    )
)
_FAILURE = 2  # as argparse; 1: a file is not complete, or files differ


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Args:
        argv: The arguments without the command's name; None uses those of the process.

    Returns:
        0; 1 if ``inspect`` found a file that is not complete, or differences with ``--diff``; 2 after an error, with
        one line on standard error; 130 after Ctrl-C, 143 after SIGTERM.

    Example:
        >>> main(["schema", "id BIGINT NOT NULL, ts TIMESTAMP", "--format", "ddl"])
        id BIGINT NOT NULL, ts TIMESTAMP
        0
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    sys.stdout, sys.stderr = sys.stdout or _nowhere(), sys.stderr or _nowhere()  # None where they are closed
    if arguments[:1] != ["schema"]:  # which others read
        _escape_what_it_lacks(sys.stdout)
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except (ZerobusError, OSError, ValueError) as error:  # such as that of an output on a full disk
        from beam_zerobus.debug_files.inspect.text import visible  # noqa: PLC0415  keeps the other commands quick

        sys.stderr.write(f"beam-zerobus: {visible(_in_flags(str(error)))}\n")
        _leave_broken_output()
        return _FAILURE
    except KeyboardInterrupt as interrupt:
        sys.stderr.write("beam-zerobus: interrupted\n")
        return exit_code_of(interrupt)
    return status


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def _escape_what_it_lacks(output: TextIO) -> None:
    """Let an output escape characters that its encoding lacks, such as cp1252, which pipes of Windows have."""
    if isinstance(output, io.TextIOWrapper) and output.errors == "strict":
        output.reconfigure(errors="backslashreplace")


def _leave_broken_output() -> None:
    """Keep Python from a second error at its end, where it flushes the output."""
    try:
        sys.stdout.flush()
    except OSError:
        sys.stdout = _nowhere()


def _run(arguments: list[str]) -> int:
    if arguments[:1] and arguments[0] in _OF_THE_EMULATOR:
        return _emulator(arguments[0], arguments[1:])
    if arguments[:1] == ["check"]:
        from beam_zerobus.check.command import run as run_check  # noqa: PLC0415  keeps the other commands quick

        return run_check(arguments[1:])
    if arguments[:1] == ["create-table"]:
        from beam_zerobus.tables.command import run as create_table  # noqa: PLC0415

        return create_table(arguments[1:])
    if arguments[:1] == ["gateway"]:
        from beam_zerobus.gateway.command import run as run_gateway  # noqa: PLC0415

        return run_gateway(arguments[1:])
    if arguments[:1] and arguments[0] in _PROGRAMS:
        return _program(arguments[0], arguments[1:])
    options = _parsed(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    return command(options)


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = BriefParser(
        prog="beam-zerobus",
        description="Send rows to Databricks Delta tables, check tables, inspect debug files, run an emulator.",
        epilog="beam-zerobus COMMAND --help shows the options of a command.",
    )
    parser.add_argument("--version", action="version", version=f"beam-zerobus {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=CommandParser)

    inspect = commands.add_parser("inspect", help="show the content of debug files", description=_inspect.__doc__)
    inspect.add_argument(
        "path", metavar="PATH", help="a file, a pattern, or a directory; local or of a Beam filesystem"
    )
    inspect.add_argument("--head", type=whole_number(0), default=5, metavar="N", help="rows to show (%(default)s)")
    inspect.add_argument("--columns", default="", metavar="A,B", help="columns of these rows to show (all)")
    inspect.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="CONDITION",
        help="only rows where COLUMN=VALUE; also != < <= > >=; the value null matches nulls; may be repeated",
    )
    inspect.add_argument("--this-file-only", action="store_true", help="leave out the rotated files of PATH")
    inspect.add_argument("--diff", action="store_true", help="compare Arrow files with protobuf files, row by row")
    inspect.add_argument(
        "--limit",
        type=whole_number(0),
        default=20,
        metavar="N",
        help="rejected rows or differences to show (%(default)s)",
    )
    inspect.add_argument("--json", action="store_true", help="write JSON")
    inspect.set_defaults(command=_inspect)

    schema = commands.add_parser("schema", help="print a table's schema in another form", description=_schema.__doc__)
    schema.add_argument(
        "source",
        metavar="SOURCE",
        help="DDL such as 'id BIGINT NOT NULL, ts TIMESTAMP', or a file: .sql or .ddl (such a column list), "
        ".json (a table of Unity Catalog), .arrow, .parquet",
    )
    schema.add_argument("--format", choices=("ddl", "proto", "arrow"), default="proto", help="(%(default)s)")
    schema.add_argument("--message-name", default="Row", metavar="NAME", help="the protobuf message (%(default)s)")
    schema.set_defaults(command=_schema)

    commands.add_parser("send", help="send Parquet, CSV, JSON and Avro files", add_help=False)
    commands.add_parser("kafka", help="send JSON messages of Kafka topics", add_help=False)
    commands.add_parser("replay", help="send rejected rows again", add_help=False)
    commands.add_parser("check", help="find what keeps rows from a table", add_help=False)
    commands.add_parser("create-table", help="create a table that rows can be sent to", add_help=False)
    commands.add_parser("emulator", help="run an emulator of Zerobus", add_help=False)
    commands.add_parser("replay-calls", help="send recorded calls to an emulator again", add_help=False)
    commands.add_parser("gateway", help="write the batches of Arrow Flight clients", add_help=False)
    names = list(commands.choices)
    if not arguments:
        parser.error(f"name a command: {', '.join(names)}")
    if arguments[0] not in names and not arguments[0].startswith("-"):
        near = nearest(arguments[0], names)
        parser.error(f"there is no command {arguments[0]}: " + (f"did you mean {near}?" if near else "see --help"))
    return parser.parse_args(arguments)


def _emulator(name: str, arguments: list[str]) -> int:
    try:
        module = importlib.import_module(f"beam_zerobus.emulator.{_OF_THE_EMULATOR[name]}")
    except ModuleNotFoundError as error:
        return _say_missing(name, "emulator", error)
    status: int = module.main(arguments)
    return status


def _program(name: str, arguments: list[str]) -> int:
    """Run a program; it imports Beam, which takes seconds."""
    interrupt_at_signals()
    try:
        module = importlib.import_module(f"beam_zerobus.programs.{_PROGRAMS[name]}")
    except ModuleNotFoundError as error:
        return _say_missing(name, "cli", error)
    status: int = module.main(arguments)
    return status


def _inspect(options: argparse.Namespace) -> int:
    """Show schema, counts, time spans and first rows of debug files, or compare Arrow files with protobuf files."""
    from beam_zerobus.debug_files.inspect.conditions import Condition  # noqa: PLC0415  keeps the other commands quick
    from beam_zerobus.debug_files.inspect.diff import compare, pairs  # noqa: PLC0415
    from beam_zerobus.debug_files.inspect.report import (  # noqa: PLC0415
        as_json,
        diff_as_json,
        diff_tables,
        summary_tables,
    )
    from beam_zerobus.debug_files.inspect.summary import summarize  # noqa: PLC0415

    if not options.json:
        try:
            import rich  # noqa: F401, PLC0415  an extra
        except ModuleNotFoundError as error:
            return _say_missing("inspect", "cli", error, otherwise=", or write JSON with --json")
    files = _debug_files(options.path, rotated=not options.this_file_only)
    cuts: list[str] = []
    if options.diff:
        diffs = [compare(arrow, proto, limit=options.limit, note=cuts.append) for arrow, proto in pairs(files)]
        _write([diff_as_json(diff) for diff in diffs] if options.json else diff_tables(diffs), as_json=options.json)
        return max(_say(cuts), int(not all(diff.is_same for diff in diffs)))
    summaries = summarize(
        files,
        head=options.head,
        columns=[name for name in options.columns.split(",") if name],
        conditions=[Condition.parse(text) for text in options.where],
        limit=options.limit,
        note=cuts.append,
    )
    if options.json:
        _write([as_json(summary) for summary in summaries], as_json=True)
    else:
        _write([table for summary in summaries for table in summary_tables(summary, _width())], as_json=False)
    return _say(cuts)


def _say(cuts: list[str]) -> int:
    """Name the files that are not complete; return 1 if there are any, else 0."""
    sys.stdout.flush()
    for cut in cuts:
        sys.stderr.write(f"beam-zerobus: {cut}\n")
    return int(bool(cuts))


def _debug_files(path: str, *, rotated: bool) -> list[DebugFile]:
    """Return the files of both formats at a path."""
    from beam_zerobus.debug_files.inspect.files import find_files  # noqa: PLC0415

    found: list[DebugFile] = []
    missing: list[FileNotFoundError] = []
    for suffix in (".arrow", ".proto"):
        try:
            found += find_files(path, suffix, rotated=rotated)
        except FileNotFoundError as error:
            missing.append(error)
    if not found:
        raise FileNotFoundError(
            f"no debug file (.arrow, .proto) at {path}: name one, a pattern, or the directory above them"
        )
    return found


def _schema(options: argparse.Namespace) -> int:
    """Print a table's schema as DDL, as a .proto file or as Arrow fields."""
    from beam_zerobus.schema.schema_files import read_schema  # noqa: PLC0415

    schema = read_schema(options.source)
    if options.format == "ddl":
        text = schema.to_ddl()
    elif options.format == "proto":
        text = schema.to_proto(options.message_name)
    else:
        text = str(schema.to_arrow())
    lines = text.rstrip("\n").split("\n")
    if sys.stdout.isatty():  # into a file or a pipe, names go as they are
        from beam_zerobus.debug_files.inspect.text import visible  # noqa: PLC0415

        lines = [visible(line) for line in lines]
    try:
        sys.stdout.write("\n".join(lines) + "\n")
    except UnicodeEncodeError as error:
        lacking = error.object[error.start]
        raise ValueError(
            f"standard output is {sys.stdout.encoding}, which has no {lacking!a}: set PYTHONIOENCODING=utf-8"
        ) from None
    return 0


def _write(output: list[Any], *, as_json: bool) -> None:
    if as_json:
        from beam_zerobus.debug_files.inspect.text import visible_in_json  # noqa: PLC0415

        is_unicode = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
        sys.stdout.write(visible_in_json(json.dumps(output, indent=2, ensure_ascii=not is_unicode)) + "\n")
        return
    from rich.console import Console  # noqa: PLC0415  an extra

    console = Console()
    for part in output:
        console.print(part)


def _width() -> int:
    from rich.console import Console  # noqa: PLC0415  an extra

    return Console().width


def _say_missing(command: str, extra: str, error: ModuleNotFoundError, otherwise: str = "") -> int:
    sys.stderr.write(f"{needs_extra(command, extra, error)}{otherwise}\n")
    return _FAILURE

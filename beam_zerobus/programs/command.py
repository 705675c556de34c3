"""What the programs share: arguments, logging and error messages."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from beam_zerobus.options.flags import flags_of, nearest, no_such_flag
from beam_zerobus.sink.pipeline_options import ZerobusOptions
from beam_zerobus.sink.transform import WriteToZerobus

__all__ = [
    "InputError",
    "arguments_of",
    "check_unused",
    "in_flags",
    "last_line",
    "literal",
    "parser_of",
    "quieten",
    "sink_of",
]

_GLOB = re.compile(r"[*?\[]")
_STEP = re.compile(r" \[while running '[^']*'\]$")
_OPTIONS_IN_REASONS = ("assume_timezone", "epoch_unit", "on_unknown_fields", "wire_format")
_OTHER_CREDENTIALS = "name other variables with --zerobus_client_id_env and --zerobus_client_secret_env"
_FURTHER_FLAGS = ("flink", "spark", "portable", "dataflow")  # runners whose service adds flags that Beam does not list


class InputError(Exception):
    """An argument or an input is wrong; the message is one sentence with the remedy."""


def parser_of(name: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that all programs share; each program adds its own.

    Args:
        name: The command's name, such as ``send``.
        description: What it does, in one sentence.
    """
    parser = argparse.ArgumentParser(
        prog=f"beam-zerobus {name}",
        description=description,
        epilog="Addresses and credentials come from ZEROBUS_ENDPOINT, DATABRICKS_HOST, DATABRICKS_CLIENT_ID and "
        "DATABRICKS_CLIENT_SECRET.",
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("--dead_letters", metavar="DIR", help="keep rejected rows in this directory and go on")
    return parser


def arguments_of(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None, *, runner: str = "FnApiRunner"
) -> tuple[argparse.Namespace, PipelineOptions]:
    """Separate the arguments of the program from those of the sink and the runner.

    Args:
        parser: From `parser_of`, with the program's own options; ``--help`` shows the sink's flags too.
        arguments: The arguments; None means those of the process.
        runner: The runner to use without ``--runner``.

    Returns:
        The program's own arguments, and all others as Beam's options.

    Raises:
        InputError: Nobody knows one of the flags, or none names the table.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if {"-h", "--help"} & set(given):
        _with_flags_of_the_sink(parser).parse_args(["--help"])
    own, others = _split(given, parser)
    options = PipelineOptions(others)
    standard = options.view_as(StandardOptions)
    standard.runner = standard.runner or runner
    _reject_unknown(others, parser, standard.runner)
    parsed = parser.parse_args(own)
    if not options.view_as(ZerobusOptions).zerobus_table:
        raise InputError("Name the table: --zerobus_table=catalog.schema.table")
    return parsed, options


def _split(arguments: Sequence[str], parser: argparse.ArgumentParser) -> tuple[list[str], list[str]]:
    """Assign each argument to a flag; argparse would assign a value with a space to the flag before it."""
    flags = flags_of(parser)
    own: list[str] = []
    others: list[str] = []
    target = own
    for argument in arguments:
        if argument.startswith("--"):
            target = own if argument.partition("=")[0] in flags else others
        target.append(argument)
    return own, others


def _reject_unknown(others: Sequence[str], parser: argparse.ArgumentParser, runner: str) -> None:
    """Reject flags that neither the program nor Beam knows; Beam itself runs without them."""
    known = flags_of(parser)
    PipelineOptions([]).get_all_options(add_extra_args_fn=lambda beams: known.update(flags_of(beams)))
    # The service of such a runner may know a flag that resembles no other.
    cutoff = 0.8 if any(name in runner.lower() for name in _FURTHER_FLAGS) else 0.6
    for argument in others:
        flag = argument.partition("=")[0]  # a value may hold a secret
        if not flag.startswith("--") or flag in known:
            continue
        of_the_sink = f"--zerobus_{flag[2:].replace('-', '_')}"
        near = of_the_sink if of_the_sink in known else nearest(flag, known, cutoff)
        if near or cutoff < 0.8:
            raise InputError(no_such_flag(flag, near))


def _with_flags_of_the_sink(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    indent = " " * len(f"usage: {parser.prog} ")
    whole = argparse.ArgumentParser(
        prog=parser.prog,
        usage=f"{parser.format_usage().removeprefix('usage: ').strip()}\n{indent}--zerobus_table TABLE ...",
        description=parser.description,
        epilog=f"{parser.epilog} All other options are Beam's own, such as --runner=FlinkRunner.",
        parents=[parser],
    )
    ZerobusOptions._add_argparse_args(whole)
    return whole


def sink_of(
    options: PipelineOptions, *, dead_letters: str | None, table: str | None = None, **defaults: Any
) -> WriteToZerobus:
    """Make the sink that the flags describe; without a schema flag it fetches the table's from Unity Catalog.

    Args:
        options: All options other than the program's own.
        dead_letters: The directory for rejected rows; None if rejected rows fail the run, unless a flag changes that.
        table: One of several tables; None for ``--zerobus_table``.
        defaults: Settings to use where no flag is given.

    Raises:
        InputError: The flags ask both to keep bad rows and to fail on them.
        ConfigurationError: A flag of the sink is wrong.
    """
    zerobus = options.view_as(ZerobusOptions)
    if dead_letters and zerobus.zerobus_on_bad_rows == "raise":
        raise InputError("--dead_letters keeps bad rows and --zerobus_on_bad_rows=raise fails on them: give only one")
    sink = zerobus.sink(
        instead_of_table=table,
        on_bad_rows="dead_letter" if dead_letters else "raise",
        schema=None if zerobus.zerobus_dry_run else "unity_catalog",  # a dry run sends no request
        **defaults,
    )
    return sink.with_failures_together()


def check_unused(directory: str) -> None:
    """Check that a directory for dead letters is empty, so that no earlier file is overwritten, or can be made.

    Raises:
        InputError: The directory has files, or cannot be made.
    """
    if "://" not in directory:
        path = Path(directory).absolute()
        existing = next(parent for parent in (path, *path.parents) if parent.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            raise InputError(
                f"{directory} cannot hold dead letters: {existing} is not a directory that you may write to"
            )
    pattern = FileSystems.join(literal(directory), "*")
    if FileSystems.match([pattern], limits=[1])[0].metadata_list:
        raise InputError(f"{directory} holds the dead letters of an earlier run: name another directory")


def literal(pattern: str) -> str:
    """Return a pattern for a file or directory that has exactly this name; any other pattern unchanged.

    A shell passes names such as ``data[1].csv`` as they are.
    """
    if not _GLOB.search(pattern) or not FileSystems.exists(pattern):
        return pattern
    return _GLOB.sub(r"[\g<0>]", pattern)


def quieten() -> None:
    """Log warnings of the sink only; the reason why a pipeline failed is printed once, at its end."""
    logging.basicConfig(format="%(levelname)s: %(message)s", handlers=[_StandardError()])
    logging.getLogger().setLevel(logging.ERROR)
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    logging.getLogger("PrismRunner").disabled = True  # Beam sets its level when it starts
    logging.getLogger("beam_zerobus").setLevel(logging.WARNING)


class _StandardError(logging.Handler):
    """Writes to what is standard error at the time, which is above the progress line while that is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; its message names flags."""
        sys.stderr.write(in_flags(self.format(record)) + "\n")


def in_flags(reason: str) -> str:
    """Return the reason of a rejected row with flags in place of parameters; cheap, as there may be many.

    Example:
        >>> in_flags('the column has no time zone; set assume_timezone="UTC"')
        'the column has no time zone; set --zerobus_assume_timezone="UTC"'
    """
    for name in _OPTIONS_IN_REASONS if "=" in reason else ():
        reason = reason.replace(f" {name}=", f" --zerobus_{name}=")
    return reason


def last_line(error: BaseException) -> str:
    """Return the reason at the end of a message, in flags, without the traceback before it and the step after it."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    reason = in_flags(_STEP.sub("", lines[-1].strip())).replace("check workspace_url", "check --zerobus_workspace_url")
    return reason.replace("pass credentials=OAuthClientCredentials(...)", _OTHER_CREDENTIALS)

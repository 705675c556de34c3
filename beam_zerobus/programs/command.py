"""What the programs share: arguments, logging and error messages."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from apache_beam import Pipeline
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from beam_zerobus.options.flags import BriefParser, flags_of, nearest, no_such_flag, too_many_words
from beam_zerobus.sink.flat_options import in_flags
from beam_zerobus.sink.pipeline_options import WHERE_SECRETS_ARE, ZerobusOptions
from beam_zerobus.sink.transform import WriteToZerobus, failing_together
from beam_zerobus.workspace.profile_flag import add_profile_flag, profile_of
from beam_zerobus.workspace.remedies import credentials_with

__all__ = [
    "InputError",
    "arguments_of",
    "check_can_hold",
    "check_unused",
    "complain",
    "last_line",
    "listing",
    "literal",
    "parser_of",
    "quieten",
    "sink_of",
]

_GLOB = re.compile(r"[*?\[]")
_STEP = re.compile(r" \[while running '[^']*'\]$")
_PATHS = ("input", "dead_letters")
_FURTHER_FLAGS = ("flink", "spark", "portable", "dataflow")  # runners whose service adds flags that Beam does not list


class InputError(Exception):
    """An argument or an input is wrong; the message is one sentence with the remedy."""


def parser_of(name: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that all programs share; each program adds its own.

    Args:
        name: The command's name, such as ``send``.
        description: What it does, in one sentence.
    """
    parser = BriefParser(
        prog=f"beam-zerobus {name}",
        description=description,
        epilog="Addresses and credentials come from ZEROBUS_ENDPOINT, DATABRICKS_HOST, DATABRICKS_CLIENT_ID and "
        "DATABRICKS_CLIENT_SECRET, or from --profile.",
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("--dead_letters", metavar="DIR", help="keep rejected rows in this directory and go on")
    add_profile_flag(parser)
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
        InputError: A flag is not known, has a wrong value or an empty path; the runner cannot be used; or no flag
            names the table.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if {"-h", "--help"} & set(given):
        _with_flags_of_the_sink(parser).parse_args(["--help"])
    own, others = _split(given, parser)
    options = PipelineOptions(others)
    known = flags_of(parser) | _flags_of_beam(options)
    standard = options.view_as(StandardOptions)
    standard.runner = standard.runner or runner
    _reject_unknown(others, known, standard.runner)
    _check_runner(options)
    parsed, left = parser.parse_known_args(own)
    if left:
        raise InputError(too_many_words(own, left[0]))
    for name, value in vars(parsed).items():
        if name in _PATHS and "" in ([value] if isinstance(value, str) else value or []):
            raise InputError(f"--{name} is empty: name a file or a directory")
        if name in _PATHS and value:
            setattr(parsed, name, _native(value) if isinstance(value, str) else list(map(_native, value)))
    if not options.view_as(ZerobusOptions).zerobus_table:
        raise InputError("Name the table: --zerobus_table=catalog.schema.table")
    return parsed, options


def _native(path: str) -> str:
    """Return a local path as Beam finds files, on Windows with backslashes alone; a URL stays."""
    return path if "://" in path else path.replace("/", os.sep)


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


def _flags_of_beam(options: PipelineOptions) -> set[str]:
    """Return the flags that Beam knows, the sink's among them.

    Raises:
        InputError: One of them has a wrong value.
    """
    known: set[str] = set()

    def look(parser: argparse.ArgumentParser) -> None:
        known.update(flags_of(parser))
        parser.exit_on_error = False  # it would print its hundreds of flags before the reason

    try:
        options.get_all_options(add_extra_args_fn=look)
    except argparse.ArgumentError as error:
        raise InputError(f"{error}; see --help") from error
    return known


def _reject_unknown(others: Sequence[str], known: set[str], runner: str) -> None:
    """Reject flags that neither the program nor Beam knows; Beam itself runs without them."""
    # The service of such a runner may know a flag that resembles no other.
    words_after = 0
    cutoff = 0.8 if any(name in runner.lower() for name in _FURTHER_FLAGS) else 0.6
    for argument in others:
        flag, equals, _ = argument.partition("=")  # a value may hold a secret
        if not flag.startswith("--"):
            words_after += 1
            if words_after > 1:  # which Beam would ignore, as none of its flags takes more
                raise InputError(too_many_words(others, argument))
            continue
        words_after = 1 if equals else 0
        if flag in known:
            continue
        of_the_sink = f"--zerobus_{flag[2:].replace('-', '_')}"
        near = of_the_sink if of_the_sink in known else nearest(flag, known, cutoff)
        if near or cutoff < 0.8:
            raise InputError(no_such_flag(flag, near))


def _check_runner(options: PipelineOptions) -> None:
    """Check that a pipeline can be made for the runner: one of Beam's, or one with its whole name.

    Raises:
        InputError: There is no such runner, or it needs further flags.
    """
    try:
        Pipeline(options=options)
    except (ValueError, ImportError, AttributeError, TypeError) as error:  # the name is not a runner's
        name = options.view_as(StandardOptions).runner
        raise InputError(f"--runner={name} cannot be used: {' '.join(str(error).split())}") from error


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
    options: PipelineOptions,
    *,
    dead_letters: str | None,
    profile: str | None,
    table: str | None = None,
    **defaults: Any,
) -> WriteToZerobus:
    """Make the sink that the flags describe; without a schema flag it fetches the table's from Unity Catalog.

    Args:
        options: All options other than the program's own.
        dead_letters: The directory for rejected rows; None if rejected rows fail the run, unless a flag changes that.
        profile: The profile to sign in with; None for the credentials that the flags describe.
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
        credentials=profile_of(profile) or credentials_with(f"{WHERE_SECRETS_ARE}, or a profile with --profile"),
        on_bad_rows="dead_letter" if dead_letters else "raise",
        schema=None if zerobus.zerobus_dry_run else "unity_catalog",  # a dry run sends no request
        **defaults,
    )
    return failing_together(sink)


def check_can_hold(directory: str) -> None:
    """Check that a directory for dead letters, if it is a local one, can be written to, or be made.

    Raises:
        InputError: It cannot.
    """
    if "://" not in directory:
        path = Path(directory).absolute()
        existing = next(parent for parent in (path, *path.parents) if parent.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            raise InputError(
                f"{directory} cannot hold dead letters: {existing} is not a directory that you may write to"
            )


def check_unused(directory: str) -> None:
    """Check that a directory for dead letters is empty, so that no earlier file is overwritten, or can be made.

    Raises:
        InputError: The directory has files, or cannot be made.
    """
    check_can_hold(directory)
    with listing(directory):
        found = FileSystems.match([FileSystems.join(literal(directory), "*")], limits=[1])[0].metadata_list
    if found:
        raise InputError(f"{directory} holds the dead letters of an earlier run: name another directory")


@contextmanager
def listing(path: str) -> Iterator[None]:
    """Raise any error of the filesystem that a path is on as an InputError that names the path."""
    try:
        yield
    except Exception as error:  # filesystems raise different types
        reason: BaseException = error
        while isinstance(reason, BeamIOError) and reason.exception_details:
            reason = next(iter(reason.exception_details.values()))
        raise InputError(
            f"{path} cannot be listed: {' '.join(str(reason).split())}; check the path and that you may read it; gs:// "
            "needs apache-beam[gcp], s3:// apache-beam[aws], azfs:// apache-beam[azure]"
        ) from error


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


def last_line(error: BaseException) -> str:
    """Return the reason at the end of a message, in flags, without the traceback before it and the step after it."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return in_flags(_STEP.sub("", lines[-1].strip()))


def complain(name: str, error: Exception) -> None:
    """Say on standard error why a program did not start."""
    sys.stderr.write(f"beam-zerobus {name}: {in_flags(str(error))}\n")

"""Finds the files to send, and determines their formats: patterns, directories and standard input."""

from __future__ import annotations

import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias, get_args

from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.filesystems import FileSystems

from beam_zerobus.programs.command import InputError, listing, literal
from beam_zerobus.programs.open_files import COMPRESSED, STDIN_COPY

__all__ = ["FORMATS", "STDIN", "FileFormat", "files_by_format", "with_stdin_as_file"]

FileFormat: TypeAlias = Literal["parquet", "csv", "jsonl", "avro"]

FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)

STDIN = "-"

_SUFFIXES: Mapping[str, FileFormat] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".avro": "avro",
}


def files_by_format(
    patterns: Sequence[str], file_format: FileFormat | None
) -> tuple[dict[FileFormat, list[FileMetadata]], list[str]]:
    """Find the files of patterns and directories, each once, by format: the one given, or the one of its ending.

    Args:
        patterns: Files, patterns, and directories, which mean all files below them.
        file_format: The format of all files; None for what their names end in.

    Returns:
        The files of each format, and those of directories that are left out, as their endings are of no known format.

    Raises:
        InputError: Nothing is there, a directory is a Delta table, or the ending of a file is that of no format.
    """
    found: defaultdict[FileFormat, dict[str, FileMetadata]] = defaultdict(dict)
    left_out: list[str] = []
    for pattern in patterns:
        in_directory = pattern.endswith(_separator(pattern)) or Path(pattern).is_dir()
        with listing(pattern):
            files = _below(pattern) if in_directory else _matching(pattern)
        if in_directory:
            _check_no_delta_table(pattern, files)
            files = [file for file in files if not _is_hidden(pattern, file)]
        known = 0
        for file in files:
            format_of_file = file_format or _format_of(file.path)
            if format_of_file is not None:
                found[format_of_file][file.path] = file
                known += 1
            elif in_directory:
                left_out.append(file.path)
            else:
                raise InputError(
                    f"The ending of {file.path} is that of no known format: give --format {'|'.join(FORMATS)}, "
                    f"or a pattern that ends in {', '.join(_SUFFIXES)}"
                )
        if not known:
            raise InputError(
                f"No file below {pattern} ends in {', '.join(_SUFFIXES)}: check the path, or give --format"
                if in_directory
                else f"No file matches {pattern}: check the path, and put patterns in quotes"
            )
    return {name: list(files.values()) for name, files in found.items()}, left_out


def _matching(pattern: str) -> list[FileMetadata]:
    files: list[FileMetadata] = FileSystems.match([literal(pattern)])[0].metadata_list
    return files


def _below(directory: str) -> list[FileMetadata]:
    return _matching(FileSystems.join(literal(_root(directory)), "**"))


def _root(directory: str) -> str:
    root = directory.rstrip(_separator(directory))
    return directory if not root or root.endswith(":") else root  # "C:" is not the root of a drive


def _parts(directory: str, file: FileMetadata) -> list[str]:
    separator = _separator(directory)
    parts: list[str] = file.path[len(_root(directory)) :].lstrip(separator).split(separator)
    return parts


def _separator(path: str) -> str:
    """Return what separates the names in a path: of a URL, or of this system."""
    return "/" if "://" in path else os.sep


def _check_no_delta_table(directory: str, files: Iterable[FileMetadata]) -> None:
    for file in files:
        parts = _parts(directory, file)
        if "_delta_log" in parts:
            table = _separator(directory).join([_root(directory), *parts[: parts.index("_delta_log")]])
            raise InputError(
                f"{table} is a Delta table, whose files hold deleted rows too: name the files, or read it with Spark"
            )


def _is_hidden(directory: str, file: FileMetadata) -> bool:
    """Return whether a file is hidden, or one that Spark and others write beside the data."""
    return any(part.startswith((".", "_")) for part in _parts(directory, file))


def _format_of(path: str) -> FileFormat | None:
    name = path.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return next((file_format for suffix, file_format in _SUFFIXES.items() if name.endswith(suffix)), None)


@contextmanager
def with_stdin_as_file(patterns: Sequence[str], file_format: FileFormat | None) -> Iterator[list[str]]:
    """Return patterns with a temporary file in place of `STDIN`, which holds all of standard input.

    Raises:
        InputError: It cannot be read; or `file_format` is not given, which its name cannot say.
    """
    if STDIN not in patterns:
        yield list(patterns)
        return
    if file_format is None:
        raise InputError(f"Standard input has no ending that says its format: give --format {'|'.join(FORMATS)}")
    if sys.stdin is None:  # as with <&-
        raise InputError("Standard input is closed: pipe the rows in, or name files")
    # A file can be read in parts, from its end as Parquet is, and by other processes on this machine.
    with TemporaryDirectory(prefix=STDIN_COPY) as directory:
        path = Path(directory, f"stdin.{file_format}")
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        except OSError as error:
            raise InputError(
                f"Standard input cannot be copied to {directory}: {error.strerror}; check what is piped in, and the "
                "space there, or name another directory with TMPDIR"
            ) from error
        yield [str(path) if pattern == STDIN else pattern for pattern in patterns]

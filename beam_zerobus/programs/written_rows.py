"""Which rows of which files are written, on disk, so that a run that did not finish can be resumed.

Each row has a number: that of its file, and its own among the rows that the file's reader emits. It travels as the
timestamp of its element, and is noted with each batch that is acknowledged. Rejected rows are not noted: a resumed
run reads them again, has them rejected again, and keeps them as dead letters.

The file begins with a line of JSON that names the input files; a line for each acknowledged batch follows.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystem import FileMetadata
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Timestamp

from beam_zerobus.errors import agreeing, counted
from beam_zerobus.logs import get_logger
from beam_zerobus.programs.command import InputError
from beam_zerobus.rotated_files.lock import NameLock
from beam_zerobus.sink.elements import holds_rows

__all__ = ["NumberedFile", "ReadUnwritten", "Run", "Spans", "WrittenRows", "check_free", "journal_of"]

_log = get_logger(__name__)

_NAME = "unfinished-run"
_LOCK = "unfinished-run.lock"
_reported: set[str] = set()  # files that could not be written, each reported once in a process

NumberedFile: TypeAlias = "tuple[int, FileMetadata]"
Spans: TypeAlias = "list[list[int]]"
"""Ranges of rows, each its first and the one after its last, in order and apart."""

_ROW_BITS = 34
_MAX_ROWS = 1 << _ROW_BITS
_MAX_FILES = 1 << 18  # so that the milliseconds are those of a timestamp of Beam


@dataclass(frozen=True, slots=True)
class WrittenRows:
    """The file in a directory of dead letters that says which rows are written.

    Attributes:
        path: The file.
    """

    path: str

    def note(self, numbers: np.ndarray) -> None:
        """Add a line for rows that are acknowledged; it is on disk, or with the system, when this returns.

        Where that fails, which one line in the log says, the rows are sent again if the run is resumed.
        """
        if not len(numbers):
            return
        spans = [[*divmod(start, _MAX_ROWS), stop - start] for start, stop in _spans(numbers)]
        try:
            _append(self.path, f"{json.dumps(spans)}\n".encode())
        except OSError as error:  # the rows are written all the same
            if self.path not in _reported:
                _reported.add(self.path)
                _log.error(
                    "%s cannot be written: %s. Rows that are acknowledged from now on are not noted; a run with "
                    "--resume would send them again",
                    self.path,
                    error,
                )

    def read(self) -> tuple[dict[str, Any], dict[int, Spans]]:
        """Return the first line, and the rows of each file that are written.

        Raises:
            InputError: It cannot be read.
        """
        try:
            first, *lines = Path(self.path).read_text("utf-8").splitlines(keepends=True)
            found: dict[int, list[tuple[int, int]]] = {}
            for line in lines:
                for file, start, rows in json.loads(_whole(line)):
                    found.setdefault(file, []).append((start, start + rows))
            return json.loads(first), {file: _merged(spans) for file, spans in found.items()}
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.path} cannot be read ({error}): name another directory for dead letters"
            ) from error


@dataclass(frozen=True, slots=True)
class Run:
    """A run that can be resumed; as a context, it lets other runs use the directory afterwards.

    Attributes:
        journal: Where written rows are noted.
        numbers: The number of each input file, by its path.
        written: The rows of each file that an earlier run wrote, by the number of the file.
        lock: Keeps other runs from the directory, also from resuming this one.
    """

    lock: NameLock
    journal: WrittenRows
    numbers: dict[str, int]
    written: dict[int, Spans]

    @classmethod
    def begin(cls, directory: str, files: Sequence[FileMetadata], meaning: Mapping[str, Any], *, resume: bool) -> Run:
        """Begin a run, or resume one.

        Args:
            directory: The local directory for dead letters.
            files: The input files.
            meaning: What decides how files become rows, such as the table and the delimiter.
            resume: Go on where an earlier run ended.

        Raises:
            InputError: There is nothing to resume, it would not find the same rows again, or another run is using the
                directory.
        """
        lock = _locked(directory)
        try:
            return cls._begin(lock, journal_of(directory), files, meaning, resume=resume)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _begin(
        cls, lock: NameLock, path: Path, files: Sequence[FileMetadata], meaning: Mapping[str, Any], *, resume: bool
    ) -> Run:
        journal = WrittenRows(str(path))
        known: list[Any] = []
        written: dict[int, Spans] = {}
        if resume:
            first, written = journal.read()
            if first["meaning"] != meaning:
                names = ", ".join(name for name in meaning if first["meaning"].get(name) != meaning[name])
                raise InputError(f"--resume needs the settings of the run that did not finish; changed: {names}")
            known = first["files"]
        numbers = {name: number for number, (name, *_) in enumerate(known)}
        for file in files:
            number = numbers.setdefault(file.path, len(known))
            facts = [file.path, file.size_in_bytes, file.last_updated_in_seconds]
            if number == len(known):
                known.append(facts)
            elif known[number] != facts:
                if rows := _count(written.get(number, [])):
                    raise InputError(
                        f"{file.path} has changed since {counted(rows, 'row')} of it went into the table: leave it out "
                        "of --input, and send what is missing of it by itself"
                    )
                known[number] = facts
        if len(known) > _MAX_FILES:
            raise InputError(f"A run that can be resumed has at most {_MAX_FILES:,} files: send them in several runs")
        # Whole or not at all: a run that is killed here can still be resumed.
        draft = path.with_suffix(".draft")
        with draft.open("w", encoding="utf-8") as file_object:
            file_object.write(json.dumps({"meaning": meaning, "files": known}) + "\n")
            for number, spans in written.items():
                lines = [[number, start, stop - start] for start, stop in spans]
                file_object.write(json.dumps(lines) + "\n")
        draft.replace(path)
        return cls(lock, journal, numbers, written)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.lock.release()

    @property
    def rows_before(self) -> int:
        """How many rows earlier runs wrote."""
        return sum(map(_count, self.written.values()))

    def numbered(self, files: Sequence[FileMetadata]) -> list[NumberedFile]:
        """Return some of the files with their numbers."""
        return [(self.numbers[file.path], file) for file in files]

    def how_to_go_on(self, _: int = 0) -> str:
        """Say after a failure what is written, with what earlier runs wrote, and what another run does."""
        rows = sum(map(_count, self.journal.read()[1].values()))
        if not rows:
            return "No row of these files is acknowledged. The same command with --resume sends them."
        return (
            f"{counted(rows, 'row')} of these files {agreeing(rows, 'is')} acknowledged and {agreeing(rows, 'stays')} "
            "in the table. The same command with --resume sends the others."
        )

    def finish(self) -> None:
        """Remove the file: every row is written or a dead letter."""
        path = Path(self.journal.path)
        path.unlink()
        self.lock.release()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()


def check_free(directory: str) -> None:
    """Check that no other run is using a local directory.

    Raises:
        InputError: One is.
    """
    if Path(directory, _LOCK).exists():
        _locked(directory).release()


def _locked(directory: str) -> NameLock:
    path = Path(directory).absolute() / _LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = NameLock.acquire(path)
    if lock is None:
        raise InputError(f"Another run is using {directory}: wait for its end, or name another directory")
    return lock


def journal_of(directory: str) -> Path:
    """Return where the written rows of a run are noted, which keeps its dead letters in a directory."""
    return Path(directory).absolute() / _NAME


class ReadUnwritten(beam.DoFn):
    """Reads the rows of files that are not written yet, each at the timestamp that is its number.

    Args:
        read: Yields the elements of a file, in the same order each time.
        written: The rows of each file that are written.
    """

    def __init__(self, read: Callable[[FileMetadata], Iterator[Any]], written: Mapping[int, Spans]) -> None:
        super().__init__()
        self._read = read
        self._written = written

    def process(self, numbered: NumberedFile) -> Iterator[Any]:
        """Read one file.

        Raises:
            InputError: The file cannot be read.
        """
        number, file = numbered
        written = iter(self._written.get(number, ()))
        span = next(written, None)
        row = 0
        for element in self._read(file):
            if isinstance(element, TaggedOutput):
                yield element
                continue
            many = holds_rows(element)
            start, stop = row, row + (element.num_rows if many else 1)
            if stop > _MAX_ROWS:
                raise InputError(f"{file.path} has more than {_MAX_ROWS:,} rows: divide it")
            at = start
            while at < stop:
                while span is not None and span[1] <= at:
                    span = next(written, None)
                if span is not None and span[0] <= at:
                    at = span[1]
                    continue
                end = stop if span is None else min(stop, span[0])
                piece = element.slice(at - start, end - at) if many else element
                yield TimestampedValue(piece, Timestamp(micros=(number * _MAX_ROWS + at) * 1_000))
                at = end
            row = stop


def _append(path: str, line: bytes) -> None:
    """Add a line to a file.

    Raises:
        OSError: It cannot be written; the file may have a part of it.
    """
    # One call a line, at the end of the file: several threads and worker processes may write to it.
    file = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        if sys.platform == "win32":
            _wait_for_turn(file)
        if os.write(file, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(file)


if sys.platform == "win32":
    import msvcrt

    # Nobody reads locked bytes there, so the lock is on one far after all lines.
    _LOCKED_BYTE = (1 << 31) - 2

    def _wait_for_turn(file: int) -> None:
        """Lock a file until it is closed; on Windows, lines that are added at the same time overwrite each other."""
        os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
        while True:
            try:
                msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
            except PermissionError:
                time.sleep(0.001)
            else:
                return


def _whole(line: str) -> str:
    """Return the note in a line: without one that a full disk cut off before it; none where a kill cut it off.

    >>> _whole("[[0, 0, 5[[0, 9, 1]]" + chr(10)).strip()
    '[[0, 9, 1]]'
    """
    return line[line.rfind("[[") :] if line.endswith("\n") else "[]"


def _spans(numbers: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the ranges that numbers form."""
    ordered = np.sort(numbers)
    cuts = np.flatnonzero(np.diff(ordered) != 1) + 1
    for part in np.split(ordered, cuts):
        yield int(part[0]), int(part[-1]) + 1


def _merged(spans: list[tuple[int, int]]) -> Spans:
    """Return ranges in order, those that touch or overlap as one.

    >>> _merged([(3, 5), (0, 3), (7, 8)])
    [[0, 5], [7, 8]]
    """
    merged: Spans = []
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], stop)
        else:
            merged.append([start, stop])
    return merged


def _count(spans: Spans) -> int:
    return sum(stop - start for start, stop in spans)

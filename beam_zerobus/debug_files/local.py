"""Private local files: made so that only their user reads them, renamed and locked alike on every system."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from io import FileIO
from pathlib import Path

__all__ = ["NameLock", "create_private", "make_private_directories", "move", "sync", "write_all"]

_RENAME_TRIES = 20
_RENAME_PAUSE = 0.02


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def create_private(path: Path, mode: str = "xb") -> FileIO:
    """Open a file unbuffered that only its user can read; ``"xb"`` rejects one that exists, ``"ab"`` appends."""
    return FileIO(path, mode, opener=_open_private)


def write_all(file: FileIO, data: bytes | memoryview) -> None:
    """Write to an unbuffered file, which may take less at a time than it is given."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def make_private_directories(path: Path) -> None:
    """Make a directory and its parents; those that did not exist are open to the user alone."""
    for directory in (*reversed(path.parents), path):
        if not directory.is_dir():
            directory.mkdir(mode=0o700, exist_ok=True)


def move(source: Path, destination: Path) -> None:
    """Rename a file; never over another one."""
    if destination.exists():
        raise FileExistsError(f"{destination} exists")
    for attempt in range(_RENAME_TRIES):
        try:
            source.rename(destination)
        except PermissionError:
            # Windows rejects for as long as somebody, a reader or a virus scanner, has the file open.
            if os.name != "nt" or attempt == _RENAME_TRIES - 1:
                raise
            time.sleep(_RENAME_PAUSE)
        else:
            return


def sync(path: Path) -> None:
    """Force a file, or on POSIX the names in a directory, to the disk itself; what is gone needs none of it."""
    if sys.platform == "win32" and path.is_dir():
        return
    try:
        descriptor = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class NameLock:
    """Holds a name for one writer, also against other processes, until it is released or the process ends.

    Invariant: while the lock is held, the file at `path` is the one this object has open.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(cls, path: Path) -> NameLock | None:
        """Return the lock, or None where another writer holds it.

        Raises:
            OSError: The lock file cannot be made.
        """
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            if not _lock(descriptor):
                os.close(descriptor)
                return None
            # Its holder may have removed the file between our open and our lock: then we hold a file nobody sees.
            if _is_open_as(path, descriptor):
                return cls(path, descriptor)
            os.close(descriptor)

    def release(self) -> None:
        """Give the name back; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        if sys.platform != "win32":
            self._path.unlink(missing_ok=True)
            os.close(descriptor)
        else:  # Windows removes no open file, so that a new holder's is safe
            os.close(descriptor)
            with suppress(OSError):
                self._path.unlink(missing_ok=True)


def _is_open_as(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True  # a network file system without locks: names of workers are unique by their shard
        return True

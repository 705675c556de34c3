"""A lock on a directory, which the operating system releases when the process that holds it ends, however it ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO

__all__ = ["DirectoryLock", "LockedError"]

_NAME = ".zerobus.lock"
# Windows lets nobody read locked bytes, so the lock is on a byte far after the process id that the file holds.
_LOCKED_BYTE = 1 << 20


class LockedError(Exception):
    """Another process, or another object of this one, holds the lock; the message says which process."""


class DirectoryLock:
    """An exclusive lock on a directory.

    Args:
        directory: An existing directory. The lock is a file in it, which stays there.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     lock = DirectoryLock(Path(directory))
        ...     lock.acquire()
        ...     lock.release()
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / _NAME
        self._file: BinaryIO | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file is not None

    def acquire(self) -> None:
        """Take the lock; does nothing if this object holds it already.

        Raises:
            LockedError: It is held elsewhere.
            OSError: The directory cannot be written.
        """
        if self._file is not None:
            return
        # Not truncated on opening: the holder's process id is needed for the message.
        file = os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0)
        try:
            _lock(file)
        except (BlockingIOError, PermissionError):  # the latter is what Windows says
            holder = file.read(32).decode("ascii", "replace").strip()
            file.close()
            raise LockedError(f"process {holder}" if holder else "another process") from None
        except OSError:
            file.close()
            raise
        file.truncate(0)
        file.write(f"{os.getpid()}\n".encode())
        self._file = file

    def release(self) -> None:
        """Give the lock back; does nothing if it is not held."""
        file, self._file = self._file, None
        if file is not None:
            # Unlocked by name, since a child that was forked meanwhile shares the open file.
            _unlock(file)
            file.close()


if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        file.seek(_LOCKED_BYTE)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        finally:
            file.seek(0)

    def _unlock(file: BinaryIO) -> None:
        file.seek(_LOCKED_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)

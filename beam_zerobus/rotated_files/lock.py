"""A lock on a base's name, so that two writers never write the same files."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from beam_zerobus.rotated_files.local import open_regular

__all__ = ["NameLock"]


class NameLock:
    """Reserves a name for one writer, also against other processes, until it is released or the process ends.

    Invariant: while the lock is held, the file at `path` is the one that this object has open.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(cls, path: Path) -> NameLock | None:
        """Return the lock, or None while another writer holds it.

        Raises:
            OSError: The lock file cannot be made, or the path is not a regular file.
        """
        while True:
            descriptor = open_regular(path, os.O_RDWR | os.O_CREAT)
            if not _lock(descriptor):
                os.close(descriptor)
                return None
            # The holder may have removed the file between our open and our lock: then nobody else sees ours.
            if _is_open_as(path, descriptor):
                return cls(path, descriptor)
            os.close(descriptor)

    def release(self) -> None:
        """Free the name; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        if sys.platform == "win32":  # it does not remove an open file, so this cannot remove a new holder's
            os.close(descriptor)
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            return
        with suppress(OSError):  # somebody may have put something else in its place, which stays
            if _is_open_as(self._path, descriptor):
                self._path.unlink()
        os.close(descriptor)


def _is_open_as(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
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
            return True  # a network file system without locks: workers' names are unique by their shard
        return True

"""Files while they are written: each is new, private, and grows at its end.

Every append ends in the operating system, so what was appended outlives the process.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from beam_zerobus.rotated_files.local import create_private, write_all

__all__ = ["ByteFile", "GrowingFile"]


class GrowingFile:
    """A new file, with its size and a check that nobody removed it.

    Attributes:
        path: Where the file was made.
        size: The bytes up to the end of the last append.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._file = create_private(path)
        self._identity = path.lstat()

    def check_in_place(self) -> None:
        """Raise FileNotFoundError if somebody removed or replaced the file: nobody could ever read it."""
        if not os.path.samestat(self.path.lstat(), self._identity):
            raise FileNotFoundError(f"{self.path} was replaced while it was written")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ByteFile(GrowingFile):
    """A file of bytes.

    Args:
        path: Where to make it.
        header: The bytes before everything else; written with the first append.
        trailer: The bytes at the end.
    """

    def __init__(self, path: Path, *, header: bytes = b"", trailer: bytes = b"") -> None:
        super().__init__(path)
        self._header = header
        self._trailer = trailer

    def append(self, parts: Sequence[bytes | memoryview]) -> None:
        """Add bytes."""
        for part in (self._header, *parts):
            if part:
                write_all(self._file, part)
                self.size += len(part)
        self._header = b""

    def close(self) -> None:
        """End the file."""
        try:
            write_all(self._file, self._header + self._trailer)
        finally:
            super().close()

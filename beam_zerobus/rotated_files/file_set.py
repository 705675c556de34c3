"""The current files of one base, and their rotation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from beam_zerobus.rotated_files.growing import GrowingFile
from beam_zerobus.rotated_files.layout import Folder, Layout
from beam_zerobus.rotated_files.names import Rotation

__all__ = ["FileSet"]

_File = TypeVar("_File", bound=GrowingFile)


class FileSet:
    """Keeps the open files of one base, and rotates all of them together; not thread-safe.

    Current files of an earlier writer, which ended or died, are rotated first.

    Args:
        layout: Where the files are.
        clock: Seconds since the epoch, for the names of rotated files.
        is_retained_here: Whether a rotated file that is gone was removed by the retention.
        last_rotation: A rotation that new ones must follow, beside those of the files in `layout`.
        on_rotated: Called after each rotation.

    Attributes:
        layout: Where the files are.
        last_rotation: The latest rotation of this base.

    Raises:
        OSError: A current file is a symbolic link, a FIFO or a directory, or cannot be renamed.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        clock: Callable[[], float],
        is_retained_here: bool,
        last_rotation: Rotation | None = None,
        on_rotated: Callable[[], None] = lambda: None,
    ) -> None:
        self.layout = layout
        self._clock = clock
        self._is_retained_here = is_retained_here
        self._on_rotated = on_rotated
        self._open: list[GrowingFile] = []
        known = (layout.last_rotation(), last_rotation)
        self.last_rotation = max((rotation for rotation in known if rotation is not None), default=None)
        if layout.has_current():
            self._rename()

    def add(self, file: _File) -> _File:
        """Add an open file, and return it."""
        self._open.append(file)
        return file

    def current(self) -> list[tuple[Path, int]]:
        """Return the open files, each with the size of what was appended completely."""
        return [(file.path, file.size) for file in self._open]

    def check_in_place(self) -> None:
        """Check that nobody removed or replaced the open files.

        Raises:
            OSError: Somebody did.
        """
        for file in self._open:
            file.check_in_place()

    def was_removed(self, folder: Folder, rotation: Rotation | None) -> bool:
        """Whether the retention removed a data file."""
        if rotation is None or not self._is_retained_here:
            return False
        return not self.layout.path(folder, folder.suffix, rotation).exists()

    def rotate(self) -> Rotation:
        """Close and rename the current files, and return their rotation.

        Raises:
            OSError: A file is gone, or cannot be renamed.
        """
        self.close()
        rotation = self._rename()
        self._on_rotated()
        return rotation

    def close(self) -> None:
        """Close the open files.

        Raises:
            OSError: A file is gone, or its end cannot be written.
        """
        with ExitStack() as closing:
            for file in self._open:
                closing.callback(file.close)
                closing.callback(file.check_in_place)
            self._open = []

    def _rename(self) -> Rotation:
        self.last_rotation = Rotation.following(self.last_rotation, self._clock())
        self.layout.rotate(self.last_rotation)
        return self.last_rotation

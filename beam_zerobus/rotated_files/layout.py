"""Which files a base has and where: their paths, how they are rotated, and which the retention removes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import TypeAlias

from beam_zerobus.rotated_files.local import (
    create_private,
    move,
    open_private,
    read_regular,
    require_regular,
    write_all,
)
from beam_zerobus.rotated_files.names import Name, Rotation

__all__ = ["Companion", "Folder", "Layout", "superfluous"]

RewriteLine: TypeAlias = Callable[[bytes, str, str], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion:
    """A file that belongs to a data file and has the same stem.

    Attributes:
        suffix: The suffix of its name.
        rewrite_line: Its lines name the data file, and more may be added after the rotation. The function gets a line,
            the old stem and the new stem, and returns the line for the new one. None: the content never changes.
    """

    suffix: str
    rewrite_line: RewriteLine | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A directory of data files and their companions.

    Attributes:
        name: The directory's name below the root.
        suffix: The suffix of the data files.
        companions: What may belong to each data file.
        is_written: Whether this writer writes here. If not, files of an earlier writer are still rotated and removed.
    """

    name: str
    suffix: str
    companions: tuple[Companion, ...] = ()
    is_written: bool = True

    def parse(self, file_name: str, base: str) -> Name | None:
        """Split a file name into its parts; None if it is not of this base and this folder."""
        name = Name.parse(file_name, (self.suffix, *(companion.suffix for companion in self.companions)))
        return name if name is not None and name.base == base else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The files of one base below a local directory.

    Attributes:
        root: The directory above the folders.
        base: Names the writer.
        folders: The directories below `root`. Their data files rotate together and then share a stem.
    """

    root: Path
    base: str
    folders: tuple[Folder, ...]

    @property
    def directories(self) -> list[Path]:
        """The directories that are written to."""
        return [self.root / folder.name for folder in self.folders if folder.is_written]

    def path(self, folder: Folder, suffix: str, rotation: Rotation | None = None) -> Path:
        """Return the path of a file."""
        return self.root / folder.name / str(Name(self.base, rotation, suffix))

    def names(self, folder: Folder) -> list[Name]:
        """Return the files of this base in a folder: no other writer's."""
        directory = self.root / folder.name
        if not directory.is_dir():
            return []
        names = (folder.parse(entry.name, self.base) for entry in os.scandir(directory))
        return [name for name in names if name is not None]

    def last_rotation(self) -> Rotation | None:
        """Return the latest rotation of any file."""
        found = (name.rotation for folder in self.folders for name in self.names(folder))
        return max((rotation for rotation in found if rotation is not None), default=None)

    def has_current(self) -> bool:
        """Whether there are current data files.

        Raises:
            OSError: A current file, or a companion, is a symbolic link, a FIFO or a directory.
        """
        current = [(folder, name) for folder in self.folders for name in self.names(folder) if name.rotation is None]
        for folder, name in current:
            require_regular(self.path(folder, name.suffix))
        return any(name.suffix == folder.suffix for folder, name in current)

    def rotate(self, rotation: Rotation) -> None:
        """Rename the current files, which are closed.

        Companions are copied before the data file moves and removed after it: whenever the process dies, a data file
        has its companions beside it.
        """
        for folder in self.folders:
            current = {name.suffix for name in self.names(folder) if name.rotation is None}
            companions = [companion for companion in folder.companions if companion.suffix in current]
            for companion in companions:
                self._copy(folder, companion, rotation)
            if folder.suffix in current:
                source = self.path(folder, folder.suffix)
                require_regular(source)
                move(source, self.path(folder, folder.suffix, rotation))
            for companion in companions:
                self.path(folder, companion.suffix).unlink()

    def retain(self, files: int | None) -> None:
        """Remove the oldest rotated files of each folder beyond a number, with their companions."""
        for folder in self.folders:
            for name in superfluous(self.names(folder), files, folder.suffix):
                self.path(folder, name.suffix, name.rotation).unlink(missing_ok=True)

    def _copy(self, folder: Folder, companion: Companion, rotation: Rotation) -> None:
        source = self.path(folder, companion.suffix)
        destination = self.path(folder, companion.suffix, rotation)
        if companion.rewrite_line is None:
            with create_private(destination) as copy:
                write_all(copy, read_regular(source))
            return
        stems = self.base, f"{self.base}.{rotation}"
        with BufferedReader(open_private(source, "rb")) as lines, BufferedWriter(create_private(destination)) as copy:
            for line in lines:
                copy.write(companion.rewrite_line(line, *stems))


def superfluous(names: list[Name], files: int | None, data_suffix: str) -> list[Name]:
    """Return which files of one base in one folder to remove, so that `files` rotated data files stay; None keeps all.

    Example:
        >>> names = [Name("a", Rotation("20261123T231945Z", n), ".arrow") for n in (2, 1)]
        >>> [str(name) for name in superfluous(names, 1, ".arrow")]
        ['a.20261123T231945Z-000001.arrow']
    """
    if files is None:
        return []
    rotations = sorted(name.rotation for name in names if name.rotation is not None and name.suffix == data_suffix)
    removed = rotations[: max(0, len(rotations) - files)]
    # By age, not by what stays: companions of a file that is being rotated exist before the rotated file itself.
    return [name for name in names if removed and name.rotation is not None and name.rotation <= removed[-1]]

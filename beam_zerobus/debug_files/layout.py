"""Where the files of one base stand, how they are put aside when full, and which are removed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path

from beam_zerobus.debug_files.local import create_private, move, write_all
from beam_zerobus.debug_files.names import ARROW, DESCRIPTOR, PROTO, REJECTS, Name, Rotation

__all__ = ["ARROW_DIRECTORY", "Layout", "renamed_mark", "superfluous"]

ARROW_DIRECTORY = "arrow"
_PROTO_DIRECTORY = "proto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the files of one base stand, and which there are.

    Attributes:
        root: The directory ``zerobus``, with ``arrow`` and ``proto`` below it.
        base: Table and shard.
        arrow: Whether Arrow files are written.
        proto: Whether protobuf files are written.
        arrow_directory: The directory of the Arrow files below `root`.
    """

    root: Path
    base: str
    arrow: bool
    proto: bool
    arrow_directory: str = ARROW_DIRECTORY

    @property
    def directories(self) -> tuple[Path, ...]:
        """The directories that are written to."""
        formats = ((self.arrow, self.arrow_directory), (self.proto, _PROTO_DIRECTORY))
        return tuple(self.root / name for written, name in formats if written)

    @property
    def both_directories(self) -> tuple[Path, ...]:
        """Both directories: an earlier writer may have written what this one does not."""
        return (self.root / self.arrow_directory, self.root / _PROTO_DIRECTORY)

    def path(self, suffix: str, rotation: Rotation | None = None) -> Path:
        """Return a file's path; marks of rejected rows stand with the Arrow files, or else with the protobuf files."""
        beside_arrow = suffix == ARROW or (suffix == REJECTS and self.arrow)
        directory = self.arrow_directory if beside_arrow else _PROTO_DIRECTORY
        return self.root / directory / str(Name(self.base, rotation, suffix))

    def names(self, directory: Path) -> list[Name]:
        """Return this base's files in a directory, exactly: no other table's, no other writer's."""
        if not directory.is_dir():
            return []
        names = (Name.parse(entry.name) for entry in os.scandir(directory))
        return [name for name in names if name is not None and name.base == self.base]

    def last_rotation(self) -> Rotation | None:
        """Return the latest rotation that any file has."""
        found = (name.rotation for directory in self.both_directories for name in self.names(directory))
        return max((rotation for rotation in found if rotation is not None), default=None)

    def has_current(self) -> bool:
        """Whether files stand under the current names."""
        names = (name for directory in self.both_directories for name in self.names(directory))
        return any(name.rotation is None and name.suffix in (ARROW, PROTO) for name in names)

    def put_aside(self, rotation: Rotation) -> None:
        """Give the current files, which are closed, their names for good.

        What belongs to a data file is in its new place before the file itself moves, and leaves the old one after it:
        whenever the process dies, a data file has its descriptor set and marks beside it.
        """
        for directory in self.both_directories:
            current = {name.suffix: directory / str(name) for name in self.names(directory) if name.rotation is None}
            rotated = {suffix: directory / str(Name(self.base, rotation, suffix)) for suffix in current}
            if DESCRIPTOR in current:
                with create_private(rotated[DESCRIPTOR]) as copy:
                    write_all(copy, current[DESCRIPTOR].read_bytes())
            if REJECTS in current:
                _copy_marks(current[REJECTS], rotated[REJECTS], self.base, rotation)
            for suffix in (ARROW, PROTO):
                if suffix in current:
                    move(current[suffix], rotated[suffix])
            for suffix in (DESCRIPTOR, REJECTS):
                if suffix in current:
                    current[suffix].unlink()

    def retain(self, files: int | None) -> None:
        """Remove the oldest rotated files of each format beyond a number, with all that belongs to them."""
        for directory in self.both_directories:
            for name in superfluous(self.names(directory), files):
                (directory / str(name)).unlink(missing_ok=True)


def superfluous(names: list[Name], files: int | None) -> list[Name]:
    """Return which of one base's files in one directory go, when so many rotated data files stay."""
    if files is None:
        return []
    rotations = sorted(name.rotation for name in names if name.rotation is not None and name.suffix in (ARROW, PROTO))
    removed = rotations[: max(0, len(rotations) - files)]
    # By age, not by what is kept: what belongs to a file that is just being put aside is there before the file itself.
    return [name for name in names if removed and name.rotation is not None and name.rotation <= removed[-1]]


def _copy_marks(source: Path, destination: Path, base: str, rotation: Rotation) -> None:
    """Copy marks of rejected rows; their first field names the data file, which gets its new name."""
    with source.open("rb") as lines, BufferedWriter(create_private(destination)) as copy:
        for line in lines:
            copy.write(renamed_mark(line, base, rotation))


def renamed_mark(line: bytes, base: str, rotation: Rotation) -> bytes:
    """Return a mark of a rejected row with its data file's name, which stands first, after the rotation."""
    return line.replace(f'{{"file": "{base}.'.encode(), f'{{"file": "{base}.{rotation}.'.encode(), 1)

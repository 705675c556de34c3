"""Finding debug files: a path, a pattern or a directory becomes a list of files, oldest first."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from beam_zerobus.debug_files.folders import ARROW, FOLDER_NAMES, PROTO, ROOT, SUFFIXES
from beam_zerobus.rotated_files.local import open_private, require_regular
from beam_zerobus.rotated_files.names import Name, Rotation
from beam_zerobus.rotated_files.paths import as_local_path, is_remote

__all__ = ["DebugFile", "find_files"]


@dataclass(frozen=True, slots=True)
class DebugFile:
    """A file that was found.

    Attributes:
        directory: The directory that holds it, a local path or a URL.
        name: Its name.
    """

    directory: str
    name: Name

    def __str__(self) -> str:
        return _join(self.directory, str(self.name))

    @property
    def rotation(self) -> Rotation | None:
        """When the file was rotated; None for the current file."""
        return self.name.rotation

    def sibling(self, suffix: str, *, rotated: bool = True) -> DebugFile:
        """Return a companion of the file: another suffix, the same stem, or the base if `rotated` is False."""
        return DebugFile(self.directory, Name(self.name.base, self.name.rotation if rotated else None, suffix))

    def counterpart(self) -> DebugFile:
        """Return the file of the other format that holds the same batches; it may not exist."""
        suffix = PROTO if self.name.suffix == ARROW else ARROW
        parent, _ = _split_directory(self.directory)
        return DebugFile(_join(parent, FOLDER_NAMES[suffix]), Name(self.name.base, self.name.rotation, suffix))

    def size(self) -> int | None:
        """Return the file's bytes, or None if it does not exist.

        Raises:
            OSError: It is a symbolic link, a FIFO or a directory.
        """
        if not is_remote(self.directory):
            require_regular(str(self))
            return Path(str(self)).stat().st_size if Path(str(self)).exists() else None
        from beam_zerobus.rotated_files.beam_filesystems import size_of_url  # noqa: PLC0415  only URLs need Beam

        return size_of_url(str(self))

    def open(self) -> BinaryIO:
        """Open the file to read.

        Raises:
            FileNotFoundError: It does not exist, or does not any more.
            OSError: It is a symbolic link, a FIFO or a directory.
        """
        if not is_remote(self.directory):
            return cast(BinaryIO, BufferedReader(open_private(Path(str(self)), "rb")))
        from beam_zerobus.rotated_files.beam_filesystems import open_url  # noqa: PLC0415  only URLs need Beam

        return open_url(str(self))

    def read(self) -> bytes | None:
        """Return the whole content, or None if the file does not exist."""
        try:
            with self.open() as file:
                return file.read()
        except FileNotFoundError:
            return None


def find_files(path: str | os.PathLike[str], suffix: str, *, rotated: bool = True) -> list[DebugFile]:
    """Return the files at a path, by table and shard, then oldest first.

    Args:
        path: A file; a pattern; or a directory, which may be the `output_dir` of `DebugFiles`. The name of the current
            file selects it and all its rotated files.
        suffix: ``".arrow"`` or ``".proto"``.
        rotated: False selects the named file alone, without its rotated files.

    Raises:
        FileNotFoundError: There is no such file.
    """
    text = os.fspath(path) if is_remote(path) else str(as_local_path(path))
    found = [file for file in _matches(text, suffix) if file.name.suffix == suffix]
    directory, name = _split(text)
    if rotated and name is not None and name.suffix == suffix and name.rotation is None and not glob.has_magic(text):
        pattern = _join(directory, f"{glob.escape(name.base)}.*{suffix}")
        found += [file for file in _list(pattern) if file.name.base == name.base and file.name.suffix == suffix]
    if not found:
        raise FileNotFoundError(
            f"no {suffix} debug file at {text}: name a file, a pattern, or the directory above them"
        )
    return sorted(set(found), key=lambda file: (file.directory, *file.name.order))


def _matches(text: str, suffix: str) -> Iterable[DebugFile]:
    if not is_remote(text) and not Path(text).is_dir():
        return _list(glob.escape(text) if Path(text).exists() else text)
    if is_remote(text) and (glob.has_magic(text) or text.endswith((ARROW, PROTO))):
        return _list(text)
    kind = FOLDER_NAMES[suffix]
    below = (_join(text), _join(text, kind), _join(text, ROOT, kind))
    return [
        file
        for directory in below
        for file in _list(_join(directory if is_remote(text) else glob.escape(directory), f"*{suffix}"))
    ]


def _list(pattern: str) -> list[DebugFile]:
    if is_remote(pattern):
        from beam_zerobus.rotated_files.beam_filesystems import list_urls  # noqa: PLC0415  only URLs need Beam

        paths = list_urls(pattern)
    else:
        paths = glob.glob(pattern, recursive=True)  # noqa: PTH207  pathlib takes no absolute pattern
    split = (_split(path) for path in paths)
    return [DebugFile(directory, name) for directory, name in split if name is not None]


def _split(path: str) -> tuple[str, Name | None]:
    directory, name = _split_directory(path)
    return directory, Name.parse(name, SUFFIXES)


def _split_directory(path: str) -> tuple[str, str]:
    if is_remote(path):
        directory, _, name = path.rpartition("/")
        return directory, name
    return os.path.split(path)


def _join(directory: str, *names: str) -> str:
    if is_remote(directory):
        return "/".join((directory.rstrip("/"), *names))
    return str(Path(directory, *names))

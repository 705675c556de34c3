"""Private local files: only their user can read them, and no symbolic link, FIFO or device is ever opened as one.

A file that somebody else put in place of ours could lead our rows to another file, or block the thread that opens it.
So every file is opened by `open_regular`.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from io import FileIO
from pathlib import Path

__all__ = [
    "create_private",
    "make_private_directories",
    "move",
    "open_private",
    "open_regular",
    "read_regular",
    "require_regular",
    "sync",
    "sync_directory",
    "write_all",
]

_RENAME_TRIES = 20
_RENAME_PAUSE = 0.02
# Not on Windows, which has neither flag; there a look at the path before the open must do.
_SAFE_FLAGS: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a directory",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: str | os.PathLike[str], flags: int) -> int:
    """Open a regular file and return its descriptor; a file that is created is private.

    Usable as the `opener` of Python's files.

    Raises:
        OSError: The path is a symbolic link, a FIFO, a device or a directory, or cannot be opened.
    """
    require_regular(path)
    descriptor = os.open(path, flags | _SAFE_FLAGS, 0o600)
    try:
        _require_regular_mode(path, os.fstat(descriptor).st_mode)  # it may have been replaced since
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def require_regular(path: str | os.PathLike[str]) -> None:
    """Check that a path is a regular file or does not exist.

    Raises:
        OSError: It is something else.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    _require_regular_mode(path, mode)


def _require_regular_mode(path: str | os.PathLike[str], mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(f"{os.fspath(path)} is {kind}, not a regular file: remove it, or name another directory")


def open_private(path: Path, mode: str) -> FileIO:
    """Open a regular file unbuffered; a file that is created can be read by its user alone."""
    return FileIO(path, mode, opener=open_regular)


def create_private(path: Path) -> FileIO:
    """Create a file unbuffered that only its user can read; a path that exists is an error."""
    return open_private(path, "xb")


def read_regular(path: Path) -> bytes:
    """Return the content of a regular file."""
    with open_private(path, "rb") as file:
        return file.readall()


def write_all(file: FileIO, data: bytes | memoryview) -> None:
    """Write everything to an unbuffered file, which may write only a part at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def make_private_directories(output_dir: Path, *below: str) -> Path:
    """Make a directory with its parents, and directories below it; new ones are open to their user alone.

    The user chose `output_dir`, so it may be a symbolic link, as may its parents. What is below is ours and must be a
    directory itself.

    Args:
        output_dir: The directory that the user named.
        below: Names of directories, each in the one before.

    Returns:
        The last directory.

    Raises:
        OSError: A directory cannot be made, or one below `output_dir` is a link or a file.
    """
    directory = output_dir
    for parent in (*reversed(directory.parents), directory):
        if not parent.is_dir():
            parent.mkdir(mode=0o700, exist_ok=True)
    for name in below:
        directory = directory / name
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            _require_directory(directory)
    return directory


def _require_directory(path: Path) -> None:
    status = os.lstat(path)
    is_junction = getattr(status, "st_reparse_tag", 0) == getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", -1)
    if not stat.S_ISDIR(status.st_mode) or is_junction:
        kind = "a junction" if is_junction else _KINDS.get(stat.S_IFMT(status.st_mode), "a file")
        raise NotADirectoryError(f"{path} is {kind}, not a directory: remove it, or name another directory")


def move(source: Path, destination: Path) -> None:
    """Rename a file; never over another one."""
    if os.path.lexists(destination):
        raise FileExistsError(f"{destination} exists")
    for attempt in range(_RENAME_TRIES):
        try:
            source.rename(destination)
        except PermissionError:
            # Windows does not rename a file while a reader or a virus scanner has it open.
            if os.name != "nt" or attempt == _RENAME_TRIES - 1:
                raise
            time.sleep(_RENAME_PAUSE)
        else:
            return


def sync(path: Path) -> None:
    """Force a regular file to the disk itself; a file that was removed meanwhile needs no sync."""
    try:
        descriptor = open_regular(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    except FileNotFoundError:
        return
    _sync_and_close(descriptor)


def sync_directory(path: Path) -> None:
    """Force the names in a directory to the disk itself, where the system can do that."""
    if sys.platform == "win32":
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    _sync_and_close(descriptor)


def _sync_and_close(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

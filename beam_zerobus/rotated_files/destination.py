"""Where rotated files go: a local directory, or a Beam filesystem by way of a private local directory."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from beam_zerobus.logs import get_logger
from beam_zerobus.rotated_files.file_set import FileSet
from beam_zerobus.rotated_files.layout import Folder, Layout
from beam_zerobus.rotated_files.local import make_private_directories, sync, sync_directory
from beam_zerobus.rotated_files.lock import NameLock
from beam_zerobus.rotated_files.names import Rotation
from beam_zerobus.rotated_files.paths import as_local_path, is_remote

__all__ = ["Destination", "RotatedFilesOptions", "check_directory", "open_destination"]

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RotatedFilesOptions:
    """Where rotated files go, and how many stay.

    Attributes:
        output_dir: The user's directory: a local path, or one of a Beam filesystem.
        root: The directory below it.
        max_files_retained: How many rotated data files stay in each folder; None keeps all.
        fsync: Force each flush to the disk itself.
    """

    output_dir: str | os.PathLike[str]
    root: str
    max_files_retained: int | None = 10
    fsync: bool = False


class Destination(Protocol):
    """A place for rotated files, with the files that are written there.

    Attributes:
        files: The current files.
        needs_flushing: Whether flushes have anything to do.
    """

    files: FileSet
    needs_flushing: bool

    def prepare_flush(self) -> Callable[[], None]:
        """Note what to flush, while nothing is written; the returned function flushes it while writing goes on."""
        ...

    def close(self) -> None:
        """Release what the destination holds; `files` is closed already."""
        ...


def open_destination(
    options: RotatedFilesOptions,
    *,
    base: str,
    folders: tuple[Folder, ...],
    clock: Callable[[], float],
    wake: Callable[[], None] = lambda: None,
) -> Destination:
    """Make the directories, and rotate the current files of an earlier writer.

    Args:
        options: Where the files go, and how many stay.
        base: Names the writer; see `file_base`.
        folders: The directories below the root.
        clock: Seconds since the epoch.
        wake: Called when there is something to flush at once.

    Raises:
        OSError: The directory cannot be made or written, or holds a link or a FIFO in place of a file.
    """
    if not is_remote(options.output_dir):
        return _LocalDestination(options, base=base, folders=folders, clock=clock, wake=wake)
    from beam_zerobus.rotated_files.beam_destination import RemoteDestination  # noqa: PLC0415  only it needs Beam

    return RemoteDestination(
        os.fspath(options.output_dir),
        root=options.root,
        max_files_retained=options.max_files_retained,
        base=base,
        folders=folders,
        clock=clock,
        wake=wake,
    )


def check_directory(output_dir: str | os.PathLike[str], *below: str) -> Path:
    """Make a local directory, and check that it can be written.

    Args:
        output_dir: The user's directory.
        below: Names of directories, each in the one before.

    Returns:
        The last directory.

    Raises:
        OSError: It cannot be made or written.
    """
    directory = make_private_directories(as_local_path(output_dir).absolute(), *below)
    tempfile.TemporaryFile(dir=directory).close()
    return directory


class _LocalDestination:
    """A directory of this machine."""

    def __init__(
        self,
        options: RotatedFilesOptions,
        *,
        base: str,
        folders: tuple[Folder, ...],
        clock: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        root = make_private_directories(as_local_path(options.output_dir).absolute(), options.root)
        base, self._lock = _take_name(root, base)
        self._layout = Layout(root=root, base=base, folders=folders)
        try:
            for folder in folders:
                if folder.is_written:
                    check_directory(options.output_dir, options.root, folder.name)
            self.files = FileSet(
                self._layout,
                clock=clock,
                is_retained_here=options.max_files_retained is not None,
                on_rotated=wake,
            )
        except BaseException:
            self._lock.release()
            raise
        self._options = options
        self._layout.retain(options.max_files_retained)
        self.needs_flushing = options.fsync or options.max_files_retained is not None
        self._synced: Rotation | None = None

    def prepare_flush(self) -> Callable[[], None]:
        """Note which files were written since the last time; the returned function syncs them if asked for.

        It also applies the retention: removing files of many megabytes can take some ten milliseconds.
        """
        since = self._synced
        if self._options.fsync:
            self._synced = self.files.last_rotation

        def finish() -> None:
            if self._options.fsync:
                self._sync(since)
            self._layout.retain(self._options.max_files_retained)

        return finish

    def _sync(self, since: Rotation | None) -> None:
        for folder in self._layout.folders:
            if not folder.is_written:
                continue
            for name in self._layout.names(folder):
                if since is None or name.rotation is None or name.rotation > since:
                    sync(self._layout.path(folder, name.suffix, name.rotation))
            sync_directory(self._layout.root / folder.name)

    def close(self) -> None:
        """Free the base's name."""
        self._lock.release()


def _take_name(root: Path, base: str) -> tuple[str, NameLock]:
    """Return the base, or the first free ``{base}-{pid}[-{n}]`` while a living writer has it."""
    own = f"{base}-{os.getpid()}"
    candidates = itertools.chain((base, own), (f"{own}-{n}" for n in itertools.count(2)))
    locks = ((candidate, NameLock.acquire(root / f".{candidate}.lock")) for candidate in candidates)
    name, lock = next((name, lock) for name, lock in locks if lock is not None)
    if name != base:
        _log.info("another writer already writes the files %s in %s; this one writes %s", base, root, name)
    return name, lock

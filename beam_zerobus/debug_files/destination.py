"""Where debug files go: a local directory, or a Beam filesystem by way of a private local one."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from beam_zerobus.debug_files.file_set import FileSet
from beam_zerobus.debug_files.layout import ARROW_DIRECTORY, Layout
from beam_zerobus.debug_files.local import NameLock, make_private_directories, sync
from beam_zerobus.debug_files.names import Rotation, file_base
from beam_zerobus.debug_files.paths import as_local_path, is_remote
from beam_zerobus.logs import get_logger
from beam_zerobus.options import DebugFiles

__all__ = ["Destination", "LocalDestination", "open_destination"]

_log = get_logger(__name__)


class Destination(Protocol):
    """A place for debug files, with the files that are written there."""

    files: FileSet
    needs_flushing: bool

    def prepare_flush(self) -> Callable[[], None]:
        """Note what is to be flushed, while nothing is written; what it returns flushes it while writing goes on."""
        ...

    def close(self) -> None:
        """Give back what the destination holds; `files` is closed already."""
        ...


def open_destination(
    options: DebugFiles,
    *,
    table: str,
    shard: str | None,
    descriptor_set: bytes | None,
    clock: Callable[[], float],
    wake: Callable[[], None],
    root: str = "zerobus",
    arrow_directory: str = ARROW_DIRECTORY,
) -> Destination:
    """Make the directories and put aside what an earlier writer left.

    Args:
        options: What to write, and where.
        table: The table's full name.
        shard: The writer's shard, if it has one.
        descriptor_set: What stands beside each protobuf file; None writes none.
        clock: Seconds since the epoch.
        wake: Called when there is something to flush before the interval's end.
        root: The directory below `DebugFiles.output_dir`.
        arrow_directory: The directory of the Arrow files below that.

    Raises:
        OSError: The directory cannot be made or written.
    """
    base = file_base(table, shard)
    if not is_remote(options.output_dir):
        return LocalDestination(
            options,
            base=base,
            descriptor_set=descriptor_set,
            clock=clock,
            wake=wake,
            root=root,
            arrow_directory=arrow_directory,
        )
    from beam_zerobus.debug_files.remote import RemoteDestination  # noqa: PLC0415  only it needs Beam

    return RemoteDestination(
        options,
        base=base,
        descriptor_set=descriptor_set,
        clock=clock,
        wake=wake,
        root=root,
        arrow_directory=arrow_directory,
    )


class LocalDestination:
    """A directory of this machine."""

    def __init__(
        self,
        options: DebugFiles,
        *,
        base: str,
        descriptor_set: bytes | None,
        clock: Callable[[], float],
        wake: Callable[[], None],
        root: str,
        arrow_directory: str,
    ) -> None:
        directory = as_local_path(options.output_dir).absolute() / root
        make_private_directories(directory)
        base, self._lock = _take_name(directory, base)
        self._layout = Layout(
            root=directory,
            base=base,
            arrow=options.arrow,
            proto=descriptor_set is not None,
            arrow_directory=arrow_directory,
        )
        try:
            for directory in self._layout.directories:
                make_private_directories(directory)
                tempfile.TemporaryFile(
                    dir=directory
                ).close()  # finds a directory that cannot be written before it matters
            self.files = FileSet(
                self._layout, options, descriptor_set=descriptor_set or b"", clock=clock, on_rotated=wake
            )
        except BaseException:
            self._lock.release()
            raise
        self._fsync = options.fsync
        self._max_files_retained = options.max_files_retained
        self._layout.retain(self._max_files_retained)
        self.needs_flushing = options.fsync or options.max_files_retained is not None
        self._synced: Rotation | None = None

    def prepare_flush(self) -> Callable[[], None]:
        """Note the files written since the last time; the function returned forces them to the disk, where asked for.

        It also removes what is beyond the retention, which takes some ten milliseconds with files of many megabytes.
        """
        since = self._synced
        if self._fsync:
            self._synced = self.files.last_rotation

        def finish() -> None:
            if self._fsync:
                self._sync(since)
            self._layout.retain(self._max_files_retained)

        return finish

    def _sync(self, since: Rotation | None) -> None:
        for directory in self._layout.directories:
            for name in self._layout.names(directory):
                if since is None or name.rotation is None or name.rotation > since:
                    sync(directory / str(name))
            sync(directory)

    def close(self) -> None:
        """Give the base's name back."""
        self._lock.release()


def _take_name(root: Path, base: str) -> tuple[str, NameLock]:
    """Return the base, or the first free ``{base}-{pid}[-{n}]`` where a living writer has it."""
    own = f"{base}-{os.getpid()}"
    candidates = itertools.chain((base, own), (f"{own}-{n}" for n in itertools.count(2)))
    locks = ((candidate, NameLock.acquire(root / f".{candidate}.lock")) for candidate in candidates)
    name, lock = next((name, lock) for name, lock in locks if lock is not None)
    if name != base:
        _log.info("another writer writes debug files %s in %s; these are named %s", base, root, name)
    return name, lock

"""The directory that holds the emulator's tables: locked, and each table is in it whole or not at all."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from beam_zerobus.emulator.tables.lock import DirectoryLock, LockedError
from beam_zerobus.errors import ConfigurationError

__all__ = ["StorageDirectory"]

_UNFINISHED = ".unfinished"
_COMMIT = re.compile(r"\d{20}\.(json|checkpoint\..*parquet)")
_Made = TypeVar("_Made")


class StorageDirectory:
    """A directory of tables, as ``catalog/schema/table``.

    A table is made under another name and renamed when it is complete, and renamed before it is removed. So a kill at
    any moment leaves each table whole or absent; what it leaves unfinished is removed when the directory is locked
    again.

    Args:
        path: The directory; it is made if it does not exist.

    Raises:
        ConfigurationError: The path is not a directory, cannot be written, or another emulator uses it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not path.is_dir():
            raise ConfigurationError(f"storage directory {path} is a file; name a directory")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(path, error) from None
        self._lock = DirectoryLock(path)
        self.lock()

    def lock(self) -> None:
        """Lock the directory for this emulator.

        Raises:
            ConfigurationError: Another emulator uses it, or it cannot be written.
        """
        try:
            self._lock.acquire()
        except LockedError as error:
            raise ConfigurationError(
                f"storage directory {self.path} is in use by another emulator ({error}); "
                "stop it, or name another directory"
            ) from None
        except OSError as error:
            raise _unwritable(self.path, error) from None
        shutil.rmtree(self.path / _UNFINISHED, ignore_errors=True)

    def unlock(self) -> None:
        """Leave the directory to other emulators."""
        if self._lock.held:
            with suppress(OSError):
                (self.path / _UNFINISHED).rmdir()
            self._lock.release()

    def tables(self) -> Iterator[tuple[str, Path]]:
        """Yield name and path of every Delta table that was completed, of the emulator or not."""
        for log in sorted(self.path.glob("*/*/*/_delta_log")):
            if not _never_completed(log.parent):
                yield ".".join(log.parent.parts[-3:]), log.parent

    def create(self, name: str, make: Callable[[Path], _Made], reopen: Callable[[Path], _Made]) -> tuple[_Made, Path]:
        """Make a table in its place, whole or not at all.

        Args:
            name: ``catalog.schema.table``.
            make: Writes the table into a directory that it gets.
            reopen: Opens the table in its final place.

        Raises:
            ConfigurationError: Something that is not a table of the emulator is in its place.
        """
        place = self.path.joinpath(*name.split("."))
        try:
            if _never_completed(place):
                shutil.rmtree(place)
            if place.exists():
                raise ConfigurationError(
                    f"table {name}: {place} exists and is not a table of the emulator; "
                    "remove it, or use another name or storage directory"
                )
            unfinished = self._unfinished()
            try:
                make(unfinished)
                place.parent.mkdir(parents=True, exist_ok=True)
                unfinished.rename(place)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        except OSError as error:
            raise ConfigurationError(f"table {name} cannot be created in {self.path}: {error.strerror}") from None
        return reopen(place), place

    def remove(self, place: Path) -> None:
        """Remove a table's files."""
        unfinished = self._unfinished()
        unfinished.rmdir()
        place.rename(unfinished)
        shutil.rmtree(unfinished)

    def _unfinished(self) -> Path:
        path = self.path / _UNFINISHED / uuid.uuid4().hex
        path.mkdir(parents=True)
        return path


def _unwritable(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"storage directory {path} cannot be written: {error.strerror}; name another directory")


def _never_completed(place: Path) -> bool:
    """Return whether a table's directory holds no row and no commit: the trace of a creation that was interrupted."""
    if not place.is_dir() or place.is_symlink():
        return False
    entries = [entry.name for entry in place.iterdir()]
    if entries not in ([], ["_delta_log"]):
        return False
    log = place / "_delta_log"
    return not log.exists() or not any(_COMMIT.fullmatch(entry.name) for entry in log.iterdir())

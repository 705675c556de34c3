"""Debug files on a Beam filesystem: written to this machine, uploaded in the background."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from beam_zerobus.debug_files.file_set import FileSet
from beam_zerobus.debug_files.layout import Layout, renamed_mark, superfluous
from beam_zerobus.debug_files.local import make_private_directories
from beam_zerobus.debug_files.names import ARROW, DESCRIPTOR, PROTO, REJECTS, Name, Rotation
from beam_zerobus.options import DebugFiles

__all__ = ["RemoteDestination"]

_CHUNK = 1 << 20
_MAX_WAITING_FILES = 16  # that many times `max_file_bytes` of local disk, at most, wait for their upload


class RemoteDestination:
    """A directory of a Beam filesystem, written by way of a private directory of this machine.

    `files` writes here. Each flush applies the retention there, uploads the rotated files and removes them here, then
    uploads the current ones as far as they hold whole batches.
    """

    needs_flushing = True

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
        self._wake = wake
        self._spool = Path(tempfile.mkdtemp(prefix="beam-zerobus-"))
        try:
            layout = Layout(
                root=self._spool / root,
                base=base,
                arrow=options.arrow,
                proto=descriptor_set is not None,
                arrow_directory=arrow_directory,
            )
            url = FileSystems.join(os.fspath(options.output_dir), root)
            self._mirrors = [
                _Mirror(FileSystems.join(url, local.name), local, layout, options.max_files_retained)
                for local in layout.both_directories
            ]
            for directory in layout.directories:
                make_private_directories(directory)
            self.files = FileSet(
                layout,
                replace(options, max_files_retained=None),  # the retention is that of the files there
                descriptor_set=descriptor_set or b"",
                clock=clock,
                last_rotation=self._prepare(clock),
                on_rotated=self._on_rotated,
            )
        except BaseException:
            self.close()
            raise

    def prepare_flush(self) -> Callable[[], None]:
        """Open the current files, to upload what they hold now; the function returned does it."""
        sizes, rotation = dict(self.files.current()), self.files.last_rotation
        opened = [(mirror, name, file, size) for mirror in self._mirrors for name, file, size in mirror.current(sizes)]

        def finish() -> None:
            with ExitStack() as copies:
                # Windows renames no file that is open: the originals are closed before anything slow begins.
                waiting = [
                    (mirror, name, copies.enter_context(self._copy(file, size))) for mirror, name, file, size in opened
                ]
                for mirror in self._mirrors:
                    mirror.upload_rotated()
                if self.files.last_rotation == rotation:  # otherwise these are no longer the current files
                    for mirror, name, copy in waiting:
                        mirror.upload_current(name, copy)

        return finish

    def close(self) -> None:
        """Remove the private directory."""
        shutil.rmtree(self._spool, ignore_errors=True)

    def _copy(self, file: BinaryIO, size: int) -> BinaryIO:
        copy = tempfile.TemporaryFile(dir=self._spool)  # noqa: SIM115  the caller closes it
        with file:
            while chunk := file.read(min(size - copy.tell(), _CHUNK)):
                copy.write(chunk)
        copy.seek(0)
        return copy

    def _prepare(self, clock: Callable[[], float]) -> Rotation | None:
        """Make the directories there, and put aside what is found; return the last rotation there is."""
        for mirror in self._mirrors:
            mirror.make_directory()
        names = [name for mirror in self._mirrors for name in mirror.remote_names()]
        last = max((name.rotation for name in names if name.rotation is not None), default=None)
        if all(name.rotation is not None for name in names):
            return last
        last = Rotation.following(last, clock())
        for mirror in self._mirrors:
            mirror.put_aside(last)
        return last

    def _on_rotated(self) -> None:
        waiting = sum(mirror.waiting_files() for mirror in self._mirrors)
        if waiting > _MAX_WAITING_FILES:
            raise OSError(f"{waiting} full files wait for their upload, which does not keep up")
        self._wake()


class _Mirror:
    """One directory here, and the one there that it is uploaded to."""

    def __init__(self, url: str, local: Path, layout: Layout, max_files_retained: int | None) -> None:
        self._url = url
        self._local = local
        self._layout = layout
        self._max_files_retained = max_files_retained
        self._uploaded: dict[Name, int] = {}  # the size of what may still grow, when it was uploaded last

    def make_directory(self) -> None:
        """Make the directory there and find out whether it can be written."""
        if self._local not in self._layout.directories:
            return
        if not FileSystems.exists(self._url):
            FileSystems.mkdirs(self._url)
        probe = FileSystems.join(self._url, f".{self._layout.base}.probe")
        _create(probe).close()
        FileSystems.delete([probe])

    def remote_names(self) -> list[Name]:
        """Return this base's files there."""
        (match,) = FileSystems.match([FileSystems.join(self._url, f"{self._layout.base}.*")])
        names = (Name.parse(metadata.path.replace("\\", "/").rpartition("/")[2]) for metadata in match.metadata_list)
        return [name for name in names if name is not None and name.base == self._layout.base]

    def local_names(self) -> list[Name]:
        """Return this base's files here, what belongs to a data file before the file itself."""
        return sorted(self._layout.names(self._local), key=lambda name: (name.order, name.suffix in (ARROW, PROTO)))

    def waiting_files(self) -> int:
        """Return how many rotated data files are not uploaded yet."""
        return sum(name.rotation is not None and name.suffix in (ARROW, PROTO) for name in self.local_names())

    def put_aside(self, rotation: Rotation) -> None:
        """Rename the current files there."""
        current = {name.suffix: name for name in self.remote_names() if name.rotation is None}
        for suffix in (DESCRIPTOR, REJECTS, ARROW, PROTO):
            if suffix not in current:
                continue
            source, destination = self._at(current[suffix]), self._at(replace(current[suffix], rotation=rotation))
            if suffix == REJECTS:
                with FileSystems.open(source, compression_type=CompressionTypes.UNCOMPRESSED) as file:
                    marks = file.read()
                with _create(destination) as file:
                    file.writelines(renamed_mark(line, self._layout.base, rotation) for line in marks.splitlines(True))
                FileSystems.delete([source])
            else:
                FileSystems.rename([source], [destination])

    def current(self, sizes: dict[Path, int]) -> Iterator[tuple[Name, BinaryIO, int]]:
        """Yield the current files that changed, opened, with the size up to which they hold whole batches."""
        for name in self.local_names():
            path = self._local / str(name)
            if name.rotation is None and self._uploaded.get(name) != (size := sizes.get(path, path.stat().st_size)):
                yield name, path.open("rb"), size

    def upload_rotated(self) -> None:
        """Upload rotated files and remove them here; apply the retention."""
        waiting = [name for name in self.local_names() if name.rotation is not None]
        if any(name.suffix in (ARROW, PROTO) for name in waiting):
            there = self.remote_names()
            going = set(superfluous(list({*there, *waiting}), self._max_files_retained))
            for name in going.intersection(waiting):
                (self._local / str(name)).unlink()
            if gone := [self._at(name) for name in going.intersection(there)]:
                FileSystems.delete(gone)
            waiting = [name for name in waiting if name not in going]
            for name in [name for name in self._uploaded if name.rotation is None]:
                del self._uploaded[name]  # the current files are new ones
        for name in waiting:
            path = self._local / str(name)
            if self._uploaded.get(name) != (size := path.stat().st_size):
                with path.open("rb") as file:
                    self._upload(name, file)
            if name.suffix == REJECTS:  # may still get marks
                self._uploaded[name] = size
            else:
                path.unlink()

    def upload_current(self, name: Name, copy: BinaryIO) -> None:
        """Upload a copy of a current file."""
        self._upload(name, copy)
        self._uploaded[name] = copy.tell()

    def _upload(self, name: Name, file: BinaryIO) -> None:
        with _create(self._at(name)) as uploaded:
            shutil.copyfileobj(file, uploaded, _CHUNK)

    def _at(self, name: Name) -> str:
        return FileSystems.join(self._url, str(name))


def _create(url: str) -> BinaryIO:
    return FileSystems.create(url, "application/octet-stream", CompressionTypes.UNCOMPRESSED)

"""Rotated files on a Beam filesystem: written to this machine, uploaded in the background."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from beam_zerobus.logs import importing_beam
from beam_zerobus.rotated_files.file_set import FileSet
from beam_zerobus.rotated_files.layout import Folder, Layout, superfluous
from beam_zerobus.rotated_files.local import make_private_directories, open_private
from beam_zerobus.rotated_files.names import Name, Rotation

with importing_beam():
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems

__all__ = ["RemoteDestination"]

_CHUNK = 1 << 20
_MAX_WAITING_FILES = 16  # at most so many full files wait on the local disk for their upload


class RemoteDestination:
    """A directory of a Beam filesystem, written by way of a private directory of this machine.

    `files` writes to this machine. Each flush applies the retention to the remote files, uploads the rotated files and
    removes them here, then uploads the current ones up to the last complete append.
    """

    needs_flushing = True

    def __init__(
        self,
        output_dir: str,
        *,
        root: str,
        max_files_retained: int | None,
        base: str,
        folders: tuple[Folder, ...],
        clock: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._wake = wake
        self._is_closed = False
        self._spool = Path(tempfile.mkdtemp(prefix="beam-zerobus-"))
        try:
            layout = Layout(root=self._spool / root, base=base, folders=folders)
            url = FileSystems.join(output_dir, root)
            self._mirrors = [
                _Mirror(FileSystems.join(url, folder.name), layout, folder, max_files_retained) for folder in folders
            ]
            for folder in folders:
                if folder.is_written:
                    make_private_directories(self._spool, root, folder.name)
            self.files = FileSet(
                layout,
                clock=clock,
                is_retained_here=False,
                last_rotation=self._prepare(clock),
                on_rotated=self._on_rotated,
            )
        except BaseException:
            self.close()
            raise

    def prepare_flush(self) -> Callable[[], None]:
        """Open the current files, to upload what they hold now; the returned function uploads it."""
        sizes, rotation = dict(self.files.current()), self.files.last_rotation
        opened = [(mirror, name, file, size) for mirror in self._mirrors for name, file, size in mirror.current(sizes)]

        def finish() -> None:
            with ExitStack() as copies:
                copies.callback(self._remove_if_closed)
                for _, _, file, _ in opened:
                    copies.callback(file.close)
                # Windows does not rename an open file: the originals are closed before anything slow begins.
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
        self._is_closed = True
        self._remove_if_closed()

    def _remove_if_closed(self) -> None:
        """Remove the private directory; during an upload, Windows keeps what that has open until it ends."""
        if self._is_closed:
            shutil.rmtree(self._spool, ignore_errors=True)

    def _copy(self, file: BinaryIO, size: int) -> BinaryIO:
        copy = tempfile.TemporaryFile(dir=self._spool)  # noqa: SIM115  the caller closes it
        with file:
            while chunk := file.read(min(size - copy.tell(), _CHUNK)):
                copy.write(chunk)
        copy.seek(0)
        return copy

    def _prepare(self, clock: Callable[[], float]) -> Rotation | None:
        """Make the remote directories, and rotate what an earlier writer left there; return the last rotation."""
        for mirror in self._mirrors:
            mirror.make_directory()
        names = [name for mirror in self._mirrors for name in mirror.remote_names()]
        last = max((name.rotation for name in names if name.rotation is not None), default=None)
        if all(name.rotation is not None for name in names):
            return last
        last = Rotation.following(last, clock())
        for mirror in self._mirrors:
            mirror.rotate(last)
        return last

    def _on_rotated(self) -> None:
        waiting = sum(mirror.waiting_files() for mirror in self._mirrors)
        if waiting > _MAX_WAITING_FILES:
            raise OSError(f"{waiting} full files wait for their upload, which does not keep up")
        self._wake()


class _Mirror:
    """A local folder, and the remote directory that it is uploaded to."""

    def __init__(self, url: str, layout: Layout, folder: Folder, max_files_retained: int | None) -> None:
        self._url = url
        self._layout = layout
        self._folder = folder
        self._max_files_retained = max_files_retained
        self._growing = {companion.suffix for companion in folder.companions if companion.rewrite_line is not None}
        self._uploaded: dict[Name, int] = {}  # files that may still grow, with their size at the last upload

    def make_directory(self) -> None:
        """Make the remote directory, and check that it can be written."""
        if not self._folder.is_written:
            return
        if not FileSystems.exists(self._url):
            FileSystems.mkdirs(self._url)
        probe = FileSystems.join(self._url, f".{self._layout.base}.probe")
        _create(probe).close()
        FileSystems.delete([probe])

    def remote_names(self) -> list[Name]:
        """Return this base's remote files."""
        (match,) = FileSystems.match([FileSystems.join(self._url, f"{self._layout.base}.*")])
        files = (metadata.path.replace("\\", "/").rpartition("/")[2] for metadata in match.metadata_list)
        names = (self._folder.parse(file, self._layout.base) for file in files)
        return [name for name in names if name is not None]

    def local_names(self) -> list[Name]:
        """Return this base's local files, the companions of a data file before the file itself."""
        return sorted(self._layout.names(self._folder), key=lambda name: (name.order, self._is_data(name)))

    def waiting_files(self) -> int:
        """Return how many rotated data files are not uploaded yet."""
        return sum(name.rotation is not None and self._is_data(name) for name in self.local_names())

    def rotate(self, rotation: Rotation) -> None:
        """Rename the current remote files, companions first."""
        current = {name.suffix: name for name in self.remote_names() if name.rotation is None}
        rewriters = {companion.suffix: companion.rewrite_line for companion in self._folder.companions}
        for suffix in (*rewriters, self._folder.suffix):
            if suffix not in current:
                continue
            source, destination = self._at(current[suffix]), self._at(replace(current[suffix], rotation=rotation))
            rewrite = rewriters.get(suffix)
            if rewrite is None:
                FileSystems.rename([source], [destination])
                continue
            with FileSystems.open(source, compression_type=CompressionTypes.UNCOMPRESSED) as file:
                lines = file.read().splitlines(keepends=True)
            stems = self._layout.base, f"{self._layout.base}.{rotation}"
            with _create(destination) as file:
                file.writelines(rewrite(line, *stems) for line in lines)
            FileSystems.delete([source])

    def current(self, sizes: dict[Path, int]) -> Iterator[tuple[Name, BinaryIO, int]]:
        """Yield the current files that changed, opened, with the size of what was appended completely."""
        for name in self.local_names():
            path = self._local(name)
            if name.rotation is None and self._uploaded.get(name) != (size := sizes.get(path, path.stat().st_size)):
                yield name, open_private(path, "rb"), size

    def upload_rotated(self) -> None:
        """Apply the retention, then upload rotated files and remove them here."""
        waiting = [name for name in self.local_names() if name.rotation is not None]
        if any(self._is_data(name) for name in waiting):
            remote = self.remote_names()
            going = set(superfluous(list({*remote, *waiting}), self._max_files_retained, self._folder.suffix))
            for name in going.intersection(waiting):
                self._local(name).unlink()
            if gone := [self._at(name) for name in going.intersection(remote)]:
                FileSystems.delete(gone)
            waiting = [name for name in waiting if name not in going]
            for name in [name for name in self._uploaded if name.rotation is None]:
                del self._uploaded[name]  # the current files are new ones
        for name in waiting:
            path = self._local(name)
            if self._uploaded.get(name) != (size := path.stat().st_size):
                with open_private(path, "rb") as file:
                    self._upload(name, file)
            if name.suffix in self._growing:
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

    def _is_data(self, name: Name) -> bool:
        return name.suffix == self._folder.suffix

    def _local(self, name: Name) -> Path:
        return self._layout.path(self._folder, name.suffix, name.rotation)

    def _at(self, name: Name) -> str:
        return FileSystems.join(self._url, str(name))


def _create(url: str) -> BinaryIO:
    return FileSystems.create(url, "application/octet-stream", CompressionTypes.UNCOMPRESSED)

"""A Beam filesystem in memory, ``memory://``: like an object store, files appear when they are closed."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata, FileSystem


class MemoryFileSystem(FileSystem):
    """Holds what was uploaded in `files`; `broken` rejects writes, `delay` slows them down."""

    files: dict[str, bytes] = {}  # noqa: RUF012  Beam makes an object a call
    uploads: list[str] = []  # noqa: RUF012
    broken: str | None = None
    delay: float = 0.0
    lock = threading.Lock()

    @classmethod
    def reset(cls) -> None:
        cls.files = {}
        cls.uploads = []
        cls.broken = None
        cls.delay = 0.0

    @classmethod
    def scheme(cls) -> str:
        return "memory"

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path: str) -> tuple[str, str]:
        head, _, tail = path.rpartition("/")
        return head, tail

    def mkdirs(self, path: str) -> None:
        pass

    def has_dirs(self) -> bool:
        return False

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        with self.lock:
            sizes = {path: len(data) for path, data in self.files.items() if path.startswith(dir_or_prefix)}
        for path, size in sizes.items():
            yield FileMetadata(path, size)

    def create(
        self, path: str, mime_type: str = "application/octet-stream", compression_type: str = CompressionTypes.AUTO
    ) -> io.BytesIO:
        if self.broken is not None:
            raise BeamIOError(self.broken)
        time.sleep(self.delay)
        return _Upload(path)

    def open(
        self, path: str, mime_type: str = "application/octet-stream", compression_type: str = CompressionTypes.AUTO
    ) -> io.BytesIO:
        return io.BytesIO(self.files[path])

    def copy(self, source_file_names: list[str], destination_file_names: list[str]) -> None:
        for source, destination in zip(source_file_names, destination_file_names, strict=True):
            self.files[destination] = self.files[source]

    def rename(self, source_file_names: list[str], destination_file_names: list[str]) -> None:
        for source, destination in zip(source_file_names, destination_file_names, strict=True):
            assert destination not in self.files
            self.files[destination] = self.files.pop(source)

    def exists(self, path: str) -> bool:
        return path in self.files

    def size(self, path: str) -> int:
        return len(self.files[path])

    def last_updated(self, path: str) -> float:
        return 0.0

    def checksum(self, path: str) -> str:
        return ""

    def metadata(self, path: str) -> FileMetadata:
        return FileMetadata(path, len(self.files[path]))

    def delete(self, paths: list[str]) -> None:
        for path in paths:
            del self.files[path]


class _Upload(io.BytesIO):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def close(self) -> None:
        if not self.closed:
            with MemoryFileSystem.lock:
                MemoryFileSystem.files[self._path] = self.getvalue()
                MemoryFileSystem.uploads.append(self._path)
        super().close()

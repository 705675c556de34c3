"""Files of any Beam filesystem, decompressed and checked: a cut-off or damaged file raises, with its name."""

from __future__ import annotations

import io
import lzma
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
from apache_beam.io.filesystem import CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems

from beam_zerobus.errors import ConversionError
from beam_zerobus.programs.command import InputError

__all__ = ["COMPRESSED", "STDIN_COPY", "FilePart", "bytes_read", "naming", "opened", "parts_of", "read_exactly"]

COMPRESSED = (".gz", ".bz2", ".zst", ".zstd", ".xz", ".lzma", ".deflate")
"""The endings of compressed files."""

STDIN_COPY = "beam-zerobus-standard-input-"
"""What the name of the directory begins with that has the copy of standard input; any worker knows it by that."""

_ARROW_CODECS = {CompressionTypes.GZIP: "gzip", CompressionTypes.BZIP2: "bz2", CompressionTypes.ZSTD: "zstd"}
_PART_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 20


class BytesRead:
    """Counts the bytes that readers in this process have read, before decompression."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count = 0

    def add(self, count: int) -> None:
        """Count more bytes."""
        with self._lock:
            self.count += count


bytes_read = BytesRead()
"""The one of the process."""


@dataclass(frozen=True, slots=True)
class FilePart:
    """A range of bytes of a file.

    Attributes:
        path: The file.
        start: The first byte.
        stop: The byte after the last; None for the rest of the file.
    """

    path: str
    start: int = 0
    stop: int | None = None

    def owns(self, position: int) -> bool:
        """Return whether a record that starts at a position belongs to this part."""
        return self.stop is None or position < self.stop


def parts_of(file: FileMetadata) -> Iterator[FilePart]:
    """Yield ranges of a file that workers can read side by side; a compressed file is a single one."""
    if CompressionTypes.detect_compression_type(file.path) != CompressionTypes.UNCOMPRESSED:
        yield FilePart(file.path)
        return
    for start in range(0, max(file.size_in_bytes, 1), _PART_BYTES):
        stop = start + _PART_BYTES
        yield FilePart(file.path, start, stop if stop < file.size_in_bytes else None)


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """Open a file for reading and decompress it as its ending says.

    Beam's own decompression returns what is left of a cut-off file as if it were complete; these readers raise.
    """
    compression = CompressionTypes.detect_compression_type(path)
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as unmetered:
        file: Any = _Metered(unmetered)
        if compression != CompressionTypes.UNCOMPRESSED:
            _check_not_empty(file)
        if compression in _ARROW_CODECS:
            with pa.CompressedInputStream(pa.PythonFile(file, mode="r"), _ARROW_CODECS[compression]) as stream:
                yield stream
        elif compression == CompressionTypes.LZMA:
            # LZMAFile leaves out what follows, such as a second file whose beginning is damaged.
            yield io.BufferedReader(_Decompressed(file, lzma.LZMADecompressor, joined=True), _CHUNK_BYTES)
        elif compression == CompressionTypes.DEFLATE:
            yield io.BufferedReader(
                _Decompressed(file, lambda: zlib.decompressobj(-zlib.MAX_WBITS), joined=False), _CHUNK_BYTES
            )
        else:
            yield file


class _Metered:
    """A file that counts what is read of it in `bytes_read`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(count)
        bytes_read.add(len(data))
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _check_not_empty(file: BinaryIO) -> None:
    """Raise for a file without a byte: compressed, even no data has some, but not every decompressor says so."""
    if not file.read(1):
        raise EOFError("Truncated compressed stream")
    file.seek(0)


class _Decompressed(io.RawIOBase):
    """Reads compressed data, and raises where it is cut off, or where something else follows it.

    Args:
        file: The compressed file.
        make: Makes a decompressor of zlib or lzma.
        joined: Whether other compressed files may follow, and zero bytes, which pad those of xz.
    """

    def __init__(self, file: BinaryIO, make: Callable[[], Any], *, joined: bool) -> None:
        self._file = file
        self._make = make
        self._joined = joined
        self._decompressor = make()
        self._filled = False  # the last buffer, so that the decompressor may hold more

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = b""
        while not data:
            compressed = self._next()
            if compressed is None:
                return 0
            data = self._decompressor.decompress(compressed, len(buffer))
            self._filled = len(data) == len(buffer)
        buffer[: len(data)] = data
        return len(data)

    def _next(self) -> bytes | None:
        """Return what to decompress next, empty where the decompressor may hold more; None at the end."""
        decompressor = self._decompressor
        if decompressor.eof:
            following = self._after_end(decompressor.unused_data)
            if not following:
                return None
            if not self._joined:
                raise ValueError("something follows the end of the compressed data")
            self._decompressor, self._filled = self._make(), False
            return following
        compressed: bytes = getattr(decompressor, "unconsumed_tail", b"")  # of zlib
        if not compressed and not self._filled:
            compressed = self._file.read(_CHUNK_BYTES)
            if not compressed:
                raise EOFError("Truncated compressed stream")
        return compressed

    def _after_end(self, unused: bytes) -> bytes:
        """Return what follows the compressed data, without padding; empty at the end of the file."""
        padding = b"\0" if self._joined else b""
        pieces = chain([unused], iter(partial(self._file.read, _CHUNK_BYTES), b""))
        return next(filter(None, (piece.lstrip(padding) for piece in pieces)), b"")


@contextmanager
def naming(path: str, place: Callable[[], str] = str) -> Iterator[str]:
    """Return what messages call a file, and raise any error of reading as an InputError with that name.

    Args:
        path: The file.
        place: Returns where reading was, such as "after line 7"; empty if nothing was read.
    """
    name = "standard input" if Path(path).parent.name.startswith(STDIN_COPY) else path
    try:
        yield name
    except (InputError, ConversionError):
        raise
    except Exception as error:
        where = f" {place()}" if place() else ""
        reason = " ".join(str(error).split()).replace(path, name) or type(error).__name__  # of a library
        raise InputError(
            f"{name} cannot be read{where}: {reason}; check its permissions and its format, and replace it if it is "
            "damaged or cut off"
        ) from error


def read_exactly(file: BinaryIO, count: int) -> bytes:
    """Return the next `count` bytes of a file, fewer only at its end."""
    data = file.read(count)
    if len(data) == count or not data:
        return bytes(data)
    pieces = [data]
    missing = count - len(data)
    while missing and (piece := file.read(missing)):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)

"""Files of any Beam filesystem, decompressed and checked: a cut-off or damaged file raises, with its name."""

from __future__ import annotations

import io
import lzma
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
from apache_beam.io.filesystem import CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems

from beam_zerobus.errors import ConversionError
from beam_zerobus.programs.command import InputError

__all__ = ["COMPRESSED", "FilePart", "bytes_read", "naming", "opened", "parts_of", "read_exactly"]

COMPRESSED = (".gz", ".bz2", ".zst", ".zstd", ".xz", ".lzma", ".deflate")
"""The endings of compressed files."""

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
            with lzma.LZMAFile(file) as stream:
                yield io.BufferedReader(stream, _CHUNK_BYTES)
        elif compression == CompressionTypes.DEFLATE:
            yield io.BufferedReader(_Deflated(file), _CHUNK_BYTES)
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


class _Deflated(io.RawIOBase):
    """Reads a raw deflate stream, and raises where it is cut off."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decompressor = zlib.decompressobj(-zlib.MAX_WBITS)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = b""
        while not data and not self._decompressor.eof:
            compressed = self._decompressor.unconsumed_tail or self._file.read(_CHUNK_BYTES)
            if not compressed:
                raise EOFError("Truncated compressed stream")
            data = self._decompressor.decompress(compressed, len(buffer))
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def naming(path: str, place: Callable[[], str] = str) -> Iterator[None]:
    """Raise any error of reading as an InputError that names the file.

    Args:
        path: The file.
        place: Returns where reading was, such as "after line 7"; empty if nothing was read.
    """
    try:
        yield
    except (InputError, ConversionError):
        raise
    except Exception as error:
        where = f" {place()}" if place() else ""
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path} cannot be read{where}: {reason}; check its permissions and its format, and replace it if it is "
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

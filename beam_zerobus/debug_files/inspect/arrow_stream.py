"""Arrow IPC streams read back: a stream that is cut off is read up to the cut, a damaged one is an error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa

from beam_zerobus.errors import counted
from beam_zerobus.schema.soundness import require_sound

__all__ = ["StreamCutError", "read_stream"]

_CONTINUATION = b"\xff\xff\xff\xff"  # each message starts with it, and with the length of its metadata


class StreamCutError(ValueError):
    """The stream has no end marker: its writer was killed, or writes it now, or the file was cut."""


def read_stream(source: BinaryIO) -> Iterator[pa.RecordBatch]:
    """Yield the whole batches of an Arrow IPC stream.

    Raises:
        StreamCutError: The stream ends inside a message, or after one, without its end marker.
        ValueError: It is not an Arrow IPC stream, or is damaged, or something follows its end.
    """
    file = _Watched(source)
    _require_beginning(file)
    if file.is_short:
        raise StreamCutError("it ends before its schema")
    try:
        for batch in pa.ipc.open_stream(file):
            require_sound(batch)
            yield batch
    except (pa.ArrowException, OSError, MemoryError, RecursionError) as error:
        if file.is_short:
            raise StreamCutError(str(error)) from error
        raise ValueError(str(error)) from error
    if file.is_short:
        raise StreamCutError("it has no end marker")
    if source.read(1):
        raise ValueError("something follows the end of its stream")


def _require_beginning(file: _Watched) -> None:
    """Check that a stream starts like those of debug files; a file that ends before that may be one."""
    beginning = file.source.read(len(_CONTINUATION) + 4)
    length = int.from_bytes(beginning[len(_CONTINUATION) :], "little", signed=True)
    if not beginning.startswith(_CONTINUATION[: len(beginning)]):
        raise ValueError("it does not start with an Arrow message")
    file.is_short = len(beginning) < len(_CONTINUATION) + 4
    if not file.is_short and (length <= 0 or length % 8):
        raise ValueError(f"it does not start with a schema, but with {counted(length, 'byte')} of metadata")
    file.source.seek(0)


class _Watched:
    """A file for Arrow that notes whether it ended before a read was complete.

    Attributes:
        source: The file.
        is_short: Whether the last read that asked for bytes got fewer.
    """

    closed = False

    def __init__(self, source: BinaryIO) -> None:
        self.source = source
        self.is_short = False

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes."""
        data = self.source.read(size)
        self.is_short = 0 <= len(data) < size
        return data

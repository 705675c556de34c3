"""Protobuf files in pieces: the counterpart of `beam_zerobus.debug_files.framing`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from beam_zerobus.errors import counted

__all__ = ["RecordCutError", "read_framed"]

_TAG = 0x0A  # field 1, length-delimited
_CHUNK = 4 << 20


class RecordCutError(ValueError):
    """The file ends inside a record: its writer was killed, or writes it now, or the file was cut."""


def read_framed(file: BinaryIO, rows: int) -> Iterator[bytes]:
    """Yield a file in pieces of up to `rows` whole records, each piece again one ``Rows`` message.

    Args:
        file: A file that `frame` wrote.
        rows: The most records in a piece.

    Raises:
        RecordCutError: The file ends inside a record.
        ValueError: The file holds something else.
    """
    data = b""
    while chunk := file.read(_CHUNK):
        data += chunk
        start = 0
        for end in _ends(data, rows):
            yield data[start:end]
            start = end
        data = data[start:]
    if data:
        raise RecordCutError(f"{counted(len(data), 'byte')} of a record can be read")


def _ends(data: bytes, rows: int) -> Iterator[int]:
    """Yield where every `rows`-th record ends, and the last whole one."""
    position = end = count = 0
    size = len(data)
    while position < size:
        if data[position] != _TAG:
            raise ValueError(f"no record starts at byte {position}")
        position += 1
        length = shift = 0
        while position < size:
            byte = data[position]
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift > 35:
                raise ValueError(f"the length of the record at byte {end} is not a valid varint")
        else:
            break
        position += length
        if position > size:
            break
        end = position
        count += 1
        if count % rows == 0:
            yield end
    if end and count % rows:
        yield end

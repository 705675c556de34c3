"""Avro files: records as dicts, in the Python types that the sink reads.

A file is read block by block, and decompressed with pyarrow and the standard library, so that every codec of Spark
works without further packages. fastavro decodes the records, with the schema that `avro_types` makes.
"""

from __future__ import annotations

import bz2
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import apache_beam as beam
import fastavro
import pyarrow as pa

from beam_zerobus.errors import counted
from beam_zerobus.programs.avro_types import exact_schema
from beam_zerobus.programs.command import InputError
from beam_zerobus.programs.open_files import FilePart, naming, opened, read_exactly
from beam_zerobus.sink.rows_of_file import RowsOfFile

__all__ = ["CODECS", "ReadRecords"]

_SYNC_BYTES = 16
_SEARCH_BYTES = 1 << 20
_MAX_BLOCK_BYTES = 1 << 30
_HEADER: Any = fastavro.parse_schema(
    {
        "type": "record",
        "name": "beam_zerobus_avro_header",
        "fields": [
            {"name": "magic", "type": {"type": "fixed", "name": "beam_zerobus_avro_magic", "size": 4}},
            {"name": "meta", "type": {"type": "map", "values": "bytes"}},
            {"name": "sync", "type": {"type": "fixed", "name": "beam_zerobus_avro_sync", "size": _SYNC_BYTES}},
        ],
    }
)


def _snappy(data: bytes) -> bytes:
    # The size before compression is first, as a varint; a CRC-32 of the uncompressed data is last.
    body, checksum = data[:-4], int.from_bytes(data[-4:], "big")
    size = shift = 0
    for byte in body:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    uncompressed = pa.Codec("snappy").decompress(body, size, asbytes=True)
    if zlib.crc32(uncompressed) != checksum:
        raise ValueError("a checksum is wrong")
    return uncompressed


def _zstandard(data: bytes) -> bytes:
    with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
        return stream.read()


CODECS: Mapping[str, Callable[[bytes], bytes]] = {
    "null": bytes,
    "deflate": lambda data: zlib.decompress(data, -zlib.MAX_WBITS),
    "snappy": _snappy,
    "zstandard": _zstandard,
    "bzip2": bz2.decompress,
    "xz": lzma.decompress,
}
"""The codecs of Avro blocks."""


@dataclass(frozen=True, slots=True)
class _Container:
    """The header of a file.

    Attributes:
        codec: How blocks are compressed.
        sync: The marker after each block.
        first_block: The position of the first block.
        header: The header of an uncompressed file with the same records, in the types of `avro_types`.
    """

    codec: str
    sync: bytes
    first_block: int
    header: bytes

    def records(self, count: int, block: bytes) -> list[Any]:
        """Decode the records of an uncompressed block, as a file of its own: fastavro decodes single ones slowly.

        Raises:
            ValueError: There is more in the block than its records.
        """
        file = b"".join((self.header, _zigzag(count), _zigzag(len(block)), block, self.sync))
        # Text that is not UTF-8 becomes text that the sink rejects, with its row only.
        decoded: Any = next(iter(fastavro.block_reader(io.BytesIO(file), handle_unicode_errors="surrogateescape")))
        records = list(decoded)
        if decoded.bytes_.tell() != len(block):
            raise ValueError(f"a block is longer than its {counted(count, 'record')}")
        return records


class ReadRecords(beam.DoFn):
    """Reads the records of the blocks that start in a part of a file."""

    def process(self, part: FilePart) -> Iterator[RowsOfFile]:
        """Read one part.

        Raises:
            InputError: The file cannot be read.
        """
        position = part.start
        with naming(part.path, lambda: f"at byte {position:,}") as name, opened(part.path) as file:
            container = _header(name, file)
            position = container.first_block
            if part.start > position:
                position = _after_marker(file, container.sync, part.start - _SYNC_BYTES)
            while part.owns(position):
                head = _block_head(file)
                if head is None:
                    return
                count, size, length = head
                data = read_exactly(file, size + _SYNC_BYTES)
                if len(data) < size + _SYNC_BYTES:
                    raise EOFError("the block is cut off")
                if data[size:] != container.sync:
                    raise ValueError("the block does not end with the file's sync marker")
                block = CODECS[container.codec](data[:size])
                records = container.records(count, block)
                if records:
                    source = f"{name}, block at byte {position:,}"
                    yield RowsOfFile(records, source, "record", range(len(records)))
                position += length + size + _SYNC_BYTES


def _header(name: str, file: BinaryIO) -> _Container:
    counted = _Counted(file)
    try:
        header: Any = fastavro.schemaless_reader(cast(BinaryIO, counted), _HEADER, None)
    except Exception as error:
        raise ValueError("it does not start with the header of an Avro file") from error
    if header["magic"] != b"Obj\x01":
        raise ValueError("it is not an Avro file")
    codec = header["meta"].get("avro.codec", b"null").decode()
    if codec not in CODECS:
        raise InputError(f"{name} has the Avro codec {codec}, which cannot be read: use one of {', '.join(CODECS)}")
    uncompressed = io.BytesIO()
    schema = exact_schema(json.loads(header["meta"]["avro.schema"]))
    fastavro.writer(uncompressed, schema, [], codec="null", sync_marker=header["sync"])
    return _Container(codec, header["sync"], counted.position, uncompressed.getvalue())


class _Counted:
    """A file that counts the bytes that were read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.position = 0

    def read(self, count: int) -> bytes:
        data = read_exactly(self._file, count)
        self.position += len(data)
        return data


def _block_head(file: BinaryIO) -> tuple[int, int, int] | None:
    """Return the number of records, the number of bytes and the length of the two numbers; None at the end."""
    first = file.read(1)
    if not first:
        return None
    count, length = _long(file, bytes(first))
    size, more = _long(file, bytes(file.read(1)))
    if count < 0 or not 0 <= size <= _MAX_BLOCK_BYTES:
        raise ValueError("the head of a block is damaged")
    return count, size, length + more


def _long(file: BinaryIO, first: bytes) -> tuple[int, int]:
    data = first
    while data and data[-1] >= 0x80 and len(data) < 10:
        following = bytes(file.read(1))
        if not following:
            break
        data += following
    if not data or data[-1] >= 0x80:
        raise EOFError("the head of a block is cut off or damaged")
    value = sum((byte & 0x7F) << (7 * index) for index, byte in enumerate(data))
    return (value >> 1) ^ -(value & 1), len(data)


def _zigzag(value: int) -> bytes:
    value <<= 1  # never negative here
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _after_marker(file: BinaryIO, sync: bytes, start: int) -> int:
    """Move to the first block that starts at or after `start` plus the length of a marker; return its position."""
    file.seek(start)
    data = b""
    while True:
        more = read_exactly(file, _SEARCH_BYTES)
        data += more
        found = data.find(sync)
        if found >= 0:
            file.seek(start + found + _SYNC_BYTES)
            return start + found + _SYNC_BYTES
        if not more:
            return start + len(data)
        start += max(len(data) - _SYNC_BYTES, 0)
        data = data[-_SYNC_BYTES:]

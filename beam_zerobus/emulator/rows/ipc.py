"""Arrow IPC messages as Flight carries them: in two parts, and read within limits."""

from __future__ import annotations

import struct

import pyarrow as pa

from beam_zerobus.emulator.limits import MAX_MESSAGE_BYTES, MAX_RECORD_BYTES, MAX_ROWS
from beam_zerobus.emulator.rejection import Rejection

__all__ = ["read_batch", "read_schema"]

_CONTINUATION = b"\xff\xff\xff\xff"
# Places of fields in the flatbuffers of Arrow's format: slots of vtables.
_MESSAGE_HEADER, _BATCH_LENGTH, _BATCH_BUFFERS, _BATCH_COMPRESSION = 8, 4, 8, 10
_STORED_AS_IS = -1
# What pyarrow, and reading beyond the end of a message, raise.
_UNREADABLE = (pa.ArrowException, OSError, EOFError, ValueError, struct.error)


def read_schema(header: bytes) -> pa.Schema:
    """Return the schema of a stream's first message.

    Raises:
        Rejection: The message holds none.
    """
    try:
        message = _message(header, b"")
        if message.type != "schema":  # pyarrow 25 ends the process with a message of an unknown type
            raise pa.ArrowInvalid(message.type)
        return pa.ipc.read_schema(message)
    except _UNREADABLE:
        raise Rejection.invalid("the first message of an Arrow stream must hold its schema", number=8001) from None


def read_batch(header: bytes, body: bytes, schema: pa.Schema) -> pa.RecordBatch:
    """Return the RecordBatch of a message.

    Raises:
        Rejection: The message holds no batch of the schema, or it, or a row of it, is too large.
    """
    try:
        message = _message(header, body)
        if message.type != "record batch":
            raise pa.ArrowInvalid(message.type)
        rows, size = _extent(header, body)
        if size > MAX_MESSAGE_BYTES:
            raise Rejection.invalid(
                f"the RecordBatch decompresses to {size} bytes; a call may have {MAX_MESSAGE_BYTES} at most"
            )
        if rows > MAX_ROWS:
            raise Rejection.invalid(f"the RecordBatch has {rows} rows; a call may have {MAX_ROWS} at most")
        batch = pa.ipc.read_record_batch(message, schema)
        if size > MAX_RECORD_BYTES:
            batch.validate(full=True)  # sizes follow from offsets, which must be right first
            _check_row_sizes(batch, 0)
    except _UNREADABLE:
        raise Rejection.invalid("the message holds no valid RecordBatch of the stream's schema") from None
    return batch


def _message(header: bytes, body: bytes) -> pa.Message:
    """Join the two parts to one IPC message; raises `pa.ArrowInvalid` if that fails."""
    padding = b"\0" * (-len(header) % 8)
    length = struct.pack("<i", len(header) + len(padding))
    return pa.ipc.read_message(pa.py_buffer(b"".join((_CONTINUATION, length, header, padding, body))))


def _extent(header: bytes, body: bytes) -> tuple[int, int]:
    """Return the rows of a batch and the bytes of its buffers after decompression.

    pyarrow decompresses without a limit, so both are read from the flatbuffer, which pyarrow has verified.
    """
    (root,) = struct.unpack_from("<I", header, 0)
    batch = _reference(header, _field(header, root, _MESSAGE_HEADER))
    length = _field(header, batch, _BATCH_LENGTH)
    rows = 0 if length is None else struct.unpack_from("<q", header, length)[0]
    buffers = _field(header, batch, _BATCH_BUFFERS)
    if buffers is None:
        return rows, 0
    vector = _reference(header, buffers)
    (count,) = struct.unpack_from("<I", header, vector)
    compressed = _field(header, batch, _BATCH_COMPRESSION) is not None
    size = 0
    for index in range(count):
        offset, stored = struct.unpack_from("<qq", header, vector + 4 + 16 * index)
        # A compressed buffer begins with its length before compression.
        plain = struct.unpack_from("<q", body, offset)[0] if compressed and stored else _STORED_AS_IS
        size += stored if plain == _STORED_AS_IS else plain
        if plain < _STORED_AS_IS or stored < 0:
            raise struct.error("a negative length")
    return rows, size


def _field(data: bytes, table: int, slot: int) -> int | None:
    """Return where a field of a flatbuffer's table is; None if it is absent."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    (size,) = struct.unpack_from("<H", data, vtable)
    offset = struct.unpack_from("<H", data, vtable + slot)[0] if slot < size else 0
    return table + offset if offset else None


def _reference(data: bytes, place: int | None) -> int:
    if place is None:
        raise struct.error("a field is missing")
    return place + int(struct.unpack_from("<I", data, place)[0])


def _check_row_sizes(batch: pa.RecordBatch, first: int) -> None:
    """Halve a batch until a row that is too large is found."""
    if batch.nbytes <= MAX_RECORD_BYTES:
        return
    if batch.num_rows == 1:
        raise Rejection.invalid(
            f"record {first} has {batch.nbytes} bytes; a record may have {MAX_RECORD_BYTES} at most"
        )
    middle = batch.num_rows // 2
    _check_row_sizes(batch.slice(0, middle), first)
    _check_row_sizes(batch.slice(middle), first + middle)

"""Encodes a batch in chunks of rows, to limit the memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from beam_zerobus.encoding.proto.assembly import Scratch, assemble, united
from beam_zerobus.encoding.proto.binding import bind_fields
from beam_zerobus.encoding.proto.columns import Column
from beam_zerobus.encoding.proto.nested import heading
from beam_zerobus.encoding.proto.pieces import Piece, total
from beam_zerobus.encoding.proto.rows import joined, to_bytes
from beam_zerobus.encoding.proto.varint import tag_word
from beam_zerobus.encoding.splitting import Encoded, framed_sizes, row_too_large
from beam_zerobus.schema.types import Field

__all__ = ["encode_chunks"]

_CHUNK_ROWS = 50_000
_CHUNK_BYTES = 6 << 20
"""An estimate: a chunk needs less than 10 MB in fact. Smaller chunks are not faster in spite of the processor's cache,
because each column costs about 15 microseconds a chunk."""
_FEWEST_ROWS = 256
"""So tables of very many columns need more memory; smaller chunks would be slow, as each column has a cost a chunk."""

_MOST_FRAMING = 6
_ROW_TAG = tag_word(1, 2)  # in `repeated Row rows = 1`


def encode_chunks(
    arrays: Sequence[pa.Array], fields: Sequence[Field], limit: int, *, framed: bool
) -> Iterator[Encoded]:
    """Yield the encoded rows of a batch; rows above the limit are rejected.

    Args:
        arrays: The batch's columns, at least one; protobuf can hold all rows.
        fields: The field of each column.
        limit: The most bytes of a record with its framing.
        framed: Return the framed rows too.
    """
    columns = bind_fields(arrays, fields)
    scratch = Scratch()
    start, count, most = 0, len(arrays[0]), _CHUNK_ROWS
    row_bytes = sum(column.row_bytes for column in columns)
    while start < count:
        rows = _chunk_rows(columns, row_bytes, start, min(most, count - start))
        yield from _encode(columns, start, start + rows, limit, scratch, framed=framed)
        start += rows
        most = min(
            _CHUNK_ROWS, rows + rows // 4 + 1
        )  # the next is likely as large, and estimating more rows takes time


def _chunk_rows(columns: Sequence[Column], row_bytes: int, start: int, most: int) -> int:
    rows = most
    while rows > 1:
        varying = sum(column.varying_bytes(start, start + rows) for column in columns)
        size = rows * row_bytes + varying
        if size <= _CHUNK_BYTES or (rows <= _FEWEST_ROWS and varying <= _CHUNK_BYTES):
            break
        fitting = rows * _CHUNK_BYTES // size
        rows = max(1, min(rows - 1, max(fitting, _FEWEST_ROWS) if rows > _FEWEST_ROWS else fitting))
    return rows


def _encode(
    columns: Sequence[Column], start: int, stop: int, limit: int, scratch: Scratch, *, framed: bool
) -> Iterator[Encoded]:
    count = stop - start
    pieces: list[Piece] = [piece for column in columns for piece in column.pieces(start, stop, None)]
    if sum(piece.longest for piece in pieces) + _MOST_FRAMING > limit:
        lengths = total([piece.lengths for piece in pieces])
        sizes = framed_sizes(np.broadcast_to(lengths, count))
        if int(sizes.max()) > limit:
            yield from _without_large_rows(columns, start, sizes, limit, scratch, framed=framed)
            return
    frames = heading(_ROW_TAG, pieces, None) if framed else []
    units = united([*frames, *pieces])
    del pieces  # frees the memory of pieces that were joined
    rows = assemble(units, count, scratch)
    whole = joined(rows) if framed else None
    rows = rows.without(total([piece.lengths for piece in frames]))
    sizes = framed_sizes(np.full(count, rows.lengths) if isinstance(rows.lengths, int) else rows.lengths)
    yield Encoded(records=to_bytes(rows), sizes=sizes, rows=range(start, stop), framed=whole)


def _without_large_rows(
    columns: Sequence[Column], start: int, sizes: np.ndarray, limit: int, scratch: Scratch, *, framed: bool
) -> Iterator[Encoded]:
    """Reject rows that are too large before they are copied, and encode the rows between them."""
    begin = start
    for position in [*np.flatnonzero(sizes > limit).tolist(), len(sizes)]:
        row = start + position
        if begin < row:
            yield from _encode(columns, begin, row, limit, scratch, framed=framed)
        if position < len(sizes):
            yield Encoded.without_rows(row_too_large(row, int(sizes[position]), limit))
        begin = row + 1

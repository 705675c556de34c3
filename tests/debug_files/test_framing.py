import io
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_zerobus.debug_files.descriptors import describe
from beam_zerobus.debug_files.framing import frame
from beam_zerobus.debug_files.inspect.descriptors import parse_description
from beam_zerobus.debug_files.inspect.framing import RecordCutError, read_framed

from .samples import AIR, AIR_ENCODER, air, encode


def split(framed: bytes, rows: int = 1) -> list[bytes]:
    return list(read_framed(io.BytesIO(framed), rows))


def test_a_file_is_what_protobuf_itself_writes() -> None:
    records = encode(air(0, 500))
    rows_class = parse_description(describe(AIR_ENCODER.descriptor, AIR)).rows_class
    message = rows_class.FromString(frame(records))
    assert message.SerializeToString() == frame(records)
    assert [row.SerializeToString() for row in message.rows] == records


@given(st.lists(st.one_of(st.binary(max_size=300), st.integers(0, 40_000).map(bytes))), st.data())
def test_a_cut_costs_the_last_record_at_most(records: list[bytes], data: st.DataObject) -> None:
    framed = frame(records)
    cut = data.draw(st.integers(0, len(framed)))
    pieces: list[bytes] = []
    whole = [frame(records[:count]) for count in range(len(records) + 1)]
    is_cut = framed[:cut] not in whole
    with pytest.raises(RecordCutError) if is_cut else nullcontext():
        pieces.extend(read_framed(io.BytesIO(framed[:cut]), 1))
    assert b"".join(pieces) == max((some for some in whole if len(some) <= cut), key=len)


@given(st.lists(st.binary(max_size=200)), st.integers(1, 7))
def test_pieces_hold_as_many_records_as_asked_for(records: list[bytes], rows: int) -> None:
    pieces = split(frame(records), rows)
    assert b"".join(pieces) == frame(records)
    assert all(len(split(piece)) == rows for piece in pieces[:-1])


def test_records_larger_than_what_is_read_at_a_time() -> None:
    records = [b"x" * size for size in (5 << 20, 3, 9 << 20)]
    assert b"".join(split(frame(records), 2)) == frame(records)
    assert split(frame(records)) == [frame([record]) for record in records]


def test_something_else_is_rejected() -> None:
    with pytest.raises(ValueError, match="byte 5"):
        split(frame([b"abc"]) + b"\x12\x01a")
    with pytest.raises(ValueError, match="not a valid varint"):
        split(b"\x0a" + b"\xff" * 9)

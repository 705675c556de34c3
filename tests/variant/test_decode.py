"""Variant to JSON text: every type, and bytes that are not a Variant."""

from __future__ import annotations

import contextlib
import json
import struct
import tracemalloc
import uuid

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus.variant import MAX_DEPTH, VARIANT_TYPE, MalformedVariantError, decode_variants, encode_json

from .documents import DOCUMENTS

EMPTY = bytes([0x11, 0, 0])


def decode(value: bytes, metadata: bytes = EMPTY) -> str:
    return decode_variants(pa.array([{"metadata": metadata, "value": value}], VARIANT_TYPE))[0].as_py()


@pytest.mark.parametrize(
    ("kind", "data", "text"),
    [
        (7, struct.pack("<d", 0.1), "0.1"),
        (7, struct.pack("<d", float("nan")), '"NaN"'),
        (7, struct.pack("<d", float("-inf")), '"-Infinity"'),
        (10, bytes([38]) + (10**38 - 1).to_bytes(16, "little"), "0." + "9" * 38),
        (11, (-1).to_bytes(4, "little", signed=True), '"1969-12-31"'),
        (12, (1).to_bytes(8, "little"), '"1970-01-01T00:00:00.000001Z"'),
        (13, (0).to_bytes(8, "little"), '"1970-01-01T00:00:00.000000"'),
        (14, struct.pack("<f", 0.1), "0.1"),
        (15, b"\x02\0\0\0\0\xff", '"AP8="'),
        (16, b"\x02\0\0\0hi", '"hi"'),
        (17, (3_600_000_000).to_bytes(8, "little"), '"01:00:00.000000"'),
        (18, (1).to_bytes(8, "little"), '"1970-01-01T00:00:00.000000001Z"'),
        (19, (1).to_bytes(8, "little"), '"1970-01-01T00:00:00.000000001"'),
        (20, uuid.UUID(int=1).bytes, f'"{uuid.UUID(int=1)}"'),
    ],
)
def test_types_that_json_text_never_becomes(kind: int, data: bytes, text: str) -> None:
    assert decode(bytes([kind << 2]) + data) == text


@pytest.mark.parametrize(
    ("value", "metadata"),
    [
        (b"", EMPTY),
        (b"\x00\x00", EMPTY),  # bytes after the value
        (b"\x0c", EMPTY),
        (bytes([21 << 2]), EMPTY),
        (b"\x05", EMPTY),
        (b"\x05\xff", EMPTY),
        (b"\x40\xff\xff\xff\xff", EMPTY),
        (b"\x20\x27\x00\x00\x00\x00", EMPTY),  # scale 39
        (b"\x20\x00\xff\xff\xff\x7f", EMPTY),  # ten digits in a decimal of nine
        (b"\x34" + (-(2**63)).to_bytes(8, "little", signed=True), EMPTY),
        (b"\x44" + b"\xff" * 8, EMPTY),
        (b"\x03\xff", EMPTY),
        (b"\x13\xff\xff\xff\xff\x00", EMPTY),
        (b"\x03\x01\x01\x02\x00\x00", EMPTY),  # a gap before the first element
        (b"\x03\x02\x00\x00\x01\x00\x00", EMPTY),  # two elements in the same place
        (b"\x23\x00\x00", EMPTY),
        (b"\x02\x01\x00\x00\x01\x00", EMPTY),  # a field id that is not in the metadata
        (b"\x02\x02\x01\x00\x00\x01\x02\x00\x00", b"\x11\x02\x00\x01\x02ab"),  # fields in the wrong order
        (b"\x02\x02\x00\x00\x00\x01\x02\x00\x00", b"\x11\x02\x00\x01\x02ab"),  # the same field twice
        (b"\x00", b""),
        (b"\x00", b"\x12\x00\x00"),
        (b"\x00", b"\x11"),
        (b"\x00", b"\xd1\xff\xff\xff\xff"),
        (b"\x00", b"\x11\x01\x00\x05a"),
        (b"\x00", b"\x11\x01\x00\x01\xff"),
        (b"\x00", b"\x11\x02\x00\x01\x02ba"),  # not sorted
        (b"\x00", b"\x11\x02\x00\x01\x00ab"),
    ],
)
def test_bytes_that_are_not_a_variant(value: bytes, metadata: bytes) -> None:
    with pytest.raises(MalformedVariantError) as malformed:
        decode_variants(
            pa.array([{"metadata": EMPTY, "value": b"\0"}, {"metadata": metadata, "value": value}], VARIANT_TYPE)
        )
    assert malformed.value.position == 1


def test_nothing_of_a_call_is_kept_after_it() -> None:
    tracemalloc.start()
    try:
        for number in range(20):
            texts = pa.array([json.dumps({f"{number} {'k' * 1_000_000}": 1})])
            decode_variants(encode_json(texts)[0])
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 5_000_000


def test_small_values_cannot_print_without_end() -> None:
    """Elements that share bytes would double the text with each level."""
    for head in (b"\x07\x02", b"\x06\x02\x00\x01"):  # an array, and an object whose fields may have any order
        value = b"\x00"
        for _ in range(60):
            value = head + b"\0\0\0\0" + len(value).to_bytes(2, "little") + value
        with pytest.raises(MalformedVariantError):
            decode(value, b"\x11\x02\x00\x01\x02ab")
    deep = b"\x00"
    for _ in range(MAX_DEPTH + 1):
        size = len(deep).to_bytes(2, "little")
        deep = b"\x07\x01" + b"\0\0" + size + deep
    with pytest.raises(MalformedVariantError, match="nests too deep"):
        decode(deep)


@settings(max_examples=400)
@given(DOCUMENTS, st.data())
def test_damaged_variants_are_json_or_an_error(document: str, data: st.DataObject) -> None:
    variant = encode_json(pa.array([document]))[0][0].as_py()
    name = data.draw(st.sampled_from(["metadata", "value"]))
    damaged = bytearray(variant[name])
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    variant[name] = bytes(damaged[:cut] if data.draw(st.booleans()) else damaged)
    with contextlib.suppress(MalformedVariantError):
        json.loads(decode(variant["value"], variant["metadata"]))


@settings(max_examples=400)
@given(st.binary(max_size=40), st.binary(max_size=20))
def test_random_bytes_are_json_or_an_error(value: bytes, metadata: bytes) -> None:
    for some in (metadata, b"\x11" + metadata, EMPTY):
        with contextlib.suppress(MalformedVariantError):
            json.loads(decode(value, some))

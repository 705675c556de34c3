"""Values that are not UTF-8 are found in bulk, and are those that Python cannot decode."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_zerobus.schema.casts.text import not_utf8

# The first and the last byte of each kind that Unicode tells apart.
EDGES = bytes.fromhex("00 0a 7f 80 8f 90 9f a0 bf c0 c1 c2 df e0 e1 ec ed ee ef f0 f1 f3 f4 f5 ff")

pieces = st.one_of(
    st.text(st.characters(), max_size=3).map(lambda text: text.encode(errors="surrogatepass")),
    st.binary(max_size=3),
    st.sampled_from([b"\n", b"\r\n", "€😀".encode(), "€".encode()[:2], b"\xed\xa0\x80"]),
)


def cannot_be_decoded(value):
    try:
        return value is not None and value.decode() is None
    except UnicodeDecodeError:
        return True


@given(st.lists(st.none() | st.lists(pieces, max_size=4).map(b"".join)), st.integers(0, 3))
def test_marked_values_are_those_that_cannot_be_decoded(values, start):
    for kind in (pa.binary(), pa.large_binary()):
        marked = not_utf8(pa.array(values, kind).slice(start))
        assert marked.tolist() == [cannot_be_decoded(value) for value in values[start:]]


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_each_sequence_of_edges_is_judged_as_python_does(length):
    values = [bytes(sequence) for sequence in itertools.product(EDGES, repeat=length)]
    marked = not_utf8(pa.array(values, pa.binary()))
    assert marked.tolist() == [cannot_be_decoded(value) for value in values]

"""Columns of strings, numbers, booleans and nulls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from beam_zerobus.variant.layout import (
    DECIMAL4,
    DECIMAL8,
    FALSE,
    INT8,
    INT16,
    INT32,
    INT64,
    LONG_STRING,
    MAX_SHORT,
    NULL,
    SHORT_STRING,
    TRUE,
)
from beam_zerobus.variant.numbers import Number, encode_double, encode_integer, encode_number
from beam_zerobus.variant.pieces import (
    Encoded,
    binary_array,
    lengths_of,
    little_endian,
    merged,
    offsets_of,
    rows_of_bytes,
)
from beam_zerobus.variant.problems import Problem, VariantError

__all__ = ["LEAVES", "Reject"]

Reject = Callable[[np.ndarray, Problem], None]
"""Receives positions in a column, and their problem."""

_MAX_FAST_DIGITS = 18  # these fit int64


def _one_piece(array: pa.Array) -> Encoded:
    return Encoded((array,), lengths_of(array))


def _nulls(values: Sequence[Any], _reject: Reject) -> Encoded:
    return _one_piece(rows_of_bytes(np.full((len(values), 1), NULL, np.uint8)))


def _booleans(values: Sequence[Any], _reject: Reject) -> Encoded:
    flags = np.fromiter(values, bool, len(values))
    return _one_piece(rows_of_bytes(np.where(flags, TRUE, FALSE).astype(np.uint8)[:, None]))


def _strings(values: Sequence[Any], _reject: Reject) -> Encoded:
    """Encode strings; they may have nulls among them."""
    array = pa.array(values, pa.large_string())
    texts = binary_array(offsets_of(array), array.buffers()[2])  # a null as an empty string
    lengths = lengths_of(texts)
    first = lengths << 2 | SHORT_STRING
    if array.null_count:
        first[np.asarray(array.is_null())] = NULL
    is_long = lengths > MAX_SHORT
    if not is_long.any():
        return Encoded((rows_of_bytes(first.astype(np.uint8)[:, None]), texts), lengths + 1)
    head = np.empty((len(values), 5), np.uint8)
    head[:, 0] = np.where(is_long, LONG_STRING, first & 0xFF)
    head[:, 1:] = little_endian(lengths, 4)
    widths = np.where(is_long, 5, 1)
    return Encoded((rows_of_bytes(head, widths), texts), lengths + widths)


def _integers(values: Sequence[Any], reject: Reject) -> Encoded:
    try:
        numbers = np.fromiter(values, np.int64, len(values))
    except OverflowError:
        return _singly(values, encode_integer, reject)
    classes = np.zeros(len(values), np.int64)
    for bits in (7, 15, 31):
        classes += (numbers >= 1 << bits) | (numbers < -1 << bits)
    matrix = np.empty((len(values), 9), np.uint8)
    matrix[:, 0] = np.array([INT8, INT16, INT32, INT64], np.uint8)[classes]
    matrix[:, 1:] = little_endian(numbers, 8)
    return _one_piece(_cut(matrix, 1 + (1 << classes)))


def _cut(matrix: np.ndarray, lengths: np.ndarray) -> pa.Array:
    longest = int(lengths.max(initial=0))
    return rows_of_bytes(matrix[:, :longest], None if (lengths == longest).all() else lengths)


def _floats(values: Sequence[Any], reject: Reject) -> Encoded:
    """Encode floats by their text, which orjson writes for all of them at once."""
    text = np.frombuffer(orjson.dumps(values), np.uint8)[1:-1]
    is_comma = text == ord(",")
    ends = np.append(np.flatnonzero(is_comma), len(text))
    return _fractions(text[~is_comma], np.concatenate(([0], ends - np.arange(len(ends)))), reject)


def _numbers(values: Sequence[Any], reject: Reject) -> Encoded:
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    data = np.frombuffer("".join(values).encode(), np.uint8)
    return _fractions(data, np.concatenate(([0], np.cumsum(lengths))), reject)


def _fractions(data: np.ndarray, offsets: np.ndarray, reject: Reject) -> Encoded:
    """Encode numbers with a fraction: all at once, but for those with an exponent or more than 18 digits.

    Args:
        data: The texts of the numbers, side by side.
        offsets: Where each begins, and the end of the last.
        reject: Gets those that are not exact.
    """
    lengths = np.diff(offsets)
    negative = data[offsets[:-1]] == ord("-")
    # A leading zero does not count, so all 18 digits may be decimal places.
    digits = lengths - negative - (data[offsets[:-1] + negative] == ord("0")) - 1
    odd = (digits > _MAX_FAST_DIGITS) | (_counts(data == ord("."), offsets) != 1)
    exponents = data >= ord("E")
    if exponents.any():
        odd |= _counts(exponents, offsets) > 0
    if not odd.any():
        return _one_piece(_decimals(data, offsets, negative))
    singles, others = np.flatnonzero(odd), np.flatnonzero(~odd)
    bounds = zip(offsets[:-1][odd].tolist(), offsets[1:][odd].tolist(), strict=True)
    single = _singly(
        [data[start:end].tobytes().decode() for start, end in bounds],
        encode_number,
        lambda positions, problem: reject(singles[positions], problem),
    )
    if not len(others):
        return single
    plain_offsets = np.concatenate(([0], np.cumsum(lengths[others])))
    plain = _decimals(data[np.repeat(~odd, lengths)], plain_offsets, negative[others])
    return _one_piece(merged([(singles, single.pieces[0]), (others, plain)]))


def _counts(marked: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return how many bytes of each text are marked."""
    return np.diff(np.searchsorted(np.flatnonzero(marked), offsets))


def _decimals(data: np.ndarray, offsets: np.ndarray, negative: np.ndarray) -> pa.Array:
    """Encode numbers that have one point and at most 18 digits."""
    is_point = data == ord(".")
    # Every token has one point, so the points are in the order of the tokens.
    scales = offsets[1:] - np.flatnonzero(is_point) - 1
    digits = pa.LargeStringArray.from_buffers(
        len(negative), pa.py_buffer(offsets - np.arange(len(offsets))), pa.py_buffer(data[~is_point])
    )
    unscaled = digits.cast(pa.int64()).to_numpy()
    is_long = (np.abs(unscaled) >= 10**9) | (scales > 9)
    matrix = np.empty((len(negative), 10), np.uint8)
    matrix[:, 0] = np.where(is_long, DECIMAL8, DECIMAL4)
    matrix[:, 1] = scales
    matrix[:, 2:] = little_endian(unscaled, 8)
    lengths = np.where(is_long, 10, 6)
    negative_zero = negative & (unscaled == 0)
    if negative_zero.any():
        double = np.frombuffer(encode_double(-0.0), np.uint8)
        matrix[negative_zero, : len(double)] = double
        lengths[negative_zero] = len(double)
    return _cut(matrix, lengths)


def _singly(values: Sequence[Any], encode: Callable[[Any], bytes], reject: Reject) -> Encoded:
    encoded = []
    for position, value in enumerate(values):
        try:
            encoded.append(encode(value))
        except VariantError as error:
            reject(np.array([position]), error.problem)
            encoded.append(bytes([NULL]))
    return _one_piece(pa.array(encoded, pa.large_binary()))


LEAVES: dict[type, Callable[[Sequence[Any], Reject], Encoded]] = {
    type(None): _nulls,
    bool: _booleans,
    str: _strings,
    int: _integers,
    float: _floats,
    Number: _numbers,
}
"""How values of one Python type are encoded."""

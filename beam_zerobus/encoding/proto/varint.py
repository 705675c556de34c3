"""Variable-length integers of whole columns at once.

A varint has 7 bits of the number in each byte, lowest first; the top bit of a byte is set if more bytes follow. Here up
to eight such bytes are in one uint64, first byte lowest. This works on little-endian machines only, as Arrow does.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from beam_zerobus.encoding.proto.pieces import BITS, Lengths, Mask, Word, as_bits, extremes

__all__ = ["constant", "fixed_width", "signed_varint", "tag_word", "tagged", "unsigned_varint", "varint_bytes"]

_U64 = np.uint64
_WORD_BYTES = 8
_LOW_9_BITS = np.array((1 << 9) - 1, _U64)
_LOW_56_BITS = np.array((1 << 56) - 1, _U64)
_UPPER_28_BITS, _FIFTEEN = np.array(0xFFFFFFF0000000, _U64), np.array(15, _U64)
_UPPER_14_BITS, _THREE = np.array(0x0FFFC0000FFFC000, _U64), np.array(3, _U64)
_UPPER_7_BITS = np.array(0x3F803F803F803F80, _U64)
_REACHED = [np.array(1 << 7 * size) for size in range(9)]
_MORE_FOLLOW = np.array(
    [0] + [0x8080808080808080 & ((1 << 8 * (size - 1)) - 1) for size in range(1, 9)] + [0x8080808080808080] * 2, _U64
)
"""The top bits of a varint's first eight bytes, by its length: set in all but the last byte."""


def varint_bytes(value: int) -> bytes:
    """Return one number, at least 0, as a varint.

    >>> varint_bytes(300).hex()
    'ac02'
    """
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


@lru_cache(maxsize=4096)
def tag_word(number: int, wire_type: int) -> Word:
    """Return the tag of a field: its number and the wire type of its value."""
    return constant(varint_bytes(number << 3 | wire_type))


def constant(text: bytes) -> Word:
    """Return the word of up to eight bytes that are the same in all rows."""
    return Word(np.array(int.from_bytes(text, "little"), _U64), len(text), len(text))


def tagged(tag: Word, words: list[Word], mask: Mask) -> list[Word]:
    """Put a tag before words; no tag for a value that the mask hides."""
    if mask is None:
        return [tag, *words]
    return [Word(as_bits(mask) & tag.bits, mask & tag.longest, tag.longest), *words]


def fixed_width(values: np.ndarray, size: int, tag: Word, mask: Mask) -> list[Word]:
    """Write values of up to eight bytes, each after the tag.

    Args:
        values: uint64.
        size: Bytes of each.
        tag: The tag before each value.
        mask: Which rows have a value; see `Mask`.
    """
    if tag.longest + size > _WORD_BYTES:
        return tagged(tag, [_masked(Word(values, size, size), mask)], mask)
    bits = values << BITS[tag.longest]
    bits |= tag.bits
    size += tag.longest
    return [_masked(Word(bits, size, size), mask)]


def unsigned_varint(numbers: np.ndarray, tag: Word, mask: Mask) -> list[Word]:
    """Write numbers from 0 to 2**56 - 1, each after the tag.

    Args:
        numbers: int64, at least one; hidden ones are any numbers of that range.
        tag: The tag before each number.
        mask: Which rows have a number; see `Mask`.
    """
    return _short_varint(numbers, *extremes(numbers), tag, mask)


def _short_varint(numbers: np.ndarray, lowest: int, highest: int, tag: Word, mask: Mask) -> list[Word]:
    shortest, longest = _size(lowest), _size(highest)
    bits = _spread(numbers.view(_U64), longest)
    if shortest < longest:
        lengths: Lengths = _count_bytes(numbers, shortest, longest)
        bits |= _MORE_FOLLOW.take(lengths)
    else:
        lengths = longest
        if longest > 1:
            bits |= _MORE_FOLLOW[longest]
    room = tag.longest + longest <= _WORD_BYTES
    if room:
        bits <<= BITS[tag.longest]
        bits |= tag.bits
        lengths, longest = lengths + tag.longest, longest + tag.longest
    word = _masked(Word(bits, lengths, longest), mask)
    return [word] if room else tagged(tag, [word], mask)


def _masked(word: Word, mask: Mask) -> Word:
    if mask is None:
        return word
    return Word(word.bits & as_bits(mask), mask & word.lengths, word.longest)


def _count_bytes(numbers: np.ndarray, shortest: int, longest: int) -> np.ndarray:
    """Return the lengths: a varint has one more byte for each power of 2**7 that the number reaches."""
    if shortest == longest:
        return np.full(len(numbers), longest, np.uint8)
    extra = (numbers >= _REACHED[shortest]).view(np.uint8)
    for groups in range(shortest + 1, longest):
        extra += (numbers >= _REACHED[groups]).view(np.uint8)
    extra += shortest
    return extra


def _size(number: int) -> int:
    return max(1, (number.bit_length() + 6) // 7)


def _spread(numbers: np.ndarray, longest: int) -> np.ndarray:
    """Move each group of 7 bits into its own byte; the top bits are 0.

    Adding `15 * x` to x shifts x left by four, `3 * x` by two, `x` by one: this is done for the upper 28 of 56 bits,
    then for the upper 14 of each 28, then for the upper 7 of each 14. A shorter number needs fewer steps.
    """
    if longest == 1:
        return numbers.copy()
    if longest > 4:
        numbers = _shifted(numbers, _UPPER_28_BITS, _FIFTEEN)
    if longest > 2:
        numbers = _shifted(numbers, _UPPER_14_BITS, _THREE)
    return _shifted(numbers, _UPPER_7_BITS, None)


def _shifted(numbers: np.ndarray, upper: np.ndarray, factor: np.ndarray | None) -> np.ndarray:
    """Shift the upper bits left, in one new array: more arrays would not fit into the processor's cache."""
    spread = numbers & upper
    if factor is not None:
        spread *= factor
    spread += numbers
    return spread


def signed_varint(numbers: np.ndarray, lowest: int, highest: int, tag: Word, mask: Mask) -> list[Word]:
    """Write any int64, each after the tag; a negative number has ten bytes.

    Args:
        numbers: int64, at least one; hidden ones are any numbers.
        lowest: The least of the numbers.
        highest: The greatest.
        tag: The tag before each number.
        mask: Which rows have a number; see `Mask`.
    """
    if lowest >= 0 and highest < 1 << 56:
        return _short_varint(numbers, lowest, highest, tag, mask)
    return _long_varint(numbers, highest, tag, mask)


def _long_varint(numbers: np.ndarray, highest: int, tag: Word, mask: Mask) -> list[Word]:
    """Write numbers of up to ten bytes: tag and the first bytes fill one word, the rest is in another."""
    unsigned = numbers.view(_U64)
    lengths = _count_bytes(numbers, 1, _size(max(0, highest)))
    lengths += (numbers < 0).view(np.uint8) * 9  # ten bytes if negative
    bits = _spread(unsigned & _LOW_56_BITS, _WORD_BYTES)
    bits |= _MORE_FOLLOW.take(lengths)
    # The sign is twice in the tail: as the bit that announces a tenth byte, and as that byte.
    tail = (numbers >> 56).view(_U64) & _LOW_9_BITS
    shift = BITS[tag.longest]
    first, rest = bits << shift | tag.bits, bits >> BITS[8] - shift | tail << shift
    lengths += tag.longest
    first_lengths = np.minimum(lengths, _WORD_BYTES)
    return [
        _masked(Word(first, first_lengths, _WORD_BYTES), mask),
        _masked(Word(rest, lengths - first_lengths, tag.longest + 2), mask),
    ]

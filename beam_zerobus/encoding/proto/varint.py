"""Variable-length integers of whole columns at once.

A varint holds 7 bits of the number in each byte, lowest first; the top bit of a byte says that more follow. Here up
to eight such bytes stand in one uint64, first byte lowest. All of this works on little-endian machines only, as Arrow
itself does.
"""

from __future__ import annotations

import numpy as np

from beam_zerobus.encoding.proto.pieces import Mask, Piece, Word

__all__ = ["signed_varint", "tag_bytes", "tagged", "unsigned_varint", "varint_bytes"]

_U64 = np.uint64
_WORD_BYTES = 8
_LOW_56_BITS = _U64((1 << 56) - 1)
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


def tag_bytes(number: int, wire_type: int) -> bytes:
    """Return what stands before a field's value: its number and how the value is written."""
    return varint_bytes(number << 3 | wire_type)


def tagged(tag: bytes, words: list[Piece], mask: Mask) -> list[Piece]:
    """Put a tag before pieces; none where the mask hides the value."""
    bits, size = int.from_bytes(tag, "little"), len(tag)
    if mask is None:
        return [Word(_U64(bits), size, size), *words]
    return [Word(mask.view(_U64) & _U64(bits), mask & size, size), *words]


def unsigned_varint(numbers: np.ndarray, tag: bytes, mask: Mask) -> list[Piece]:
    """Write numbers from 0 to 2**56 - 1, each behind the tag.

    Args:
        numbers: int64; 0 where the mask hides them.
        tag: What stands before each number.
        mask: Which rows have a number; see `Mask`.
    """
    highest = int(numbers.max(initial=0))
    lengths, longest = _lengths(numbers, highest, mask)
    bits = _spread(numbers.view(_U64), longest)
    if not isinstance(lengths, int):
        bits |= _MORE_FOLLOW.take(lengths)
        lengths = lengths if mask is None else lengths & mask
    else:
        # Where all are equally long, hidden ones included: those must stay empty.
        more = _MORE_FOLLOW[lengths]
        if mask is None:
            bits |= more
        else:
            bits |= mask.view(_U64) & more
            lengths = mask & lengths
    return _behind_tag(tag, Word(bits, lengths, longest), mask)


def _behind_tag(tag: bytes, word: Word, mask: Mask) -> list[Piece]:
    if len(tag) + word.longest > _WORD_BYTES:
        return tagged(tag, [word], mask)
    bits = word.bits << _U64(8 * len(tag))
    front = _U64(int.from_bytes(tag, "little"))
    bits |= front if mask is None else mask.view(_U64) & front
    lengths = word.lengths + len(tag) if mask is None else word.lengths + (mask & len(tag))
    return [Word(bits, lengths, word.longest + len(tag))]


def _lengths(numbers: np.ndarray, highest: int, mask: Mask) -> tuple[np.ndarray | int, int]:
    """Return each varint's length, as one number where all agree, and the greatest."""
    longest = _size(highest)
    if longest == 1:
        return 1, 1
    lowest = numbers.min() if mask is None else (numbers | ~mask).view(_U64).min()
    shortest = _size(min(int(lowest), highest))
    if shortest == longest:
        return longest, longest
    return _count_bytes(numbers, shortest, longest), longest


def _count_bytes(numbers: np.ndarray, shortest: int, longest: int) -> np.ndarray:
    """A varint has a byte more for each power of 2**7 that the number reaches."""
    extra = (numbers >= 1 << 7 * shortest).view(np.uint8)
    for groups in range(shortest + 1, longest):
        extra += (numbers >= 1 << 7 * groups).view(np.uint8)
    return extra + np.int64(shortest)


def _size(number: int) -> int:
    return max(1, (number.bit_length() + 6) // 7)


def _spread(numbers: np.ndarray, longest: int) -> np.ndarray:
    """Move each group of 7 bits into a byte of its own, the top bits left 0.

    Adding `15 * x` to x shifts x left by four, `3 * x` by two, `x` by one: first the upper 28 of 56 bits make room,
    then the upper 14 of each 28, then the upper 7 of each 14. A shorter number needs fewer of these steps.
    """
    if longest > 4:
        spread = numbers & _U64(0xFFFFFFF0000000)
        spread *= _U64(15)
        spread += numbers
    else:
        spread = numbers.copy()
    if longest > 2:
        upper = spread & _U64(0x0FFFC0000FFFC000)
        upper *= _U64(3)
        spread += upper
    if longest > 1:
        spread += spread & _U64(0x3F803F803F803F80)
    return spread


def signed_varint(numbers: np.ndarray, tag: bytes, mask: Mask) -> list[Piece]:
    """Write any int64, each behind the tag; a negative number takes ten bytes.

    Args:
        numbers: int64; 0 where the mask hides them.
        tag: What stands before each number.
        mask: Which rows have a number; see `Mask`.
    """
    lowest, highest = int(numbers.min(initial=0)), int(numbers.max(initial=0))
    if lowest >= 0 and highest < 1 << 56:
        return unsigned_varint(numbers, tag, mask)
    unsigned = numbers.view(_U64)
    negative = numbers >> 63  # -1 or 0
    lengths = _count_bytes(numbers, 1, min(_WORD_BYTES, max(2, _size(max(highest, 0)))))
    lengths += negative & 7
    tail_lengths = (numbers >= 1 << 56).astype(np.int64)
    tail_lengths += negative & 2
    bits = _spread(unsigned & _LOW_56_BITS, _WORD_BYTES)
    more = _MORE_FOLLOW.take(lengths + tail_lengths)
    bits |= more
    tail = unsigned >> _U64(56)  # eight bits: the eighth is both the mark that a tenth byte follows and its value
    tail += (tail >> _U64(7)) << _U64(8)
    if mask is not None:
        lengths &= mask
    return tagged(tag, [Word(bits, lengths, _WORD_BYTES), Word(tail, tail_lengths, 2)], mask)

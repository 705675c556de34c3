r"""Where the records of CSV text start and end, quotes considered.

A value may be in quotes, and then hold delimiters, line ends and doubled quotes. Quotes inside a value that does not
start with one are text. After a closing quote only a delimiter or a line end is valid: anything else is the trace of a
lost quote, and the record is rejected.

Whether a byte is inside quotes is one bit, 64 of them in a word: that costs less than a list of all quotes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Quotes", "Records", "last_line_end", "quotes_of", "records_of", "spans_of"]

_QUOTE = ord('"')
_LF, _CR = b"\n\r"
_ONE, _TOP = np.uint64(1), np.uint64(63)
_CHUNK_BYTES = 1 << 18  # what the processor's cache holds
_NOWHERE = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Quotes:
    """The quoted parts of a text.

    Attributes:
        inside: A bit for each byte, 64 in a word, the lowest first: whether it is inside quotes. An opening quote is, a
            closing one is not.
        unclosed: The position of the opening quote that is not closed; None if there is none.
        stray: Positions of closing quotes that text follows.
    """

    inside: np.ndarray
    unclosed: int | None
    stray: np.ndarray

    def cover(self, positions: np.ndarray) -> np.ndarray:
        """Return for each position whether it is inside quotes."""
        if not len(self.inside):
            return np.zeros(len(positions), dtype=bool)
        bits = (positions & 63).astype(np.uint64)
        return (self.inside[positions >> 6] >> bits & _ONE).astype(bool)


@dataclass(frozen=True, slots=True)
class Records:
    """The records of a text, without empty lines.

    Attributes:
        starts: Where each starts.
        ends: Where each ends; its line end is not part of it.
        values: How many values each has.
    """

    starts: np.ndarray
    ends: np.ndarray
    values: np.ndarray


def quotes_of(data: bytes, delimiter: int) -> Quotes:
    """Find the quoted parts of a text that starts outside quotes.

    Args:
        data: The text.
        delimiter: The byte between two values.

    Example:
        >>> quotes = quotes_of(b'1,"a ""b"" c",3" pipe', ord(","))
        >>> quotes.cover(np.arange(21)).nonzero()[0][[0, -1]].tolist(), quotes.stray.tolist()
        ([2, 11], [])
    """
    if data.find(b'"') < 0:
        return Quotes(np.zeros(0, np.uint64), None, _NOWHERE)
    quote, neighbour = _marks(data, delimiter)
    inside = _parity(quote)
    opening, closing = quote & inside, quote & ~inside
    last = len(data) - 1
    before = neighbour << _ONE
    before[1:] |= neighbour[:-1] >> _TOP
    before[0] |= _ONE
    after = neighbour >> _ONE
    after[:-1] |= neighbour[1:] << _TOP
    after[last >> 6] |= _ONE << np.uint64(last & 63)
    # A doubled quote counts as one that closes and one that opens. If each has the right neighbour, this is exact.
    if (opening & ~before).any() or (closing & ~after).any():
        return _one_by_one(data, delimiter)
    is_open = bool(inside[last >> 6] >> np.uint64(last & 63) & _ONE)
    return Quotes(inside, _last_bit(opening) if is_open else None, _NOWHERE)


def _marks(data: bytes, delimiter: int) -> tuple[np.ndarray, np.ndarray]:
    """Mark the quotes, and the bytes that may be beside one: delimiters, line ends and quotes."""
    text = np.frombuffer(data, np.uint8)
    size = -(-len(text) // 64) * 8
    quote, neighbour = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    marked, other = np.empty(_CHUNK_BYTES, bool), np.empty(_CHUNK_BYTES, bool)
    for start in range(0, len(text), _CHUNK_BYTES):
        chunk = text[start : start + _CHUNK_BYTES]
        marks, others = marked[: len(chunk)], other[: len(chunk)]
        packed = slice(start // 8, start // 8 + -(-len(chunk) // 8))
        quote[packed] = np.packbits(np.equal(chunk, _QUOTE, out=marks), bitorder="little")
        for byte in (delimiter, _LF, _CR):
            np.logical_or(marks, np.equal(chunk, byte, out=others), out=marks)
        neighbour[packed] = np.packbits(marks, bitorder="little")
    return quote.view("<u8"), neighbour.view("<u8")


def _parity(bits: np.ndarray) -> np.ndarray:
    """Return for each bit whether the number of bits up to and with it is odd."""
    odd = bits.copy()
    for shift in (1, 2, 4, 8, 16, 32):
        odd ^= odd << np.uint64(shift)
    before = np.zeros(len(odd), dtype=bool)
    before[1:] = np.logical_xor.accumulate((odd >> _TOP).astype(bool))[:-1]
    odd[before] = ~odd[before]
    return odd


def _last_bit(bits: np.ndarray) -> int:
    word = int(np.flatnonzero(bits)[-1])
    return word * 64 + int(bits[word]).bit_length() - 1


def _one_by_one(data: bytes, delimiter: int) -> Quotes:
    """Find quoted parts where a quote has a neighbour that it should not have."""
    turns: list[int] = []  # opening and closing quotes, in turn
    stray: list[int] = []
    value_ends = {delimiter, _LF, _CR}
    positions = iter(np.flatnonzero(np.frombuffer(data, np.uint8) == _QUOTE).tolist())
    for position in positions:
        if len(turns) % 2 == 0:
            if position == 0 or data[position - 1] in value_ends:
                turns.append(position)
            continue
        following = data[position + 1] if position + 1 < len(data) else None
        if following == _QUOTE:
            next(positions)  # a doubled quote
            continue
        turns.append(position)
        if following is not None and following not in value_ends:
            stray.append(position)
    bits = np.zeros(-(-len(data) // 64) * 64, dtype=bool)
    bits[turns] = True
    inside = _parity(np.packbits(bits, bitorder="little").view("<u8"))
    return Quotes(inside, turns[-1] if len(turns) % 2 else None, np.array(stray, dtype=np.int64))


def last_line_end(data: bytes, quotes: Quotes) -> int:
    """Return the position after the last line end outside quotes; 0 if there is none.

    A carriage return at the very end does not count: a line feed may follow.
    """
    return _last(_LF, data, len(data), quotes) or _last(_CR, data, len(data) - 1, quotes)


def _last(line_end: int, data: bytes, stop: int, quotes: Quotes) -> int:
    text = np.frombuffer(data, np.uint8)
    size = 1 << 10
    while stop > 0:  # from the end, as the last line is mostly short
        start = max(stop - size, 0)
        found = _outside(start + np.flatnonzero(text[start:stop] == line_end), quotes)
        if len(found):
            return int(found[-1]) + 1
        stop, size = start, size * 8
    return 0


def records_of(data: bytes, delimiter: int, quotes: Quotes, start: int = 0) -> Records:
    r"""Find the records of a text.

    Args:
        data: The text.
        delimiter: The byte between two values.
        quotes: The quoted parts of the text, or of a longer one that starts with it.
        start: Where the first record starts.

    Example:
        >>> data = b'1,2\r\n\n"3\n",4,5'
        >>> records_of(data, ord(","), quotes_of(data, ord(","))).values.tolist()
        [2, 3]
    """
    starts, ends = spans_of(data, quotes, start)
    text = np.frombuffer(data, np.uint8)[start:]
    delimiters = _outside(start + np.flatnonzero(text == delimiter), quotes)
    return Records(starts, ends, np.searchsorted(delimiters, ends) - np.searchsorted(delimiters, starts) + 1)


def spans_of(data: bytes, quotes: Quotes, start: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return where the records of a text start and end; as `records_of`, which also counts their values."""
    text = np.frombuffer(data, np.uint8)[start:]
    line_ends = _outside(start + np.flatnonzero((text == _LF) | (text == _CR)), quotes)
    starts = np.concatenate(([start], line_ends + 1))
    ends = np.concatenate((line_ends, [len(data)]))
    return starts[starts < ends], ends[starts < ends]


def _outside(positions: np.ndarray, quotes: Quotes) -> np.ndarray:
    return positions[~quotes.cover(positions)]

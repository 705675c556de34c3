r"""Where the records of CSV text start and end, quotes considered.

A value may be in quotes, and then hold delimiters, line ends and doubled quotes. Quotes inside a value that does not
start with one are text. After a closing quote only a delimiter or a line end is valid: anything else is the trace of a
lost quote, and the record is rejected.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Quotes", "Records", "last_line_end", "quotes_of", "records_of"]

_QUOTE = ord('"')
_LF, _CR = b"\n\r"
_NOWHERE = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Quotes:
    """The quoted parts of a text.

    Attributes:
        opening: The positions of opening quotes.
        closing: The positions of closing quotes, one for each opening quote but the last if that is not closed.
        stray: Positions of closing quotes that text follows.
    """

    opening: np.ndarray
    closing: np.ndarray
    stray: np.ndarray

    @property
    def unclosed(self) -> int | None:
        """The position of the opening quote that is not closed; None if there is none."""
        return int(self.opening[-1]) if len(self.opening) > len(self.closing) else None

    def cover(self, positions: np.ndarray) -> np.ndarray:
        """Return for each position whether it is inside quotes."""
        opened = np.searchsorted(self.opening, positions, side="right")
        return opened > np.searchsorted(self.closing, positions, side="right")


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
        >>> quotes.opening.tolist(), quotes.closing.tolist()
        ([2], [12])
    """
    if data.find(b'"') < 0:
        return Quotes(_NOWHERE, _NOWHERE, _NOWHERE)
    text = np.frombuffer(data, np.uint8)
    found = np.flatnonzero(text == _QUOTE)
    opening, closing = found[0::2], found[1::2]
    ends_value = np.zeros(256, dtype=bool)
    ends_value[[delimiter, _LF, _CR, _QUOTE]] = True
    # A doubled quote counts as one that closes and one that opens. If each has the right neighbour, this is exact.
    before = text[opening[1:] - 1] if opening[0] == 0 else text[opening - 1]
    after = text[(closing[:-1] if len(closing) and closing[-1] == len(data) - 1 else closing) + 1]
    if ends_value[before].all() and ends_value[after].all():
        return Quotes(opening, closing, _NOWHERE)
    return _one_by_one(data, found, ends_value)


def _one_by_one(data: bytes, found: np.ndarray, ends_value: np.ndarray) -> Quotes:
    opening: list[int] = []
    closing: list[int] = []
    stray: list[int] = []
    value_ends = {byte for byte in range(256) if ends_value[byte] and byte != _QUOTE}
    inside = False
    positions = iter(found.tolist())
    for position in positions:
        if not inside:
            starts_value = position == 0 or data[position - 1] in value_ends
            if starts_value:
                opening.append(position)
                inside = True
            continue
        following = data[position + 1] if position + 1 < len(data) else None
        if following == _QUOTE:
            next(positions)  # a doubled quote
            continue
        closing.append(position)
        inside = False
        if following is not None and following not in value_ends:
            stray.append(position)
    return Quotes(*(np.array(part, dtype=np.int64) for part in (opening, closing, stray)))


def last_line_end(data: bytes, quotes: Quotes) -> int:
    """Return the position after the last line end outside quotes; 0 if there is none.

    A carriage return at the very end does not count: a line feed may follow.
    """
    return _last(b"\n", data, len(data), quotes) or _last(b"\r", data, len(data) - 1, quotes)


def _last(line_end: bytes, data: bytes, stop: int, quotes: Quotes) -> int:
    position = data.rfind(line_end, 0, max(stop, 0))
    while position >= 0:
        index = int(np.searchsorted(quotes.opening, position)) - 1
        if index < 0 or (index < len(quotes.closing) and quotes.closing[index] < position):
            break
        position = data.rfind(line_end, 0, int(quotes.opening[index]))
    return position + 1


def records_of(data: bytes, delimiter: int, quotes: Quotes) -> Records:
    r"""Find the records of a text.

    Example:
        >>> data = b'1,2\r\n\n"3\n",4,5'
        >>> records_of(data, ord(","), quotes_of(data, ord(","))).values.tolist()
        [2, 3]
    """
    text = np.frombuffer(data, np.uint8)
    line_ends = _outside(np.flatnonzero((text == _LF) | (text == _CR)), quotes)
    starts = np.concatenate(([0], line_ends + 1))
    ends = np.concatenate((line_ends, [len(data)]))
    starts, ends = starts[starts < ends], ends[starts < ends]
    delimiters = _outside(np.flatnonzero(text == delimiter), quotes)
    return Records(starts, ends, np.searchsorted(delimiters, ends) - np.searchsorted(delimiters, starts) + 1)


def _outside(positions: np.ndarray, quotes: Quotes) -> np.ndarray:
    return positions[~quotes.cover(positions)] if len(quotes.opening) else positions

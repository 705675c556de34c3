"""CSV files in blocks of whole records, each with the numbers of its lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from beam_zerobus.programs.command import InputError
from beam_zerobus.programs.csv_records import Quotes, Records, last_line_end, quotes_of, records_of, spans_of
from beam_zerobus.programs.open_files import read_exactly

__all__ = ["Block", "blocks"]

_BLOCK_BYTES = 16 << 20  # a record must fit into a block; Zerobus accepts none above 10 MB
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LF, _CR = b"\n\r"


@dataclass(frozen=True, slots=True)
class Block:
    """Whole records of a file.

    Attributes:
        data: Their text.
        quotes: Its quoted parts.
        line: The number of its first line in the file.
        feeds: How many line feeds it has.
        start: Where the first record starts.
    """

    data: bytes
    quotes: Quotes
    line: int
    feeds: int
    start: int = 0

    def lines(self, rows: int) -> range | np.ndarray:
        """Return the line number of each record, of which there should be `rows`."""
        header = self.data.count(b"\n", 0, self.start) + bool(self.start)
        first = self.line + header
        returns = _count(_CR, self.data) if b"\r" in self.data else 0
        unended = not self.data.endswith(b"\n")
        if returns in (0, self.feeds) and self.feeds + unended == header + rows:
            return range(first, first + rows)  # each record is a line
        if returns:
            return self.lines_of(spans_of(self.data, self.quotes, self.start)[0])
        feeds = np.flatnonzero(np.frombuffer(self.data, np.uint8)[self.start :] == _LF)
        feeds += self.start
        ending = np.flatnonzero(~self.quotes.cover(feeds))
        lines = np.concatenate(([0], ending + 1))
        lines += first - bool(self.start)
        if len(ending) + unended == rows:
            return lines[:rows]  # no line is empty
        starts = np.concatenate(([self.start], feeds[ending] + 1))
        ends = np.concatenate((feeds[ending], [len(self.data)]))
        return lines[starts < ends]

    def records(self, delimiter: str) -> Records:
        """Return the records."""
        return records_of(self.data, ord(delimiter), self.quotes, self.start)

    def lines_of(self, starts: np.ndarray) -> np.ndarray:
        """Return the line numbers of positions."""
        text = np.frombuffer(self.data, np.uint8)
        feeds = np.flatnonzero(text == _LF)
        if not len(feeds):
            feeds = np.flatnonzero(text == _CR)
        return self.line + np.searchsorted(feeds, starts)


def blocks(source: str, stream: BinaryIO, delimiter: str) -> Iterator[Block]:
    """Yield a file in blocks of whole records.

    Raises:
        InputError: A quote is not closed at the end of the file, or a record does not fit into a block.
    """
    rest, line, last = b"", 1, False
    while not last:
        data = read_exactly(stream, _BLOCK_BYTES - len(rest))
        last = len(data) < _BLOCK_BYTES - len(rest)
        data = rest + data
        if line == 1:
            data = data.removeprefix(_BYTE_ORDER_MARK)
        quotes = quotes_of(data, ord(delimiter))
        end = len(data) if last else last_line_end(data, quotes)
        if quotes.unclosed is not None and (last or not end):
            at = int(Block(data, quotes, line, 0).lines_of(np.array([quotes.unclosed]))[0])
            raise InputError(
                f"{source}, line {at}: a quote is opened and not closed; close it or double it, and check --delimiter"
            )
        if not end and not last:
            raise InputError(f"{source}, line {line}: a row is longer than {_BLOCK_BYTES:,} bytes; split the row")
        block, rest = data[:end], data[end:]
        feeds = _count(_LF, block)
        if block:
            yield Block(block, replace(quotes, stray=quotes.stray[quotes.stray < end]), line, feeds)
        line += feeds or _count(_CR, block)


def _count(byte: int, data: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == byte))  # twice as fast as bytes.count

"""JSON lines: a file's lines as bytes, many at a time, to be parsed by the sink."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import apache_beam as beam

from beam_zerobus.programs.command import InputError
from beam_zerobus.programs.open_files import FilePart, naming, opened, read_exactly
from beam_zerobus.sink.rows_of_file import RowsOfFile

__all__ = ["ReadLines"]

_CHUNK_BYTES = 1 << 20
_MAX_LINE_BYTES = 64 << 20  # Zerobus accepts no row above 10 MB
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ReadLines(beam.DoFn):
    """Reads the lines that start in a part of a file; empty lines are left out."""

    def process(self, part: FilePart) -> Iterator[RowsOfFile]:
        """Read one part.

        Raises:
            InputError: The file cannot be read, or a line is too long to be a row.
        """
        count = 0

        source = f"{part.path} after byte {part.start:,}" if part.start else part.path

        def place() -> str:
            return f"after line {count}" + (f" from byte {part.start}" if part.start else "") if count else ""

        with naming(part.path, place), opened(part.path) as file:
            for lines in _chunks_of_lines(part, file):
                numbers: Sequence[int] = range(count + 1, count + 1 + len(lines))
                rows = [line for line in lines if line and not line.isspace()]
                if len(rows) < len(lines):
                    numbers = [n for n, line in zip(numbers, lines, strict=True) if line and not line.isspace()]
                count += len(lines)
                if rows:
                    yield RowsOfFile(rows, source, "line", numbers)


def _chunks_of_lines(part: FilePart, file: BinaryIO) -> Iterator[list[bytes]]:
    rest, skipping = b"", part.start > 0
    position = max(part.start - 1, 0)  # a line that starts at the first byte is this part's, an earlier one is not
    if position:
        file.seek(position)
    while data := read_exactly(file, _CHUNK_BYTES):
        data = rest + data
        if not position and data.startswith(_BYTE_ORDER_MARK):
            position = len(_BYTE_ORDER_MARK)
            data = data[position:]
        *lines, rest = data.split(b"\n")
        if len(rest) > _MAX_LINE_BYTES:
            raise InputError(f"{part.path}: a line is longer than {_MAX_LINE_BYTES:,} bytes; put one row on each line")
        end = position + len(data) - len(rest)
        if skipping and lines:
            position += len(lines.pop(0)) + 1
            skipping = False
        if part.owns(end):
            yield lines
        else:
            yield list(_owned(part, lines, position))
            return
        position = end
    if rest and not skipping:
        yield [rest]


def _owned(part: FilePart, lines: list[bytes], position: int) -> Iterator[bytes]:
    for line in lines:
        if not part.owns(position):
            return
        yield line
        position += len(line) + 1

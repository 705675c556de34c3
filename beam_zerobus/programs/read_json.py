"""JSON: a file's lines, or the elements of the one array that it holds, many at a time, to be parsed by the sink."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import BinaryIO

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystem import FileMetadata

from beam_zerobus.programs.command import InputError
from beam_zerobus.programs.open_files import FilePart, naming, opened, parts_of, read_exactly
from beam_zerobus.sink.rows_of_file import RowsOfFile

__all__ = ["ReadObjects", "parts_of_json"]

_CHUNK_BYTES = 1 << 20
_ELEMENTS_AT_ONCE = 10_000
_MAX_LINE_BYTES = 64 << 20  # Zerobus accepts no row above 10 MB
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


_BLANKS = re.compile(r"[ \t\n\r]*")
_LONGEST_TOKEN = 32  # but for text and numbers: of -Infinity, or of an escape such as \\ud83d\\ude00
# Numbers stay text: only the end of an element is looked for, and Python limits the digits of an int.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)


def parts_of_json(file: FileMetadata) -> Iterator[FilePart]:
    """Yield ranges of a file that workers can read side by side; an array is a single one.

    Raises:
        InputError: The file cannot be read.
    """
    parts = list(parts_of(file))
    if len(parts) > 1:
        with naming(file.path), opened(file.path) as stream:
            if _is_array(read_exactly(stream, _CHUNK_BYTES)):
                parts = [FilePart(file.path)]
    yield from parts


class ReadObjects(beam.DoFn):
    """Reads the lines that start in a part of a file, without empty ones; or the elements of the file's array."""

    def process(self, part: FilePart) -> Iterator[RowsOfFile]:
        """Read one part.

        Raises:
            InputError: The file cannot be read, a line or an element is too long to be a row, or the first object has
                several lines.
        """
        count = 0
        what = "line"

        def place() -> str:
            return f"after {what} {count}" + (f" from byte {part.start}" if part.start else "") if count else ""

        with naming(part.path, place) as name, opened(part.path) as file:
            start = b"" if part.start else read_exactly(file, _CHUNK_BYTES)
            if _is_array(start):
                what = "element"
                elements: list[bytes] = []
                for element in _elements(name, start, file):
                    elements.append(element)
                    count += 1
                    if len(elements) == _ELEMENTS_AT_ONCE:
                        yield _last_elements(elements, name, count)
                        elements = []
                if elements:
                    yield _last_elements(elements, name, count)
                return
            _check_lines(name, start)
            source = f"{name} after byte {part.start:,}" if part.start else name
            for lines in _chunks_of_lines(part, name, file, start):
                numbers: range | np.ndarray = range(count + 1, count + 1 + len(lines))
                rows = [line for line in lines if line and not line.isspace()]
                if len(rows) < len(lines):
                    numbers = np.flatnonzero([bool(line) and not line.isspace() for line in lines]) + count + 1
                count += len(lines)
                if rows:
                    yield RowsOfFile(rows, source, what, numbers)


def _last_elements(elements: list[bytes], name: str, count: int) -> RowsOfFile:
    """Return the last of `count` elements of an array."""
    return RowsOfFile(elements, name, "element", range(count - len(elements) + 1, count + 1))


def _is_array(start: bytes) -> bool:
    return start.removeprefix(_BYTE_ORDER_MARK).lstrip()[:1] == b"["


def _check_lines(name: str, start: bytes) -> None:
    """Check that a file does not begin with an object that has several lines: each would be rejected.

    Raises:
        InputError: It does.
    """
    text = start.removeprefix(_BYTE_ORDER_MARK).lstrip()
    line, feed, _ = text.partition(b"\n")
    if not feed or not line.startswith(b"{") or line.rstrip().endswith(b"}"):
        return
    decoded = text.decode(errors="replace")
    try:
        end = _DECODER.raw_decode(decoded)[1]
    except (ValueError, RecursionError):  # the sink says what is wrong with which line
        return
    if "\n" in decoded[:end]:
        raise InputError(
            f"{name} begins with an object that has several lines: put each object on a line, as jq -c . does, or all "
            "of them into one array"
        )


def _elements(name: str, start: bytes, file: BinaryIO) -> Iterator[bytes]:
    """Yield the elements of an array as they are written.

    Raises:
        InputError: An element is too long to be a row.
        ValueError: This is not a JSON array in UTF-8, or it is cut off.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    text = decoder.decode(start.removeprefix(_BYTE_ORDER_MARK))
    position = text.index("[") + 1
    closed, first = False, True
    while not closed:
        try:
            at = _BLANKS.match(text, position).end()  # type: ignore[union-attr]  # it matches anything
            if text[at : at + 1] == "]" and first:
                position, closed = at + 1, True
                continue
            value_end = _DECODER.raw_decode(text, at)[1]
            end = _BLANKS.match(text, value_end).end()  # type: ignore[union-attr]
            if text[end : end + 1] not in (",", "]"):
                raise json.JSONDecodeError("Expecting ',' or ']'", text, end)
        except json.JSONDecodeError as error:
            # Perhaps the rest of the element is not read yet. Twice as much each time, so that no text is read often.
            is_cut_off = error.msg.startswith("Unterminated string") or len(text) - error.pos < _LONGEST_TOKEN
            more = read_exactly(file, max(_CHUNK_BYTES, len(text) - position)) if is_cut_off else b""
            if not more:
                decoder.decode(b"", final=is_cut_off)
                raise ValueError(f"the array is not valid JSON, or cut off: {error.msg}") from None
            if len(text) - position > _MAX_LINE_BYTES:
                raise InputError(
                    f"{name}: an element is longer than {_MAX_LINE_BYTES:,} characters; check the array"
                ) from None
            text, position = text[position:] + decoder.decode(more), 0
            continue
        yield text[at:value_end].encode()
        position, closed, first = end + 1, text[end] == "]", False
    rest = text[position:].encode()
    while rest:
        if not rest.isspace():
            raise ValueError("text follows the array; put one array into a file, or one object on each line")
        rest = read_exactly(file, _CHUNK_BYTES)


def _chunks_of_lines(part: FilePart, name: str, file: BinaryIO, start: bytes) -> Iterator[list[bytes]]:
    rest, skipping = b"", part.start > 0
    position = max(part.start - 1, 0)  # a line that starts at the first byte is this part's, an earlier one is not
    if position:
        file.seek(position)
    while data := start or read_exactly(file, _CHUNK_BYTES):
        start = b""
        data = rest + data
        if not position and data.startswith(_BYTE_ORDER_MARK):
            position = len(_BYTE_ORDER_MARK)
            data = data[position:]
        *lines, rest = data.split(b"\n")
        if len(rest) > _MAX_LINE_BYTES:
            raise InputError(f"{name}: a line is longer than {_MAX_LINE_BYTES:,} bytes; put one row on each line")
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

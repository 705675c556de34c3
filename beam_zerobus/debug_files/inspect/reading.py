"""Reading debug files back: `read_arrow` and `read_proto`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pyarrow as pa

from beam_zerobus.debug_files.folders import ARROW, DESCRIPTOR, PROTO, REJECTS
from beam_zerobus.debug_files.inspect.arrow_stream import StreamCutError, read_stream
from beam_zerobus.debug_files.inspect.descriptors import parse_description
from beam_zerobus.debug_files.inspect.files import DebugFile, find_files
from beam_zerobus.debug_files.inspect.framing import RecordCutError, read_framed
from beam_zerobus.debug_files.inspect.proto_rows import RowDecoder
from beam_zerobus.debug_files.inspect.text import visible
from beam_zerobus.errors import counted
from beam_zerobus.logs import get_logger

__all__ = ["Note", "arrow_batches", "proto_batches", "read_arrow", "read_marks", "read_proto", "warn"]

_log = get_logger(__name__)

Note: TypeAlias = "Callable[[str], None]"
"""Receives one sentence about each file that is not complete."""

_ROWS_PER_BATCH = 10_000
_MARK_FIELDS = {"batch": int, "row": int, "stage": str, "error_type": str, "reason": str}  # those that readers use


def warn(sentence: str) -> None:
    """Log a sentence about a file that is not complete."""
    _log.warning("%s", sentence)


def read_arrow(path: str | os.PathLike[str], *, rotated: bool = True) -> Iterator[pa.RecordBatch]:
    """Return the RecordBatches of Arrow debug files, as the writer received them, in order.

    A batch that is cut off at a file's end, because its writer was killed or is still writing, is left out. A warning
    in the log names each file that has no end.

    Args:
        path: A file, a pattern such as ``"debug/zerobus/arrow/*.arrow"``, or a directory; local or of a Beam
            filesystem. The name of the current file (``{table}.arrow``) selects it and all its rotated files.
        rotated: False reads that one file alone.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: While reading: a file is damaged, or is not an Arrow debug file.

    Example:
        >>> import tempfile, pyarrow as pa
        >>> from beam_zerobus import DebugFiles
        >>> from beam_zerobus.debug_files import DebugFileWriter
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     writer = DebugFileWriter(DebugFiles(output_dir=directory, proto=False), table="main.iot.air")
        ...     number = writer.write(pa.record_batch({"id": [1, 2]}), [])
        ...     writer.close()
        ...     pa.Table.from_batches(read_arrow(f"{directory}/zerobus/arrow/main.iot.air.arrow")).num_rows
        2
    """
    files = find_files(path, ARROW, rotated=rotated)
    return (batch for file in files for batch in arrow_batches(file))


def read_proto(path: str | os.PathLike[str], *, rotated: bool = True) -> Iterator[pa.RecordBatch]:
    """Return the rows of protobuf debug files as RecordBatches, in order.

    Each file is read with the descriptor set beside it; the columns have the table's types if the writer knew them. A
    record that is cut off at a file's end is left out, with a warning in the log; a file that ends between two records
    looks complete, as nothing marks the end. Protobuf does not distinguish an empty list from a null one; both become
    empty.

    Args:
        path: A file, a pattern such as ``"debug/zerobus/proto/*.proto"``, or a directory; local or of a Beam
            filesystem. The name of the current file (``{table}.proto``) selects it and all its rotated files.
        rotated: False reads that one file alone.

    Raises:
        FileNotFoundError: There is no such file, or no descriptor set beside it.
        ValueError: While reading: a file or its descriptor set is damaged, or is not a protobuf debug file.
    """
    files = find_files(path, PROTO, rotated=rotated)
    return (batch for file in files for batch in proto_batches(file))


def arrow_batches(file: DebugFile, note: Note = warn) -> Iterator[pa.RecordBatch]:
    """Yield the whole batches of one Arrow file.

    Args:
        file: The file.
        note: Receives a sentence if the file is not complete.

    Raises:
        ValueError: The file is damaged, or holds something else.
    """
    with file.open() as source:
        batches = rows = 0
        try:
            for batch in read_stream(source):
                batches += 1
                rows += batch.num_rows
                yield batch
        except StreamCutError as error:
            note(_cut(file, counted(rows, "row"), error))
        except ValueError as error:
            raise ValueError(
                f"{file} is damaged or not an Arrow debug file; batches before the damage: {batches} ({error})"
            ) from error


def proto_batches(file: DebugFile, note: Note = warn) -> Iterator[pa.RecordBatch]:
    """Yield the whole records of one protobuf file.

    Args:
        file: The file.
        note: Receives a sentence if the file is not complete.

    Raises:
        FileNotFoundError: The descriptor set beside the file is missing.
        ValueError: The file or the descriptor set is damaged, or holds something else.
    """
    descriptor_set = file.sibling(DESCRIPTOR)
    described = descriptor_set.read()
    if described is None:
        descriptor_set = file.sibling(DESCRIPTOR, rotated=False)
        described = descriptor_set.read()
    if described is None:
        raise FileNotFoundError(
            f"{file}: its descriptor set {file.sibling(DESCRIPTOR)} is missing; put it beside the file"
        )
    try:
        decoder = RowDecoder(parse_description(described))
    except ValueError as error:
        raise ValueError(
            f"{descriptor_set} is damaged, so {file} cannot be read: {error}; "
            "put the descriptor set of another file of the same table in its place"
        ) from error
    with file.open() as source:
        rows = 0
        try:
            for batch in map(decoder.decode, read_framed(source, _ROWS_PER_BATCH)):
                rows += batch.num_rows
                yield batch
        except RecordCutError as error:
            note(_cut(file, counted(rows, "row"), error))
        except ValueError as error:
            raise ValueError(f"{file} is damaged or not a protobuf debug file: {error}") from error


def read_marks(file: DebugFile, note: Note = warn) -> list[dict[str, Any]]:
    """Return the marks of rejected rows of a file: dicts with file, batch, row, reason, error_type, stage.

    Args:
        file: The file.
        note: Receives a sentence if the last mark is cut off; it is left out.

    Raises:
        ValueError: A line is not such a mark.
    """
    rejects = file.sibling(REJECTS)
    marks = []
    for number, line in enumerate((rejects.read() or b"").splitlines(keepends=True), start=1):
        try:
            marks.append(_parse_mark(line))
        except ValueError as error:
            if line.endswith(b"\n"):
                raise ValueError(
                    f"{rejects} is damaged: line {number} is not the mark of a rejected row ({error}); remove the line"
                ) from error
            note(_cut(rejects, counted(len(marks), "line"), error))
    return marks


def _parse_mark(line: bytes) -> dict[str, Any]:
    try:
        mark = json.loads(line)
    except RecursionError:
        raise ValueError("JSON is nested too deep") from None
    if not isinstance(mark, dict):
        raise ValueError("not a JSON object")
    for name, kind in _MARK_FIELDS.items():
        if type(mark.get(name)) is not kind:
            raise ValueError(f"{name!r} is missing or not of type {kind.__name__}")
    return mark


def _cut(file: DebugFile, whole: str, error: Exception) -> str:
    return visible(
        f"{file} is not complete: {whole} could be read, then it ends ({error}); its writer is still writing it, or "
        "was killed, or the file was cut off"
    )

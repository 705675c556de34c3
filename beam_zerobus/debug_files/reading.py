"""Reading debug files back: `read_arrow` and `read_proto`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from beam_zerobus.debug_files.descriptors import parse_description
from beam_zerobus.debug_files.files import DebugFile, find_files
from beam_zerobus.debug_files.framing import read_framed
from beam_zerobus.debug_files.names import ARROW, DESCRIPTOR, PROTO, REJECTS
from beam_zerobus.debug_files.proto_rows import RowDecoder
from beam_zerobus.logs import get_logger

__all__ = ["arrow_batches", "proto_batches", "read_arrow", "read_marks", "read_proto"]

_log = get_logger(__name__)

_ROWS_PER_BATCH = 10_000


def read_arrow(path: str | os.PathLike[str], *, rotated: bool = True) -> Iterator[pa.RecordBatch]:
    """Return the RecordBatches of Arrow debug files, as they were handed to the writer, in order.

    A batch that is cut off at a file's end, because its writer was killed or is still writing, is left out.

    Args:
        path: A file, a pattern such as ``"debug/zerobus/arrow/*.arrow"``, or a directory; local or of a Beam
            filesystem. The name of the file that is written to (``{table}.arrow``) means it and all its rotated files.
        rotated: False reads that one file alone.

    Raises:
        FileNotFoundError: There is no such file.

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

    The descriptor set beside each file tells how to read it; the columns have the table's types where the writer knew
    them. A record that is cut off at a file's end is left out. An empty list cannot be told from a null one in
    protobuf; both come as empty.

    Args:
        path: A file, a pattern such as ``"debug/zerobus/proto/*.proto"``, or a directory; local or of a Beam
            filesystem. The name of the file that is written to (``{table}.proto``) means it and all its rotated files.
        rotated: False reads that one file alone.

    Raises:
        FileNotFoundError: There is no such file, or no descriptor set beside it.
    """
    files = find_files(path, PROTO, rotated=rotated)
    return (batch for file in files for batch in proto_batches(file))


def arrow_batches(file: DebugFile) -> Iterator[pa.RecordBatch]:
    """Yield the whole batches of one Arrow file."""
    with file.open() as source:
        number = 0
        try:
            stream = pa.ipc.open_stream(source)
            for number, batch in enumerate(stream, start=1):  # noqa: B007  tells where the file was cut off
                yield batch
        except (pa.ArrowInvalid, OSError) as error:
            _log_cut(file, f"{number} batches", error)


def proto_batches(file: DebugFile) -> Iterator[pa.RecordBatch]:
    """Yield the whole records of one protobuf file.

    Raises:
        FileNotFoundError: No descriptor set stands beside the file.
        ValueError: The file holds something else.
    """
    described = file.sibling(DESCRIPTOR).read() or file.sibling(DESCRIPTOR, rotated=False).read()
    if described is None:
        raise FileNotFoundError(
            f"{file}: its descriptor set {file.sibling(DESCRIPTOR)} is missing; put it beside the file"
        )
    decoder = RowDecoder(parse_description(described))
    with file.open() as source:
        try:
            yield from map(decoder.decode, read_framed(source, _ROWS_PER_BATCH))
        except ValueError as error:
            raise ValueError(f"{file} is damaged or no protobuf debug file: {error}") from error


def read_marks(file: DebugFile) -> list[dict[str, Any]]:
    """Return the marks of rejected rows of a file: dicts with file, batch, row, reason, error_type, stage."""
    lines = (file.sibling(REJECTS).read() or b"").splitlines()
    marks = []
    for line in lines:
        try:
            marks.append(json.loads(line))
        except ValueError as error:
            _log_cut(file.sibling(REJECTS), f"{len(marks)} lines", error)
    return marks


def _log_cut(file: DebugFile, whole: str, error: Exception) -> None:
    _log.info("%s ends in the middle of what its writer wrote last; %s are whole (%s)", file, whole, error)

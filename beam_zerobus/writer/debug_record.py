"""What a writer records in debug files: which rows, as which protobuf rows, in the order of sending."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa

from beam_zerobus.debug_files import DebugFileWriter
from beam_zerobus.debug_files.framing import frame
from beam_zerobus.encoding import Payload
from beam_zerobus.encoding.conversion import Conversion
from beam_zerobus.errors import ConversionError, RowError
from beam_zerobus.options import DebugFiles
from beam_zerobus.writer.counters import CountersOfWriter
from beam_zerobus.writer.submission import Submission

__all__ = ["BatchRecord", "DebugRecorder", "open_debug_recorder"]

Framed: TypeAlias = Sequence[bytes | memoryview]
"""Protobuf rows as a file holds them, in any number of pieces."""


def open_debug_recorder(
    options: DebugFiles, conversion: Conversion, *, shard: str | None, counters: CountersOfWriter
) -> DebugRecorder:
    """Open the debug files of a writer.

    Raises:
        ConfigurationError: The directory cannot be made or written.
    """
    in_proto = _in_proto(conversion) if options.proto else None
    files = DebugFileWriter(
        options,
        table=conversion.table,
        shard=shard,
        descriptor=in_proto.descriptor if in_proto is not None else None,
        schema=conversion.schema,
        on_written=counters.debug_file_bytes,
        on_failure=lambda _reason: counters.debug_files_failed(),
    )
    return DebugRecorder(files, in_proto, write_every=options.write_every)


class DebugRecorder:
    """Writes each payload to the debug files in the order of sending, and later the reasons of rejected rows.

    The sending thread also writes the files, while the payload is in flight. A thread of their own was measured to gain
    nothing, as a result waits for the files anyway.

    Attributes:
        takes_protobuf: Whether protobuf rows are written.

    Invariant, under the one lock: `_batches` counts the batches, and `_records` holds the records of those in flight.
    """

    def __init__(self, files: DebugFileWriter, in_proto: Conversion | None, *, write_every: int) -> None:
        self._files = files
        self._in_proto = in_proto
        self.takes_protobuf = in_proto is not None
        self._write_every = write_every
        self._lock = threading.Lock()
        self._batches = 0
        self._records: WeakKeyDictionary[Submission, BatchRecord] = WeakKeyDictionary()

    def begin(self, submission: Submission, conversion: Conversion) -> BatchRecord | None:
        """Begin the record of one batch; None if `write_every` leaves it out or a failure has stopped the files."""
        with self._lock:
            left_out = self._batches % self._write_every
            self._batches += 1
            if left_out or self._files.failed:
                return None
            record = self._records[submission] = BatchRecord(self, submission.batch, conversion)
            return record

    def reject(self, submission: Submission, errors: Sequence[RowError]) -> None:
        """Mark rejected rows of a batch."""
        with self._lock:
            record = self._records.pop(submission, None)
        if record is not None:
            for number, some in record.locate(errors):
                self._files.reject(number, some)

    def write(self, rows: pa.RecordBatch | pa.Table, first: int, sent: Payload | None, conversion: Conversion) -> int:
        """Write consecutive rows of a batch.

        Args:
            rows: The rows as the caller sent them.
            first: The number of the first of them in the batch.
            sent: The payload made of them; None if all of them were rejected.
            conversion: What encoded the payload.

        Returns:
            The number of these rows in the files, for `reject`.
        """
        framed: Framed = ()
        in_proto = self._in_proto_of(conversion)
        if sent is not None and in_proto is not None:
            try:
                framed = _framed(sent) or _encoded(rows, np.asarray(sent.rows) - first, in_proto)
            except Exception as error:  # noqa: BLE001  nothing here may harm the data
                self._files.fail(error)
                return 0  # any number: nothing is marked in files that have stopped
        if in_proto is None:
            return self._files.write(rows, *framed)
        return self._files.write(rows, *framed, descriptor=in_proto.descriptor, schema=in_proto.schema)

    def _in_proto_of(self, conversion: Conversion) -> Conversion | None:
        """Return the conversion to the file's protobuf rows, a new one after the table has changed."""
        if self._in_proto is None or conversion.schema is self._in_proto.schema:
            return self._in_proto
        if (changed := _in_proto(conversion)) is not None:
            self._in_proto = changed
        return changed

    def close(self, timeout: float | None) -> None:
        """Close the files; see `DebugFileWriter.close`."""
        self._files.close(timeout)


class BatchRecord:
    """The record of one batch: consecutive slices of it, each with the call that sent its rows."""

    def __init__(self, recorder: DebugRecorder, batch: pa.RecordBatch | pa.Table, conversion: Conversion) -> None:
        self._recorder = recorder
        self._batch = batch
        self._conversion = conversion
        self._end = 0
        self._slices: list[tuple[int, int]] = []  # first row, number of the slice in the files

    @property
    def takes_protobuf(self) -> bool:
        """Whether protobuf rows are written; payloads that are framed already save work."""
        return self._recorder.takes_protobuf

    def record(self, payload: Payload) -> None:
        """Write a payload, with all rows up to its last one, so that rejected rows keep their place."""
        self._write(int(payload.rows[-1]) + 1, payload)

    def end(self) -> None:
        """Write the rest: rows that were rejected after the last payload."""
        if self._end < self._batch.num_rows:
            self._write(self._batch.num_rows, None)

    def locate(self, errors: Sequence[RowError]) -> list[tuple[int, list[RowError]]]:
        """Group rejected rows by the slice that holds them, with their indices in the slice."""
        if not self._slices:
            return []
        starts = [start for start, _ in self._slices]
        found: dict[int, list[RowError]] = {}
        for error in errors:
            place = int(np.searchsorted(starts, error.index, side="right")) - 1
            start, number = self._slices[place]
            found.setdefault(number, []).append(error.at(error.index - start))
        return list(found.items())

    def _write(self, end: int, sent: Payload | None) -> None:
        rows = self._batch.slice(self._end, end - self._end)
        number = self._recorder.write(rows, self._end, sent, self._conversion)
        self._slices.append((self._end, number))
        self._end = end


def _framed(payload: Payload) -> Framed:
    """Return a payload's protobuf rows as a file holds them; nothing if it has another format."""
    if payload.framed:
        return payload.framed
    records = payload.proto_rows()
    return (frame(records),) if records else ()


def _encoded(rows: pa.RecordBatch | pa.Table, sent: np.ndarray, in_proto: Conversion) -> Framed:
    """Return protobuf rows for those rows that were sent, in another format; the others were rejected."""
    all_sent = len(sent) == rows.num_rows
    payloads = in_proto.payloads(rows, framed=True) if all_sent else in_proto.payloads_of(rows, sent, framed=True)
    try:
        return [piece for payload in payloads for piece in _framed(payload)]
    except ConversionError:
        return ()  # the other format can carry what protobuf cannot


def _in_proto(conversion: Conversion) -> Conversion | None:
    """Return the conversion to protobuf rows for the files; None if the schema has no protobuf form."""
    if conversion.descriptor is not None:
        return conversion
    try:
        return Conversion(
            conversion.schema,
            "proto",
            table=conversion.table,
            ignore_unknown_fields=True,
            rescue_column=conversion.rescue_column,
            times=conversion.times,
        )
    except ConversionError:
        return None

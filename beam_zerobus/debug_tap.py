"""Between writer and debug files: which rows, in which wire format, in which order."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import chain
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa

from beam_zerobus.conversion import Conversion
from beam_zerobus.counters import Counters
from beam_zerobus.debug_files import DebugFileWriter
from beam_zerobus.encoding import Payload
from beam_zerobus.errors import ConversionError, RowError
from beam_zerobus.options import DebugFiles
from beam_zerobus.submission import Submission

__all__ = ["DebugTap", "Page", "open_debug_tap"]


def open_debug_tap(options: DebugFiles, conversion: Conversion, *, shard: str | None, counters: Counters) -> DebugTap:
    """Open the debug files of a writer.

    Raises:
        ConfigurationError: The directory cannot be made or written.
    """
    in_proto = _in_proto(conversion) if options.proto else None
    files = DebugFileWriter(
        options,
        table=conversion.spec.table,
        shard=shard,
        descriptor=in_proto.spec.descriptor if in_proto is not None else None,
        schema=conversion.schema,
        on_failure=lambda _reason: counters.debug_files_failed(),
    )
    return DebugTap(files, in_proto, counters)


class DebugTap:
    """Hands each payload to the debug files in the order of sending, and later the reasons of refused rows.

    Invariant, under the one lock: `_pages` holds the pages of the batches that are still on their way.
    """

    def __init__(self, files: DebugFileWriter, in_proto: Conversion | None, counters: Counters) -> None:
        self._files = files
        self._in_proto = in_proto
        self._counters = counters
        self._lock = threading.Lock()
        self._pages: WeakKeyDictionary[Submission, Page] = WeakKeyDictionary()

    def page(self, submission: Submission) -> Page:
        """Begin the record of one batch."""
        page = Page(self, submission.batch)
        with self._lock:
            self._pages[submission] = page
        return page

    def reject(self, submission: Submission, errors: Sequence[RowError]) -> None:
        """Mark refused rows of a batch."""
        with self._lock:
            page = self._pages.pop(submission, None)
        if page is not None:
            for number, some in page.locate(errors):
                self._files.reject(number, some)

    def write(self, rows: pa.RecordBatch, records: Sequence[bytes] | None) -> int:
        """Write some rows with the protobuf records sent for them, or, where others were sent, made for the file."""
        if records is None:
            records = self._records_of(rows)
        before = self._files.bytes_written
        number = self._files.write(rows, records)
        self._counters.debug_file_bytes(self._files.bytes_written - before)
        return number

    def close(self) -> None:
        """Flush and close the files."""
        self._files.close()

    def _records_of(self, rows: pa.RecordBatch) -> list[bytes]:
        if self._in_proto is None:
            return []
        try:
            return list(chain.from_iterable(payload.proto_rows() for payload in self._in_proto.payloads(rows)))
        except ConversionError:
            return []  # such rows were sent in another format, which can carry them


class Page:
    """The record of one batch: consecutive slices of it, each with the call that carried its rows."""

    def __init__(self, tap: DebugTap, batch: pa.RecordBatch | pa.Table) -> None:
        self._tap = tap
        self._batch = batch
        self._end = 0
        self._slices: list[tuple[int, int]] = []  # first row, number of the slice in the files

    def record(self, payload: Payload) -> None:
        """Write a payload, with the rows up to its last, so that refused rows stand in their place."""
        self._write_to(int(payload.rows[-1]) + 1, payload.proto_rows() or None)

    def end(self) -> None:
        """Write what is left: rows refused behind the last payload."""
        if self._end < self._batch.num_rows:
            self._write_to(self._batch.num_rows, [])

    def locate(self, errors: Sequence[RowError]) -> list[tuple[int, list[RowError]]]:
        """Group refused rows by the slice that holds them, their indices counted in the slice."""
        if not self._slices:
            return []
        starts = [start for start, _ in self._slices]
        found: dict[int, list[RowError]] = {}
        for error in errors:
            place = int(np.searchsorted(starts, error.index, side="right")) - 1
            start, number = self._slices[place]
            found.setdefault(number, []).append(error.at(error.index - start))
        return list(found.items())

    def _write_to(self, end: int, records: Sequence[bytes] | None) -> None:
        rows = self._batch.slice(self._end, end - self._end)
        if isinstance(rows, pa.Table):
            rows = pa.concat_batches(rows.to_batches())
        self._slices.append((self._end, self._tap.write(rows, records)))
        self._end = end


def _in_proto(conversion: Conversion) -> Conversion | None:
    """Return the conversion to protobuf rows for the files, None where the schema has no protobuf form."""
    if conversion.spec.descriptor is not None:
        return conversion
    try:
        return Conversion(conversion.schema, "proto", table=conversion.spec.table, ignore_unknown_fields=True)
    except ConversionError:
        return None

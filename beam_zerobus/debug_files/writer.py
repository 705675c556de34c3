"""`DebugFileWriter`: writes batches to debug files, and never harms the rows that are sent."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import pyarrow as pa

from beam_zerobus.debug_files.batch_files import BatchFiles
from beam_zerobus.debug_files.descriptors import describe
from beam_zerobus.debug_files.folders import ROOT, make_folders
from beam_zerobus.errors import ConfigurationError, RowError
from beam_zerobus.logs import get_logger
from beam_zerobus.options import DebugFiles
from beam_zerobus.rotated_files.destination import Destination, RotatedFilesOptions, open_destination
from beam_zerobus.rotated_files.names import file_base
from beam_zerobus.schema.table import TableSchema

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import DescriptorProto

__all__ = ["UPLOAD_LIMIT", "DebugFileWriter"]

_log = get_logger(__name__)

UPLOAD_LIMIT = 60.0
"""Seconds that closing waits for the last upload of remote files."""

_CHECK_INTERVAL = 0.1  # seconds


class DebugFileWriter:
    """Writes what is sent to debug files; any number of threads may use it.

    The operating system has a batch when `write` returns, so the batch survives the process. A background thread
    forces it to the disk (`DebugFiles.fsync`) or uploads it (an `output_dir` on a Beam filesystem) at least every
    `DebugFiles.flush_interval` seconds, and removes the oldest files. If none of that is needed, there is no thread.

    After construction nothing raises: the first failure stops the files with one warning, and sending goes on.

    Args:
        options: What to write, and where.
        table: The table's full name.
        shard: Distinguishes writers of one table, such as ``"{host}-{pid}-{id}"``; None for a single writer.
        descriptor: The row message. None if the table has no protobuf form: then only Arrow files are written.
        schema: The table's columns; kept in the descriptor set, so that readers restore their types.
        on_written: Called with the bytes of each write.
        on_failure: Called once, with the reason, when the files stop.
        clock: Seconds since the epoch, for the names of rotated files.

    Raises:
        ConfigurationError: The directory cannot be made or written, or there is no format to write.

    Invariants:
        `_lock` guards everything; `_destination` is None once the writer is closed or has failed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     writer = DebugFileWriter(DebugFiles(output_dir=directory, proto=False), table="main.iot.air")
        ...     number = writer.write(pa.record_batch({"id": [1, 2]}))
        ...     writer.close()
        ...     sorted(os.listdir(os.path.join(directory, "zerobus", "arrow")))
        ['main.iot.air.arrow']
    """

    def __init__(
        self,
        options: DebugFiles,
        *,
        table: str,
        shard: str | None = None,
        descriptor: DescriptorProto | None = None,
        schema: TableSchema | None = None,
        on_written: Callable[[int], None] | None = None,
        on_failure: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if descriptor is None and not options.arrow:
            raise ConfigurationError(
                f"DebugFiles.arrow=False: rows of table {table} have no protobuf form; switch arrow on"
            )
        self._options = options
        self._table = table
        self._on_written = on_written
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._written = 0
        self._next_check = 0.0
        self._failed = False
        self._closing = False
        self._thread: threading.Thread | None = None
        writes_proto = descriptor is not None and options.proto
        folders = make_folders(arrow=options.arrow, proto=writes_proto)
        try:
            self._destination: Destination | None = open_destination(
                RotatedFilesOptions(
                    output_dir=options.output_dir,
                    root=ROOT,
                    max_files_retained=options.max_files_retained,
                    fsync=options.fsync,
                ),
                base=file_base(table, shard),
                folders=folders,
                clock=clock,
                wake=self._wake.set,
            )
        except Exception as error:
            raise ConfigurationError(
                f"DebugFiles.output_dir={os.fspath(options.output_dir)!r} cannot be written: {_reason(error)}; "
                "name a directory that this user may write, or switch debug files off"
            ) from error
        self._writes_proto = writes_proto
        self._schema = schema
        self._files = BatchFiles(
            self._destination.files,
            folders,
            descriptor_set=describe(descriptor, schema) if descriptor is not None and writes_proto else b"",
            max_file_bytes=options.max_file_bytes,
        )
        if self._destination.needs_flushing:
            self._thread = threading.Thread(target=self._flush_regularly, name="zerobus-debug-files", daemon=True)
            self._thread.start()

    @property
    def failed(self) -> bool:
        """Whether a failure has stopped the files."""
        return self._failed

    def write(
        self,
        batch: pa.RecordBatch | pa.Table,
        *framed: bytes | memoryview,
        descriptor: DescriptorProto | None = None,
        schema: TableSchema | None = None,
    ) -> int:
        """Add a batch.

        Args:
            batch: The rows as the caller sent them.
            framed: The protobuf rows made of them, in order, without rejected rows, as `frame` returns them; in any
                number of pieces.
            descriptor: The row message of these rows, where the table may have changed; begins new files if it has.
            schema: The table's columns, with `descriptor`.

        Returns:
            The batch's number, counted from 0, for `reject`.
        """
        with self._lock:
            number = self._written
            self._written += 1
            if self._destination is not None:
                try:
                    self._check_now_and_then()
                    if descriptor is not None and schema is not self._schema and self._writes_proto:
                        self._schema = schema
                        self._files.describe(describe(descriptor, schema))
                    self._count(self._files.append(batch, framed))
                except Exception as error:  # noqa: BLE001  nothing here may harm the data
                    self._fail(error)
            return number

    def reject(self, batch_number: int, errors: Sequence[RowError]) -> None:
        """Mark rows of a batch as rejected, with the reasons; the rows themselves are in the files already."""
        with self._lock:
            if self._destination is not None and errors:
                try:
                    self._count(self._files.reject(batch_number, errors))
                except Exception as error:  # noqa: BLE001  nothing here may harm the data
                    self._fail(error)

    def fail(self, error: Exception) -> None:
        """Stop the files, as when they cannot be written."""
        with self._lock:
            self._fail(error)

    def flush(self) -> None:
        """Ask for a sync or an upload now instead of at the end of the interval.

        The call does not wait for it: nothing here may delay the data.
        """
        if self._thread is not None:
            self._wake.set()

    def close(self, timeout: float | None = None) -> None:
        """End the files, and upload the rest of remote ones; a second call does nothing.

        Args:
            timeout: Seconds to wait for the last upload at most; None waits for a minute.
        """
        limit = UPLOAD_LIMIT if timeout is None else min(timeout, UPLOAD_LIMIT)
        with self._lock:
            self._closing = True
            if self._destination is not None:
                try:
                    self._files.close()
                except Exception as error:  # noqa: BLE001  nothing here may harm the data
                    self._fail(error)
        if self._thread is not None:
            self._wake.set()
            self._thread.join(limit)
            if self._thread.is_alive():
                with self._lock:
                    self._fail(TimeoutError(f"the last upload did not end within {limit:.1f} s"))
        with self._lock:
            destination, self._destination = self._destination, None
        if destination is not None:
            destination.close()

    def _flush_regularly(self) -> None:
        while True:
            self._wake.wait(self._options.flush_interval)
            self._wake.clear()
            is_last = self._closing  # read before the flush, so that the last flush sees everything
            self._flush_now()
            if is_last or self._failed:
                return

    def _flush_now(self) -> None:
        try:
            with self._lock:
                if self._destination is None:
                    return
                finish = self._destination.prepare_flush()
            finish()
        except Exception as error:  # noqa: BLE001  nothing here may harm the data
            with self._lock:
                self._fail(error)

    def _check_now_and_then(self) -> None:
        """Check that the files are still there; not each time, as a call to the system lets other threads run first."""
        now = time.monotonic()
        if now >= self._next_check:
            self._next_check = now + _CHECK_INTERVAL
            self._files.check_in_place()

    def _count(self, size: int) -> None:
        if self._on_written is not None:
            self._on_written(size)

    def _fail(self, error: Exception) -> None:
        destination, self._destination = self._destination, None
        if destination is None:
            return
        self._failed = True
        with suppress(Exception):
            self._files.close()
        with suppress(Exception):
            destination.close()
        reason = _reason(error)
        _log.warning(
            "debug files of table %s in %s stop: %s. Sending goes on; files written so far stay readable.",
            self._table,
            os.fspath(self._options.output_dir),
            reason,
        )
        if self._on_failure is not None:
            with suppress(Exception):
                self._on_failure(reason)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"

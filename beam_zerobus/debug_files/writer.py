"""`DebugFileWriter`: what the writer of rows hands its batches to."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import pyarrow as pa

from beam_zerobus.debug_files.descriptors import describe
from beam_zerobus.debug_files.destination import Destination, open_destination
from beam_zerobus.debug_files.file_set import FileSet
from beam_zerobus.errors import ConfigurationError, RowError
from beam_zerobus.logs import get_logger
from beam_zerobus.options import DebugFiles
from beam_zerobus.schema.table import TableSchema

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import DescriptorProto

__all__ = ["DebugFileWriter"]

_log = get_logger(__name__)

_CLOSE_TIMEOUT = 60.0  # seconds for the last upload
_CHECK_INTERVAL = 0.1  # seconds


class DebugFileWriter:
    """Writes what is sent to debug files; any number of threads may use it.

    A batch is with the operating system when `write` returns, so that it survives the process. A thread of its own
    forces it to the disk (`DebugFiles.fsync`) or uploads it (an `output_dir` on a Beam filesystem) at least every
    `DebugFiles.flush_interval` seconds, and removes the oldest files as new ones are full; with none of that to do
    there is no thread.

    After construction nothing raises: the first failure stops the files with one warning, and sending goes on.

    Args:
        options: What to write, and where.
        table: The table's full name.
        shard: What tells writers of one table apart, such as ``"{host}-{pid}-{id}"``; None for a writer alone.
        descriptor: The row message. None where the table has no protobuf form: then only Arrow files are written.
        schema: The table's columns; kept in the descriptor set, so that reading back restores their types.
        on_written: Called with the bytes of each write.
        on_failure: Called once, with the reason, when the files stop.
        clock: Seconds since the epoch, for the names of rotated files.

    Raises:
        ConfigurationError: The directory cannot be made or written, or nothing is left to write.

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
        described = describe(descriptor, schema) if descriptor is not None and options.proto else None
        try:
            self._destination: Destination | None = open_destination(
                options,
                table=table,
                shard=shard,
                descriptor_set=described,
                clock=clock,
                wake=self._wake.set,
            )
        except Exception as error:
            raise ConfigurationError(
                f"DebugFiles.output_dir={os.fspath(options.output_dir)!r} cannot be written: {_reason(error)}; "
                "name a directory that this user may write, or switch debug files off"
            ) from error
        if self._destination.needs_flushing:
            self._thread = threading.Thread(target=self._flush_regularly, name="zerobus-debug-files", daemon=True)
            self._thread.start()

    @property
    def failed(self) -> bool:
        """Whether a failure has stopped the files."""
        return self._failed

    def write(self, batch: pa.RecordBatch | pa.Table, *framed: bytes | memoryview) -> int:
        """Add a batch.

        Args:
            batch: The rows as they came in.
            framed: The protobuf rows made of them, in order, without the rows that were rejected, as `frame` has them,
                in any number of pieces.

        Returns:
            The batch's number, counted from 0, for `reject`.
        """
        with self._lock:
            number = self._written
            self._written += 1
            if self._destination is not None:
                try:
                    self._check_now_and_then(self._destination.files)
                    self._count(self._destination.files.append(batch, framed))
                except Exception as error:  # noqa: BLE001  nothing here may hurt the data
                    self._fail(error)
            return number

    def reject(self, batch_number: int, errors: Sequence[RowError]) -> None:
        """Mark rows of a batch as rejected, with the reasons; the rows themselves are in the files already."""
        with self._lock:
            if self._destination is not None and errors:
                try:
                    self._count(self._destination.files.reject(batch_number, errors))
                except Exception as error:  # noqa: BLE001  nothing here may hurt the data
                    self._fail(error)

    def fail(self, error: Exception) -> None:
        """Stop the files, as when they cannot be written."""
        with self._lock:
            self._fail(error)

    def flush(self) -> None:
        """Have what was written forced to the disk, or uploaded, now rather than at the interval's end.

        Not waited for: nothing here may hold up the data.
        """
        if self._thread is not None:
            self._wake.set()

    def close(self) -> None:
        """End the files, and upload what is left where they are remote; a second call does nothing."""
        with self._lock:
            self._closing = True
            if self._destination is not None:
                try:
                    self._destination.files.close()
                except Exception as error:  # noqa: BLE001  nothing here may hurt the data
                    self._fail(error)
        if self._thread is not None:
            self._wake.set()
            self._thread.join(_CLOSE_TIMEOUT)
            if self._thread.is_alive():
                with self._lock:
                    self._fail(TimeoutError(f"the last upload did not end within {_CLOSE_TIMEOUT:g} s"))
        with self._lock:
            destination, self._destination = self._destination, None
        if destination is not None:
            destination.close()

    def _flush_regularly(self) -> None:
        while True:
            self._wake.wait(self._options.flush_interval)
            self._wake.clear()
            is_last = self._closing  # asked before the flush, so that the last one sees everything
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
        except Exception as error:  # noqa: BLE001  nothing here may hurt the data
            with self._lock:
                self._fail(error)

    def _check_now_and_then(self, files: FileSet) -> None:
        """See whether the files are still there; not each time, as a look at the disk lets other threads go first."""
        now = time.monotonic()
        if now >= self._next_check:
            self._next_check = now + _CHECK_INTERVAL
            files.check_in_place()

    def _count(self, size: int) -> None:
        if self._on_written is not None:
            self._on_written(size)

    def _fail(self, error: Exception) -> None:
        destination, self._destination = self._destination, None
        if destination is None:
            return
        self._failed = True
        with suppress(Exception):
            destination.files.close()
        with suppress(Exception):
            destination.close()
        reason = _reason(error)
        _log.warning(
            "debug files of table %s in %s stop: %s. Sending goes on; what was written before stays readable.",
            self._table,
            os.fspath(self._options.output_dir),
            reason,
        )
        if self._on_failure is not None:
            with suppress(Exception):
                self._on_failure(reason)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"

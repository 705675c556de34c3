"""`WriterState`: what a writer holds in one process, from its first use there to its close."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import suppress

from beam_zerobus.encoding.size import bytes_of
from beam_zerobus.errors import ClosedError, ConversionError, ZerobusError, counted, writer_closed
from beam_zerobus.logs import get_logger
from beam_zerobus.schema import TableSchema
from beam_zerobus.writer.channel import Channel
from beam_zerobus.writer.config import WriterConfig
from beam_zerobus.writer.counters import CountersOfWriter
from beam_zerobus.writer.deadlines import WAIT_SLICE
from beam_zerobus.writer.known_table import KnownTable
from beam_zerobus.writer.result import TransmissionResult
from beam_zerobus.writer.rows import ReadRows, RowReader, Rows, RowsOutdatedError
from beam_zerobus.writer.submission import Submission
from beam_zerobus.writer.submissions import Submissions

__all__ = ["WriterState"]

_log = get_logger(__name__)


class WriterState:
    """The parts of a writer in one process; it holds no reference to the writer, which may be dropped before.

    Invariants:
    - `_channel` is opened once, with the first batch, under `_opening`, and never after `_ended`.
    - A batch that was submitted is in `submissions` until its outcome is known.
    """

    def __init__(self, config: WriterConfig, shard: str | None, known: KnownTable | None) -> None:
        self.pid = os.getpid()
        self._config = config
        self._shard = shard
        self.known = known or KnownTable.of(config)
        self.recorder = self.known.recorder
        self.counters = CountersOfWriter(self.recorder)
        self.current_conversion = self.known.current_conversion
        self._reader = RowReader(config, self.current_conversion)
        self.submissions = Submissions(config.table)
        self._closed = threading.Event()
        self._ended = False
        self._opening = threading.Lock()
        self._channel: Channel | None = None

    @property
    def is_used(self) -> bool:
        """True once something was opened for a batch, which then has to be closed."""
        return self._channel is not None

    @property
    def is_over(self) -> bool:
        """True once it is closed, and no failure is left unreported."""
        return self._closed.is_set() and not self.submissions.has_unreported

    @property
    def in_flight_bytes(self) -> int:
        """Encoded bytes without an outcome."""
        return 0 if self._channel is None else self._channel.in_flight_bytes

    @property
    def in_flight_rows(self) -> int:
        """Rows without an outcome."""
        return 0 if self._channel is None else self._channel.in_flight_rows

    def submit(self, rows: Rows) -> Submission:
        """Encode rows and send them; returns when they are queued. See `ZerobusWriter.submit`."""
        if self.submissions.closed:  # reading rows may fetch the schema
            raise writer_closed(self._config.table)
        rows = self._reader.listed(rows)
        while True:
            with suppress(RowsOutdatedError):
                return self.submit_read(self._reader.read(rows))

    def submit_read(self, rows: ReadRows) -> Submission:
        """Submit rows that were read.

        Raises:
            RowsOutdatedError: The table's schema has changed since they were converted: nothing is sent or counted.
        """
        batch = rows.batch
        arrow_bytes = bytes_of(batch)
        submission = Submission(
            batch,
            arrow_bytes=arrow_bytes,
            table=self._config.table,
            span=self.recorder.batch(batch.num_rows, arrow_bytes),
            on_done=self._count,
            unread=rows.unread,
            on_outcome=self.submissions.ended,
        )
        self.submissions.add(submission)
        try:
            conversion = self.current_conversion.resolve_for(batch)
            (self._channel or self._open_channel()).send(submission, conversion)
        except BaseException as error:
            submission.drop_outcome()  # it is raised here
            if isinstance(error, ConversionError) and self._is_outdated(rows.schema):
                outdated = RowsOutdatedError(str(error))
                self.cancel(submission, outdated)
                raise outdated from error
            self.cancel(submission, error if isinstance(error, ZerobusError) else None)
            raise
        return submission

    def _is_outdated(self, schema: TableSchema | None) -> bool:
        """Return whether rows were converted for another schema than the newest."""
        current = self.current_conversion.if_known
        return schema is not None and current is not None and current.schema is not schema

    def cancel(self, submission: Submission, error: ZerobusError | None = None) -> None:
        """End a submission with an error, and send nothing more of it."""
        submission.fail(error or ClosedError("The submission was cancelled"))
        if self._channel is not None:
            self._channel.cancel(submission)

    def close(self, deadline: float | None) -> None:
        """Accept no further batch, wait until the deadline, and close the streams; what is left fails with ClosedError.

        Where another thread is closing the writer, this waits for it; at the deadline what is left fails all the same.

        Args:
            deadline: A moment of `time.monotonic`; None waits until the limits of delivery end it.
        """
        if not self.submissions.close():
            self._wait_for_close(deadline)
            return
        try:
            self.submissions.wait(deadline)
        except BaseException:
            deadline = time.monotonic()  # such as Ctrl-C: no more waiting
            raise
        finally:
            try:
                self._end(deadline)
            finally:
                self._closed.set()

    def _wait_for_close(self, deadline: float | None) -> None:
        """Wait for the thread that closes; at the end of a process, that thread may be stopped before it is done."""
        while not self._closed.wait(WAIT_SLICE if deadline is None else min(WAIT_SLICE, deadline - time.monotonic())):
            if deadline is not None and time.monotonic() >= deadline:
                self._fail_what_is_left()
                return

    def _fail_what_is_left(self) -> None:
        for submission in self.submissions.open():
            submission.fail(ClosedError(f"The writer of {self._config.table} was closed before the batch was sent"))

    def _end(self, deadline: float | None) -> None:
        with self._opening:
            self._ended = True  # a batch whose schema is still being fetched opens nothing any more
        self._fail_what_is_left()
        if self._channel is not None:
            self._channel.close(deadline)
        self.recorder.close()

    def _open_channel(self) -> Channel:
        with self._opening:
            if self._ended:
                raise writer_closed(self._config.table)
            if self._channel is None:
                self._channel = Channel(
                    self._config,
                    shard=self._shard,
                    current_conversion=self.current_conversion,
                    tokens=self.known.tokens,
                    counters=self.counters,
                    recorder=self.recorder,
                )
            return self._channel

    def _count(self, submission: Submission, result: TransmissionResult | None, error: ZerobusError | None) -> None:
        """Count an outcome, before its caller has it."""
        if isinstance(error, RowsOutdatedError):
            submission.span.discard()
            return
        acknowledged = submission.batch.num_rows - submission.unacknowledged_rows
        if result is None:
            self.counters.batch_failed(rows_written=acknowledged)
        else:
            self.counters.batch_done(
                rows_written=result.successful_count,
                rows_failed=result.failed_count,
                size_bytes=result.batch_size_bytes,
            )
            if _log.isEnabledFor(logging.DEBUG):
                _log.debug(
                    "Batch for %s: %s written, %d failed, %s, %.0f ms",
                    self._config.table, counted(result.successful_count, "row"), result.failed_count,
                    counted(result.batch_size_bytes, "byte"), result.latency_ms,
                )  # fmt: skip
            if result.failed_count:
                self.current_conversion.note_rejected(result.rejected)
                submission.span.rejected(result.rejected)
                if self._channel is not None:
                    self._channel.record_failed_rows(submission, result.rejected)
        submission.span.finish(acknowledged, error)

"""One bundle: batches are sent while earlier ones are in flight, and all have an outcome before it ends."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from beam_zerobus.errors import RowError, RowErrors, ZerobusError
from beam_zerobus.sink.rows import RowsWithOrigin, unknown_table
from beam_zerobus.writer.config import WriterConfig
from beam_zerobus.writer.pool import WriterPool
from beam_zerobus.writer.result import TransmissionResult
from beam_zerobus.writer.rows import ReadRows
from beam_zerobus.writer.shared import Lease, acquire
from beam_zerobus.writer.submission import Submission
from beam_zerobus.writer.writers_config import WritersConfig
from beam_zerobus.writer.zerobus_writer import ZerobusWriter

__all__ = ["Bundle", "Outcome"]

_MAX_WAITING_BYTES = 64 << 20  # above what a stream has in flight, which is meant to be the lower limit
_MAX_WAITING_BATCHES = 1_000
_MAX_WAITING_ELEMENTS = 200_000  # kept for dead letters, at some hundred bytes each


@dataclass(frozen=True, slots=True)
class Outcome:
    """A batch of which every row is acknowledged or rejected.

    Attributes:
        table: Their table; of rows that have none, what was to choose it.
        rows: The rows, and which element each was.
        rejected: The rejected rows, by their number among all rows.
        result: The writer's result for the rows that were sent; None if there were none.
        encode_ms: Milliseconds that encoding took.
    """

    table: str
    rows: RowsWithOrigin
    rejected: Sequence[RowError]
    result: TransmissionResult | None = None
    encode_ms: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A batch whose outcome nobody has taken yet; without a submission no row of it could be sent."""

    table: str
    rows: RowsWithOrigin
    writer: ZerobusWriter | None = None
    submission: Submission | None = None

    @property
    def done(self) -> bool:
        return self.submission is None or self.submission.done

    @property
    def sent_in_part(self) -> bool:
        """True where rows are durable, so that the batch cannot be rejected as a whole."""
        submission = self.submission
        return submission is not None and submission.unacknowledged_rows < submission.batch.num_rows

    @property
    def nbytes(self) -> int:
        return self.submission.arrow_bytes if self.submission is not None else 0

    @property
    def elements(self) -> int:
        rows = self.rows.origin.rows
        return len(rows) if isinstance(rows, list) else 1

    def outcome(self) -> Outcome:
        """Wait for the outcome; the writer numbers the rows of the batch, the outcome all rows."""
        unread = self.rows.rejected
        if self.submission is None:
            return Outcome(self.table, self.rows, unread)
        result = self.submission.result()
        rejected = RowErrors.joined([unread, self.rows.numbered(result.rejected)])
        return Outcome(self.table, self.rows, rejected, result, self.submission.encode_seconds * 1000)


class Bundle:
    """Sends the batches of one bundle at a time with the process's shared writer, or writers of many tables.

    Args:
        tables: The options of many tables; None for one.
        reject_unknown: The rows of a table that was not found are rejected, where there are many tables; otherwise they
            fail the bundle.
        note_written: As in `SinkSettings`.

    Invariants, under the one lock:
    - `_waiting` holds the batches whose outcome was not taken yet, oldest first; `_bytes` is the sum of their sizes,
      `_elements` the number of elements that they keep.
    - `_lease` is held from the first use of the writer to `finish` or `abandon`; nothing is opened before.
    """

    def __init__(
        self,
        tables: WritersConfig | None = None,
        *,
        reject_unknown: bool = False,
        note_written: Callable[[np.ndarray], None] | None = None,
    ) -> None:
        self._tables = tables
        self._rejects_unknown = reject_unknown and tables is not None
        self._note_written = note_written
        self._lock = threading.Lock()
        self._lease: Lease[ZerobusWriter] | Lease[WriterPool] | None = None
        self._safeguard: weakref.finalize[..., Bundle]
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._elements = 0

    @contextmanager
    def writer(self, config: WriterConfig) -> Iterator[ZerobusWriter]:
        """Return a block that has the process's writer for `config`, leased until the bundle ends.

        Raises:
            ZerobusError: The table was not found a moment ago.
        """
        with self._lock:
            if self._lease is None:
                self._lease = acquire(config) if self._tables is None else acquire(self._tables)
                self._safeguard = _release_when_dropped(self, self._lease)
            shared = self._lease.writer
        with nullcontext(shared) if isinstance(shared, ZerobusWriter) else shared.using(config.table, config) as writer:
            yield writer

    @property
    def open_tables(self) -> frozenset[str]:
        """Of many tables those that are open, and cost no new stream."""
        with self._lock:
            shared = None if self._lease is None else self._lease.writer
        return frozenset(shared.tables) if isinstance(shared, WriterPool) else frozenset()

    def send(self, writer: ZerobusWriter, rows: RowsWithOrigin) -> None:
        """Submit a batch; rows that could not be read are kept for its outcome.

        Raises:
            RowsOutdatedError: The rows were converted for a schema that is not the table's any more.
            ConversionError: The batch's schema cannot fit the table's.
        """
        submission = writer.submit_read(ReadRows(rows.batch, schema=rows.schema)) if rows.batch.num_rows else None
        if submission is not None:
            submission.claim_outcome()
            if self._note_written is not None:
                submission.future.add_done_callback(partial(_note, rows, self._note_written))
        self._add(_Waiting(writer.table, rows, writer, submission))

    def reject(self, table: str, rows: RowsWithOrigin) -> None:
        """Add a batch to the outcomes whose rows were all rejected before they were sent."""
        self._add(_Waiting(table, rows))

    def _add(self, waiting: _Waiting) -> None:
        with self._lock:
            self._waiting.append(waiting)
            self._bytes += waiting.nbytes
            self._elements += waiting.elements

    def outcomes(self, *, wait: bool) -> Iterator[Outcome]:
        """Yield the outcomes that are there, in order.

        Args:
            wait: Wait for the outcome of every batch. Otherwise wait only while the bundle keeps too much.

        Raises:
            ZerobusError: A batch failed as a whole.
        """
        while (batch := self._next(wait=wait)) is not None:
            yield self._outcome(batch)

    def _outcome(self, batch: _Waiting) -> Outcome:
        try:
            return batch.outcome()
        except ZerobusError as error:
            if not (self._rejects_unknown and error.unknown_table) or batch.sent_in_part:
                raise
            self._note_unknown(batch.table, error)
            return Outcome(batch.table, batch.rows, unknown_table(batch.rows.count, error))

    def _note_unknown(self, table: str, error: ZerobusError) -> None:
        with self._lock:
            shared = None if self._lease is None else self._lease.writer
        if isinstance(shared, WriterPool):
            shared.unknown.note(table, error)

    def _next(self, *, wait: bool) -> _Waiting | None:
        with self._lock:
            if not self._waiting or not (wait or self._keeps_too_much or self._waiting[0].done):
                return None
            batch = self._waiting.popleft()
            self._bytes -= batch.nbytes
            self._elements -= batch.elements
            return batch

    @property
    def _keeps_too_much(self) -> bool:
        return (
            len(self._waiting) > _MAX_WAITING_BATCHES
            or self._bytes > _MAX_WAITING_BYTES
            or self._elements > _MAX_WAITING_ELEMENTS
        )

    def drain_counts(self) -> dict[str, float]:
        """Return what the writer counted since any bundle called this; empty if no writer was used."""
        with self._lock:
            return asdict(self._lease.drain_counters()) if self._lease is not None else {}

    def finish(self) -> None:
        """Release the writer; every batch has an outcome."""
        with self._lock:
            lease, self._lease = self._lease, None
        self._release(lease)

    def abandon(self) -> None:
        """Cancel all batches, drop their outcomes, and release the writer: the runner will retry the failed bundle."""
        with self._lock:
            waiting, lease = list(self._waiting), self._lease
            self._waiting.clear()
            self._bytes, self._elements, self._lease = 0, 0, None
        for batch in waiting:
            if batch.writer is not None and batch.submission is not None:
                batch.writer.cancel(batch.submission)
        self._release(lease)

    def _release(self, lease: Lease[ZerobusWriter] | Lease[WriterPool] | None) -> None:
        """Export telemetry first, because a worker may be killed without notice after a bundle; then release."""
        if lease is not None:
            self._safeguard.detach()
            lease.writer.flush_telemetry()
            lease.release()


def _release_when_dropped(
    bundle: Bundle, lease: Lease[ZerobusWriter] | Lease[WriterPool]
) -> weakref.finalize[..., Bundle]:
    """Release the lease if the bundle's DoFn is dropped without teardown, as some runners do after a failure."""

    def release() -> None:
        # The garbage collector may call this in a thread that holds a lock of the shared writers.
        threading.Thread(target=lease.release, name="zerobus-release", daemon=True).start()

    safeguard = weakref.finalize(bundle, release)
    safeguard.atexit = False
    return safeguard


def _note(rows: RowsWithOrigin, note: Callable[[np.ndarray], None], outcome: Future[TransmissionResult]) -> None:
    """Note the rows of a batch that are written; of one that failed as a whole, none."""
    if outcome.cancelled() or outcome.exception() is not None:
        return
    numbers = np.delete(np.arange(rows.batch.num_rows), outcome.result().rejected.indices)
    note(rows.origin.numbers_in_source(numbers if rows.kept is None else np.asarray(rows.kept)[numbers]))

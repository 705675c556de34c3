"""`Submission`: one batch on its way, from hand-over to the last acknowledgement."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from beam_zerobus.encoding import Payload
from beam_zerobus.encoding.take import take_rows
from beam_zerobus.errors import RowError, TransientError, ZerobusError, summarize
from beam_zerobus.telemetry import BatchSpan
from beam_zerobus.writer.result import TransmissionResult

__all__ = ["Submission"]

OnDone: TypeAlias = "Callable[[Submission, TransmissionResult | None, ZerobusError | None], None]"


class Submission:
    """A batch that was handed to a writer. `result()` waits for its outcome.

    Invariants, under the one lock:
    - Every row of the batch is in exactly one place: not yet encoded, in one of the `_open` payloads that the delivery
      holds, in `_acknowledged`, or in `_rejected`.
    - It ends once: when the batch is sealed (all of it is encoded) and no payload is open, or at the first error that
      concerns the whole batch. Then `_on_done` is called, and then the future is done.
    """

    def __init__(
        self, batch: pa.RecordBatch | pa.Table, *, arrow_bytes: int, table: str, span: BatchSpan, on_done: OnDone
    ) -> None:
        self.batch = batch
        self.arrow_bytes = arrow_bytes
        self.span = span
        self.encode_seconds = 0.0  # written by the thread that submits, before the batch can end
        self._table = table
        self._on_done = on_done
        self._lock = threading.Lock()
        self._future: Future[TransmissionResult] = Future()
        self._started = time.perf_counter()
        self._open = 0
        self._sealed = False
        self._ended = False
        self._acknowledged: list[np.ndarray | range] = []
        self._rejected: list[RowError] = []
        self._size_bytes = 0
        self._attempts = 0

    def result(self, timeout: float | None = None) -> TransmissionResult:
        """Wait until every row is acknowledged or rejected.

        Args:
            timeout: Seconds to wait at most; None waits until the writer's own limits end it.

        Raises:
            TimeoutError: Not finished within `timeout`; the submission goes on.
            TransientError: The service stayed away until the last retry; the exception holds what is not written.
            AuthenticationError: The credentials were rejected.
            RejectedError: The service rejected the table or the schema.
            ClosedError: The writer was closed, or the submission cancelled, before the end.
        """
        return self._future.result(timeout)

    @property
    def future(self) -> Future[TransmissionResult]:
        """The outcome as a `concurrent.futures.Future`."""
        return self._future

    @property
    def done(self) -> bool:
        """True when there is an outcome, or an error."""
        return self._ended

    # What follows is the delivery's side.

    def opened(self, payload: Payload) -> None:
        """Count a payload that is handed over, and the rows rejected while it was made."""
        with self._lock:
            self._rejected.extend(payload.rejected)
            if len(payload.rows):
                self._open += 1
                self._size_bytes += payload.size_bytes

    def seal(self) -> None:
        """Say that no further payload comes."""
        with self._lock:
            self._sealed = True
        self._finish_if_complete()

    def settle(self, acknowledged: Sequence[np.ndarray | range], rejected: Sequence[RowError], attempts: int) -> None:
        """Take the outcome of one payload."""
        with self._lock:
            self._open -= 1
            self._acknowledged.extend(acknowledged)
            self._rejected.extend(rejected)
            self._attempts = max(self._attempts, attempts)
        self._finish_if_complete()

    def replaced(self, payloads: Sequence[Payload], *, acknowledged: Sequence[np.ndarray | range]) -> None:
        """Take it that an open payload was converted again, except for rows of it acknowledged before."""
        for payload in payloads:
            self.opened(payload)
        self.settle(acknowledged, (), 0)

    def fail(self, error: ZerobusError) -> None:
        """End with an error that concerns the whole batch; a TransientError is told what is not written."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            if isinstance(error, TransientError):
                error = self._with_rows(error)
        self._on_done(self, None, error)
        self._future.set_exception(error)

    def _finish_if_complete(self) -> None:
        with self._lock:
            if not self._sealed or self._open or self._ended:
                return
            self._ended = True
            result = self._make_result()
        self._on_done(self, result, None)
        self._future.set_result(result)

    def _make_result(self) -> TransmissionResult:
        rejected = tuple(sorted(self._rejected, key=lambda error: error.index))
        total = self.batch.num_rows
        return TransmissionResult(
            success=not rejected,
            error=summarize(rejected, table=self._table, total_rows=total) if rejected else None,
            attempts=self._attempts,
            latency_ms=(time.perf_counter() - self._started) * 1000,
            batch_size_bytes=self._size_bytes,
            total_rows=total,
            successful_count=total - len(rejected),
            failed_count=len(rejected),
            failed_rows=rejected,
        )

    def _with_rows(self, error: TransientError) -> TransientError:
        written = np.zeros(self.batch.num_rows, dtype=bool)
        for rows in self._acknowledged:
            written[np.asarray(rows, dtype=np.int64)] = True
        settled = written.copy()
        settled[[rejected.index for rejected in self._rejected]] = True
        missing = np.flatnonzero(~settled)
        acknowledged = int(written.sum())
        return TransientError(
            f"{error} ({acknowledged} of the batch's {self.batch.num_rows} rows are acknowledged, "
            f"{len(missing)} are not)",
            attempts=error.attempts,
            cause=error.cause,
            acknowledged_rows=acknowledged,
            unacknowledged_rows=len(missing),
            unacknowledged=_batches(take_rows(self.batch, missing)),
        ).quoting(error.quoted)


def _batches(rows: pa.RecordBatch | pa.Table) -> list[pa.RecordBatch]:
    batches = rows.to_batches() if isinstance(rows, pa.Table) else [rows]
    return [batch for batch in batches if batch.num_rows]

"""`Submission`: one batch between `submit` and its outcome."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from beam_zerobus.encoding import Payload
from beam_zerobus.encoding.take import take_rows
from beam_zerobus.errors import (
    ConversionError,
    RejectedError,
    RowError,
    RowErrors,
    TransientError,
    ZerobusError,
    counted,
    summarize,
)
from beam_zerobus.logs import get_logger, outline
from beam_zerobus.telemetry import BatchSpan
from beam_zerobus.writer.deadlines import WAIT_SLICE, deadline_after
from beam_zerobus.writer.outcome_future import OutcomeFuture
from beam_zerobus.writer.result import TransmissionResult

__all__ = ["Submission"]

_log = get_logger(__name__)

OnDone: TypeAlias = "Callable[[Submission, TransmissionResult | None, ZerobusError | None], None]"

_of_thread = threading.local()


def _calling_back() -> list[Callable[[Submission], None]]:
    """Return the writers, by their `_on_outcome`, whose callbacks run in this thread."""
    return _of_thread.__dict__.setdefault("calling_back", [])


class Submission:
    """A batch that was submitted to a writer. `result()` waits for its outcome.

    Invariants, under the one lock:
    - Every row of the batch is in exactly one place: among the `_unencoded`, in one of the `_open` payloads that the
      delivery holds, in `_acknowledged`, or in `_rejected`.
    - It ends once: when the batch is sealed (all of it is encoded) and no payload is open, or at the first error that
      concerns the whole batch. Then `_on_done` is called, so that counts are right when a caller has the outcome;
      then `_outcome` is set, which no caller can reach; then `_on_outcome` is called.
    - `_claims` counts the callers that will take the outcome; the writer leaves it to them until the process ends.

    `reported`, without the lock, says that a caller took the outcome (`mark_reported`) or does not need it
    (`drop_outcome`), or that the writer logged it. It never becomes False again; then the writer does not report it.
    """

    def __init__(
        self,
        batch: pa.RecordBatch | pa.Table,
        *,
        arrow_bytes: int,
        table: str,
        span: BatchSpan,
        on_done: OnDone,
        unread: Sequence[RowError] = (),
        on_outcome: Callable[[Submission], None] = lambda _: None,
    ) -> None:
        self.batch = batch
        self.arrow_bytes = arrow_bytes
        self.unread = unread  # rows that could not be read; the batch may hold anything in their positions
        self.span = span
        self.encode_seconds = 0.0  # written by the thread that submits, before the batch can end
        self.reported = False
        self._claims = 0
        self._table = table
        self._on_done = on_done
        self._on_outcome = on_outcome
        self._lock = threading.Lock()
        self._outcome: Future[TransmissionResult] = Future()
        self._started = time.perf_counter()
        self._unencoded = batch.num_rows
        self._open = 0
        self._sealed = False
        self._ended = False
        self._acknowledged: list[np.ndarray | range] = []
        self._rejected: list[Sequence[RowError]] = []
        self._size_bytes = 0
        self._attempts = 0

    def __repr__(self) -> str:
        state = "in flight" if not self._outcome.done() else "failed" if self.failed else "acknowledged"
        return f"<Submission of {counted(self.batch.num_rows, 'row')} to {self._table}: {state}>"

    def result(self, timeout: float | None = None) -> TransmissionResult:
        """Wait until every row is acknowledged or rejected.

        Args:
            timeout: Seconds to wait at most; None waits until the writer's own limits end it.

        Raises:
            TimeoutError: Not finished within `timeout`; the submission goes on.
            TransientError: The service failed until the last retry; the exception holds the rows not written.
            AuthenticationError: The credentials were rejected.
            RejectedError: The service rejected the table or the schema.
            ClosedError: The writer was closed, or the submission cancelled, before the end.
        """
        with self.claimed_outcome():
            ended = self.wait(timeout)
            self.mark_reported()
        if not ended:
            raise TimeoutError(f"A batch for {self._table} has no outcome within {timeout} s")
        return self._outcome.result()

    @contextmanager
    def claimed_outcome(self) -> Iterator[None]:
        """Claim the outcome for a block that waits for it and raises it, so that no other thread does so meanwhile."""
        self.claim_outcome()
        try:
            yield
        finally:
            with self._lock:
                self._claims -= 1

    def claim_outcome(self) -> None:
        """Claim the outcome for a caller that will take it later: only the end of the process reports it before."""
        with self._lock:
            self._claims += 1

    def mark_reported(self) -> None:
        """Note that a caller takes the outcome, if there is one: the writer does not need to raise or log it."""
        if self._outcome.done():
            self.reported = True
            self._on_outcome(self)

    def drop_outcome(self) -> None:
        """Note that nobody needs the outcome, also where there is none yet: it is neither raised nor logged."""
        self.reported = True
        self.mark_reported()

    @property
    def needs_report(self) -> bool:
        """True where the outcome is neither reported nor claimed: the writer has to report a failure."""
        return not self._claims and not self.reported

    @property
    def future(self) -> Future[TransmissionResult]:
        """The outcome as a new `concurrent.futures.Future`; cancelling it does not cancel the submission.

        A callback (`add_done_callback`) is called once: in the thread that delivers, or at once in the thread that adds
        it where there is an outcome. The counters and the debug files have the outcome by then. What a callback raises
        is logged and has no other effect. While it runs, no other acknowledgement on this stream is processed, so it
        should be short. It must not wait for its own writer: `result`, `flush` and `close` raise ZerobusError there
        instead of waiting without end, and so does `submit` where there is no room. It may use other writers.
        """
        future = OutcomeFuture(self.mark_reported)
        self._outcome.add_done_callback(lambda _: self._copy_outcome(future))
        return future

    def _copy_outcome(self, future: Future[TransmissionResult]) -> None:
        """Copy the outcome to a caller's future, which the caller may have cancelled or set."""
        error = self._outcome.exception()
        with suppress(InvalidStateError):
            if future.set_running_or_notify_cancel():
                future.set_exception(error) if error is not None else future.set_result(self._outcome.result())

    @property
    def done(self) -> bool:
        """True when there is an outcome, or an error."""
        return self._ended

    @property
    def failed(self) -> bool:
        """True where it is known that not every row is acknowledged."""
        if not self._outcome.done():
            return False
        return self._outcome.exception() is not None or self._outcome.result().failed_count > 0

    @property
    def failure(self) -> ZerobusError | None:
        """Why not every row is acknowledged; None where all are, or that is not known yet."""
        if not self.failed:
            return None
        error = self._outcome.exception()
        if error is None:
            return _rows_failed(self._outcome.result())
        return error if isinstance(error, ZerobusError) else ZerobusError(str(error))

    @property
    def unacknowledged_rows(self) -> int:
        """How many rows are not acknowledged so far."""
        with self._lock:
            return self.batch.num_rows - sum(len(rows) for rows in self._acknowledged)

    def wait(self, timeout: float | None) -> bool:
        """Wait for the outcome without taking it; return whether it is there."""
        deadline = deadline_after(timeout)
        if not self._outcome.done() and self._on_outcome in _calling_back():
            raise ZerobusError(
                f"A callback of a future waits for its own writer of {self._table}, which would never end: it runs in "
                "the thread that delivers. Wait in another thread"
            )
        while not self._outcome.done():
            left = WAIT_SLICE if deadline is None else min(WAIT_SLICE, deadline - time.monotonic())
            if left <= 0:
                return False
            with suppress(TimeoutError):
                self._outcome.exception(left)
        return True

    def opened(self, payload: Payload) -> None:
        """Count a payload that is about to be sent, and the rows rejected while it was encoded."""
        with self._lock:
            self._unencoded -= len(payload.rows) + len(payload.rejected)
            self._open_payload(payload)

    @property
    def is_encoded(self) -> bool:
        """True when every row is in a payload or rejected."""
        return self._unencoded == 0

    def seal(self) -> None:
        """Record that no further payload follows."""
        if not self.is_encoded:  # a result would count these rows as written
            self.fail(
                ZerobusError(f"{counted(self._unencoded, 'row')} of a batch for {self._table} could not be encoded")
            )
        with self._lock:
            self._sealed = True
        self._finish_if_complete()

    def settle(self, acknowledged: Sequence[np.ndarray | range], rejected: Sequence[RowError], attempts: int) -> None:
        """Record the outcome of one payload."""
        with self._lock:
            self._open -= 1
            self._acknowledged.extend(acknowledged)
            self._rejected.append(rejected)
            self._attempts = max(self._attempts, attempts)
        self._finish_if_complete()

    def replaced(
        self, old: Payload, payloads: Sequence[Payload], *, acknowledged: Sequence[np.ndarray | range]
    ) -> None:
        """Record that an open payload was encoded again, except for rows of it that are acknowledged."""
        kept = sum(len(rows) for rows in acknowledged)
        with self._lock:
            self._size_bytes -= old.size_bytes * (len(old.rows) - kept) // len(old.rows)
            for payload in payloads:
                self._open_payload(payload)
        self.settle(acknowledged, (), 0)

    def acknowledge(self, rows: Sequence[np.ndarray | range]) -> None:
        """Record durable rows of a payload that will not be settled."""
        with self._lock:
            self._acknowledged.extend(rows)

    def fail(self, error: ZerobusError) -> None:
        """End with an error that concerns the whole batch; a TransientError gets the rows that are not written."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            if isinstance(error, TransientError):
                error = self._with_rows(error)
        self._end(None, error)

    def note(self, event: str, /, **attributes: object) -> None:
        """Add an event to the batch's span."""
        self.span.event(event, **attributes)

    def _open_payload(self, payload: Payload) -> None:
        self._rejected.append(payload.rejected)
        if len(payload.rows):
            self._open += 1
            self._size_bytes += payload.size_bytes

    def _finish_if_complete(self) -> None:
        with self._lock:
            if not self._sealed or self._open or self._ended:
                return
            result = self._make_result()
            self._ended = True
        self._end(result, None)

    def _end(self, result: TransmissionResult | None, error: ZerobusError | None) -> None:
        try:
            self._on_done(self, result, error)
        except Exception as failure:  # noqa: BLE001  callers that wait get the outcome all the same
            _log.error("After a batch for %s: %s", self._table, outline(failure))
        finally:
            _calling_back().append(self._on_outcome)
            try:
                if error is not None:
                    self._outcome.set_exception(error)
                elif result is not None:
                    self._outcome.set_result(result)
            except SystemExit as failure:  # of a caller's callback
                _log.error("After a batch for %s: %s", self._table, outline(failure))
            finally:
                _calling_back().pop()
            self._on_outcome(self)

    def _make_result(self) -> TransmissionResult:
        rejected = RowErrors.joined(self._rejected)
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
            failed_rows=rejected,  # type: ignore[arg-type]  # a tuple once a caller asks for it
        )

    def _with_rows(self, error: TransientError) -> TransientError:
        written = np.zeros(self.batch.num_rows, dtype=bool)
        for rows in self._acknowledged:
            written[np.asarray(rows, dtype=np.int64)] = True
        acknowledged = int(written.sum())
        # Rejected rows are among the others: sent again, each gets its reason again. Those that could not be read
        # are not in the batch.
        written[RowErrors.of(self.unread).indices] = True
        missing = np.flatnonzero(~written)
        unread = f", not read: {len(self.unread):,}" if self.unread else ""
        return TransientError(
            f"{error} (of the batch's {counted(self.batch.num_rows, 'row')}, acknowledged: {acknowledged:,}, "
            f"not acknowledged: {len(missing):,}{unread})",
            attempts=error.attempts,
            cause=error.cause,
            acknowledged_rows=acknowledged,
            unacknowledged_rows=len(missing),
            unacknowledged=_batches(take_rows(self.batch, missing)),
        ).quoting(error.quoted)


def _rows_failed(result: TransmissionResult) -> ZerobusError:
    kind = RejectedError if result.rejected.by_service() else ConversionError
    return kind(result.error or "", row_errors=result.failed_rows)


def _batches(rows: pa.RecordBatch | pa.Table) -> list[pa.RecordBatch]:
    batches = rows.to_batches() if isinstance(rows, pa.Table) else [rows]
    return [batch for batch in batches if batch.num_rows]

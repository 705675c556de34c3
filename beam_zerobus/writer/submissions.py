"""`Submissions`: the batches of a writer without an outcome, and its unreported failures."""

from __future__ import annotations

import threading

from beam_zerobus.errors import ZerobusError, agreeing, counted, writer_closed
from beam_zerobus.logs import get_logger
from beam_zerobus.telemetry.redaction import describe_error
from beam_zerobus.writer.deadlines import seconds_until
from beam_zerobus.writer.submission import Submission

__all__ = ["Submissions"]

_log = get_logger(__name__)

_MAX_UNREPORTED = 1_000


class Submissions:
    """Every batch of one writer from `submit` until its outcome is known to a caller.

    Invariants, under the one lock:
    - `_open` holds the submissions without an outcome, in order.
    - `_failed` holds those that failed, as a whole or in some rows, oldest first; they leave it when they are
      reported: to a caller, by `raise_failures`, or in the log, as the oldest are when there are too many.
    - Once `_closed`, nothing is added.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._lock = threading.RLock()  # logging may run code of others, which may submit
        self._open: dict[Submission, None] = {}
        self._failed: dict[Submission, None] = {}
        self._closed = False

    def add(self, submission: Submission) -> None:
        """Add a submission.

        Raises:
            ClosedError: The writer is closed.
        """
        with self._lock:
            if self._closed:
                raise writer_closed(self._table)
            self._open[submission] = None

    def ended(self, submission: Submission) -> None:
        """Note that a submission has its outcome, or that it was reported: then nothing holds its rows."""
        with self._lock:
            if submission in self._open:  # else a thread that waited for it was faster
                del self._open[submission]
                if submission.failed:
                    self._failed[submission] = None
            if submission.reported:
                self._failed.pop(submission, None)
            elif len(self._failed) > _MAX_UNREPORTED:
                self._log_oldest()

    @property
    def closed(self) -> bool:
        """True when no further submission is accepted."""
        return self._closed

    @property
    def has_unreported(self) -> bool:
        """True where a batch failed, and this was not reported."""
        with self._lock:
            return any(not submission.reported for submission in self._failed)

    def open(self) -> list[Submission]:
        """Return the submissions without an outcome."""
        with self._lock:
            return list(self._open)

    def close(self) -> bool:
        """Accept no further submission; return False if this was done before."""
        with self._lock:
            closed, self._closed = self._closed, True
            return not closed

    def wait(self, deadline: float | None) -> bool:
        """Wait for all that are open now; return False if some have no outcome at the deadline.

        Args:
            deadline: A moment of `time.monotonic`; None waits until the limits of delivery end it.
        """
        return all(s.wait(seconds_until(deadline)) for s in self.open())

    def raise_failures(self) -> None:
        """Log each failure that was neither reported nor claimed, and raise the first.

        Raises:
            ZerobusError: What the batch failed with; for failed rows a RejectedError or ConversionError with reasons.
        """
        errors = self.log_failures(claimed=False)
        if errors:
            raise errors[0]

    def log_failures(self, *, claimed: bool = True) -> list[ZerobusError]:
        """Log each failure that was not reported, and return them.

        Args:
            claimed: Also those that a caller has claimed, who would take them later.
        """
        with self._lock:  # also while they are logged: at its end a process waits for a thread that does so already
            for submission in [one for one in self._open if one.failed]:
                self.ended(submission)
            unreported = [submission for submission in self._failed if not submission.reported]
            self._failed = {one: None for one in unreported if not (claimed or one.needs_report)}
            failed = [submission for submission in unreported if submission not in self._failed]
            for submission in failed:
                self._log_failure(submission)
        return [submission.failure for submission in failed if submission.failure is not None]

    def _log_oldest(self) -> None:
        """Log the oldest failure that needs a report, where there is one."""
        oldest = next((submission for submission in self._failed if submission.needs_report), None)
        if oldest is not None:
            del self._failed[oldest]
            self._log_failure(oldest)

    def _log_failure(self, submission: Submission) -> None:
        """Log how many rows of a batch are not in the table, and why; never what they hold."""
        submission.reported = True
        if submission.failure is not None:
            _log.error(
                "%d of %s of a batch for table %s %s not acknowledged: %s",
                submission.unacknowledged_rows,
                counted(submission.batch.num_rows, "row"),
                self._table,
                agreeing(submission.unacknowledged_rows, "is"),
                describe_error(submission.failure),
            )

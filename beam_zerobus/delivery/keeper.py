"""One stream kept alive: payloads go in, acknowledgements come out, whatever happens in between.

Callers hand payloads over and send them while the stream is healthy; one thread of its own, the keeper, opens the
stream, waits for acknowledgements, and after a failure opens a new one and sends again what was not acknowledged. So
however many threads meet a failure, one of them recovers, and everything that retries is in one loop: `_keep`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from beam_zerobus.delivery.failures import FailureKind, StreamFailure
from beam_zerobus.delivery.ledger import Entry
from beam_zerobus.delivery.retry import Backoff, Breaker
from beam_zerobus.delivery.search import ROW_PROBES, SCHEMA_PROBES, isolate
from beam_zerobus.delivery.stream import Stream
from beam_zerobus.delivery.stream_spec import StreamSpec
from beam_zerobus.encoding import Payload
from beam_zerobus.encoding.conversion import Conversion
from beam_zerobus.errors import (
    AuthenticationError,
    ClosedError,
    ConversionError,
    TransientError,
    ZerobusError,
)
from beam_zerobus.logs import get_logger, outline
from beam_zerobus.options import Retry
from beam_zerobus.writer.counters import Counters
from beam_zerobus.writer.submission import Submission

__all__ = ["Delivery", "DeliveryHooks"]

_log = get_logger(__name__)

# A stream carries 100 MB/s and 100,000 rows/s at most, and an acknowledgement takes the service 0.2 s.
MAX_IN_FLIGHT_BYTES = 20 << 20
# The SDK keeps rows one by one until they are acknowledged, in 46 bytes more than a row of 33 has (measured).
_BYTES_A_ROW = 64
IDLE_CLOSE_SECONDS = 60.0
_BLOCKED_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryHooks:
    """What a delivery asks of its writer.

    Attributes:
        open_stream: Opens a stream for a spec.
        forget_token: Drops the token that the service rejected.
        refresh: Fetches the table's schema again; returns a new conversion, or None where nothing changed.
    """

    open_stream: Callable[[StreamSpec], Stream]
    forget_token: Callable[[], None]
    refresh: Callable[[Conversion], Conversion | None]


class Delivery:
    """Delivers payloads over one stream at a time.

    Three locks, taken in this order. `_ordering` lets one caller after the other into the ledger. `_sending` is held
    while payloads are handed to the stream or the stream is exchanged, so that ledger order is offset order. `_lock`
    (a condition) guards all state below and is held briefly.

    Invariants, under `_lock`:
    - The ledger is `_sent` followed by `_queued`: every payload handed over and not settled, in order. `_sent` was
      handed to the current stream and is in the order of offsets; `_queued` was not (or must be sent again).
    - `_in_flight` is the sum of the ledger's bytes and rows; `hand_over` waits while they take the memory allowed, so
      that they never take more than one payload beyond.
    - While a suspect or a searched payload is in `_sent`, it is there alone.
    - `_stream` is None or the stream of `_sent`; only the keeper replaces it. `_broken` is what it
      said when it took no more.
    """

    def __init__(
        self,
        *,
        name: str,
        conversion: Conversion,
        hooks: DeliveryHooks,
        retry: Retry,
        breaker: Breaker,
        counters: Counters,
        max_in_flight_bytes: int | None = None,
        idle_close: float | None = None,
    ) -> None:
        self._name = name
        self._conversion = conversion
        self._hooks = hooks
        self._backoff = Backoff(retry)
        self._breaker = breaker
        self._counters = counters
        self._bytes_a_row = 0 if conversion.spec.wire_format == "arrow" else _BYTES_A_ROW
        self._max_bytes = MAX_IN_FLIGHT_BYTES if max_in_flight_bytes is None else max_in_flight_bytes
        self._idle_close = IDLE_CLOSE_SECONDS if idle_close is None else idle_close

        self._ordering = threading.Lock()
        self._sending = threading.Lock()
        self._lock = threading.Condition()
        self._sent: deque[Entry] = deque()
        self._queued: deque[Entry] = deque()
        self._in_flight = counters.in_flight()
        self._stream: Stream | None = None
        self._broken: StreamFailure | None = None
        self._stopped = False
        self._keeper: threading.Thread | None = None

        # The keeper's own.
        self._free_reopen = True  # a rotation is free once between two acknowledgements
        self._token_renewed = False

    @property
    def in_flight_bytes(self) -> int:
        """Bytes handed over and not yet settled."""
        return self._in_flight.bytes

    def hand_over(
        self,
        payload: Payload,
        submission: Submission,
        conversion: Conversion,
        on_queued: Callable[[], None] | None = None,
    ) -> None:
        """Take a payload into the ledger, waiting for room, and send it if the stream is healthy.

        Args:
            payload: At least one row.
            submission: Is told the payload's outcome; where it has ended already, nothing is taken.
            conversion: What made the payload.
            on_queued: Called in the order of the ledger, one call at a time, while the payload is on its way.

        Raises:
            ClosedError: The delivery was stopped.
        """
        entry = Entry(payload, submission, conversion)
        with self._ordering:
            with self._lock:
                self._await_room(entry)
                if submission.done:
                    return
                self._queued.append(entry)
                self._account(entry, 1)
                self._start_keeper()
                self._lock.notify_all()
            self._send_queued()
            if on_queued is not None:
                on_queued()

    def _await_room(self, entry: Entry) -> None:
        """Wait, under the lock, until the ledger has room for the entry and the breaker is closed."""
        while not (self._stopped or entry.submission.done):
            pause = self._breaker.pause_left()
            held = self._in_flight.bytes + self._in_flight.rows * self._bytes_a_row
            if not pause and held < self._max_bytes:
                return
            self._lock.wait(pause or None)
        if self._stopped:
            raise ClosedError(f"The writer of {self._name} is closed")

    def cancel(self, submission: Submission) -> None:
        """Forget what is left of a submission: nothing of it is sent from now on."""
        with self._lock:
            for ledger in (self._sent, self._queued):
                for entry in [entry for entry in ledger if entry.submission is submission]:
                    ledger.remove(entry)
                    self._account(entry, -1)
            self._lock.notify_all()

    def stop(self, timeout: float | None) -> None:
        """Stop the keeper, which closes the stream; what is left in the ledger fails with ClosedError."""
        with self._lock:
            self._stopped = True
            keeper = self._keeper
            self._lock.notify_all()
        self._fail_all(ClosedError(f"The writer of {self._name} was closed before the batch was acknowledged"))
        if keeper is not None and keeper is not threading.current_thread():
            keeper.join(timeout)

    # Sending: any thread.

    def _send_queued(self) -> None:
        """Hand what is queued to the stream, in order, until nothing may be sent now."""
        with self._sending:
            while (claimed := self._claim()) is not None:
                entry, stream = claimed
                try:
                    offset = stream.send(entry.to_send().records)
                except StreamFailure as failure:
                    with self._lock:
                        self._broken = failure
                        self._lock.notify_all()
                    return
                self._mark_sent(entry, offset)
                entry.let_records_go()

    def _claim(self) -> tuple[Entry, Stream] | None:
        """Return the next payload to send and the stream for it, None if there is none or it has to wait."""
        with self._lock:
            if self._stream is None or self._broken is not None or self._stopped or not self._queued:
                return None
            entry = self._queued[0]
            if self._sent and (entry.goes_alone or self._sent[0].goes_alone):
                return None
            if entry.conversion is not self._conversion:
                return None  # the keeper converts it again
            return entry, self._stream

    def _mark_sent(self, entry: Entry, offset: int) -> None:
        with self._lock:
            if not self._queued or self._queued[0] is not entry:
                return  # cancelled while it was sent
            self._queued.popleft()
            entry.offset = offset
            entry.attempts += 1
            if entry.attempts > 1 and entry.search is None:
                self._counters.replayed(len(entry.payload.rows))
                entry.submission.span.event("replayed", rows=len(entry.payload.rows))
            self._sent.append(entry)
            self._lock.notify_all()

    # Keeping: the keeper's thread.

    def _start_keeper(self) -> None:
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._keep, name=f"zerobus-{self._name}", daemon=True)
            self._keeper.start()

    def _keep(self) -> None:
        """Open, send, wait for acknowledgements, recover; until stopped."""
        try:
            while self._await_work():
                try:
                    self._work_or_recover()
                except TransientError as error:
                    self._retry(error.cause, str(error))
                except ZerobusError as error:
                    self._give_up(error)
        except BaseException as error:  # nobody may be left waiting for a thread that is gone
            _log.error("The keeper of %s failed: %s", self._name, outline(error))
            with self._lock:
                self._stopped = True
            self._fail_all(
                ZerobusError(f"Delivery to {self._name} failed unexpectedly: {error!r}").quoting(repr(error))
            )
            raise
        finally:
            self._exchange_stream(None)

    def _await_work(self) -> bool:
        """Wait until the ledger holds something; close a stream that stays idle. False when stopped."""
        while True:
            with self._lock:
                if self._lock.wait_for(lambda: self._stopped or self._sent or self._queued, self._idle_close):
                    return not self._stopped
            self._close_idle_stream()

    def _work_or_recover(self) -> None:
        try:
            self._work()
        except StreamFailure as failure:
            self._recover(failure)

    def _work(self) -> None:
        with self._lock:
            stream, broken, head = self._stream, self._broken, self._sent[0] if self._sent else None
        if stream is None:
            self._convert_again()
            self._exchange_stream(self._hooks.open_stream(self._conversion.spec))
            self._counters.stream_opened()
            self._send_queued()
        elif head is not None:
            if stream.wait(head.offset):
                self._acknowledged(head.offset)
                self._send_queued()  # what waited behind a payload that had to go alone
        elif broken is not None:
            raise stream.find_cause(broken)
        else:
            self._send_queued()
            with self._lock:
                stale = self._queued and self._queued[0].conversion is not self._conversion
            if stale:
                self._convert_again()

    def _acknowledged(self, offset: int) -> None:
        """Settle what is durable: all up to `offset`, or the piece of a searched payload, which was alone."""
        with self._lock:
            done = []
            while self._sent and self._sent[0].offset <= offset:
                done.append(self._sent.popleft())
            acknowledged = len(done)
            if done and done[0].search is not None and self._advance_search(done[0], None):
                self._queued.appendleft(done.pop())
        self._backoff.progress()
        self._breaker.succeeded(acknowledged)
        self._free_reopen = True
        self._token_renewed = False
        for entry in done:
            self._settle(entry)

    def _settle(self, entry: Entry) -> None:
        """Take an entry that left the ledger out of the books and tell its submission."""
        with self._lock:
            self._account(entry, -1)
            self._lock.notify_all()
        entry.submission.settle(entry.acknowledged_rows(), entry.row_errors(), entry.attempts)

    # Recovering: the keeper's thread.

    def _recover(self, failure: StreamFailure) -> None:
        in_flight = self._exchange_stream(None, failure.cause)
        for submission in dict.fromkeys(entry.submission for entry in in_flight):
            submission.span.event("stream_lost", cause=failure.cause)
        _log.debug("Stream of %s ended: %s", self._name, failure.cause)
        if failure.kind is FailureKind.ROTATION and self._free_reopen:
            self._free_reopen = False
        elif failure.kind is FailureKind.UNAUTHENTICATED:
            self._renew_token(failure)
        elif failure.schema_changed and self._refresh_conversion(in_flight):
            _log.warning("The schema of %s changed; rows are converted again", self._name)
        elif len(in_flight) > 1 and failure.kind is FailureKind.REJECTED:
            for entry in in_flight:  # nobody says which call was rejected: each is sent alone
                entry.suspect = True
        elif failure.kind is FailureKind.REJECTED and in_flight:
            self._search(in_flight[0], failure)
        elif failure.is_final:
            self._give_up(failure.as_error(self._name))
        else:
            self._retry(failure.cause, str(failure), blocked=failure.blocked)

    def _exchange_stream(self, stream: Stream | None, cause: str = "CLOSED") -> list[Entry]:
        """Put a new stream, or none, in place; what the old one had not acknowledged is queued again and returned."""
        with self._sending, self._lock:
            old, self._stream, self._broken = self._stream, stream, None
            in_flight = list(self._sent)
            self._sent.clear()
            self._queued.extendleft(reversed(in_flight))
        if old is not None:
            if in_flight:
                old.abandon()
            else:
                old.close()
            self._counters.stream_closed(cause)
        return in_flight

    def _close_idle_stream(self) -> None:
        with self._sending, self._lock:
            if self._sent or self._queued:
                return
            idle, self._stream = self._stream, None
        if idle is not None:
            idle.close()
            self._counters.stream_closed("IDLE")

    def _renew_token(self, failure: StreamFailure) -> None:
        if self._token_renewed and not failure.while_opening:
            self._retry(failure.cause, str(failure))  # the service took the new token before: patience
        elif self._token_renewed:
            self._give_up(
                AuthenticationError(
                    f"Zerobus rejected a new token for {self._name} too: check that the service principal has "
                    f"USE CATALOG, USE SCHEMA, SELECT and MODIFY, granted by name ({failure})"
                ).quoting(str(failure))
            )
        else:
            self._token_renewed = True
        self._hooks.forget_token()

    def _retry(self, cause: str, message: str, *, blocked: bool = False) -> None:
        """Wait before the next try, or give up after the last."""
        pause = self._breaker.failed()
        wait = self._backoff.next_wait()
        if wait is None:
            attempts = self._backoff.failures
            self._backoff.progress()
            self._give_up(
                TransientError(
                    f"Zerobus failed {attempts} times for {self._name}, last with {cause}: {message}. Check that the "
                    "endpoint is reachable, or allow more with Retry(max_retries=..., max_backoff=...)",
                    attempts=attempts,
                    cause=f"{cause}: {message}",
                ).quoting(message)
            )
            return
        wait = max(wait, pause, _BLOCKED_SECONDS + wait if blocked else 0.0)
        self._counters.retried(cause, wait)
        for submission in self._submissions():
            submission.span.event("retry", cause=cause, wait_seconds=wait)
        _log.info("Retrying %s in %.2f s after %s", self._name, wait, cause)
        deadline = time.monotonic() + wait
        with self._lock:
            self._lock.wait_for(lambda: self._stopped or not self._queued, deadline - time.monotonic())

    def _give_up(self, error: ZerobusError) -> None:
        self._token_renewed = False
        self._exchange_stream(None)
        self._fail_all(error)

    def _fail_all(self, error: ZerobusError) -> None:
        with self._lock:
            entries = [*self._sent, *self._queued]
            self._sent.clear()
            self._queued.clear()
            for entry in entries:
                self._account(entry, -1)
            self._lock.notify_all()
        for submission in dict.fromkeys(entry.submission for entry in entries):
            submission.fail(error)

    def _submissions(self) -> list[Submission]:
        with self._lock:
            return list(dict.fromkeys(entry.submission for entry in (*self._sent, *self._queued)))

    # Rejected calls: the keeper's thread.

    def _search(self, entry: Entry, failure: StreamFailure) -> None:
        """Begin or go on to search the rejected rows of a call that was rejected alone."""
        reason = str(failure)
        if entry.search is None:
            probes = SCHEMA_PROBES if failure.schema_changed else ROW_PROBES
            entry.search = isolate(len(entry.payload.rows), reason, probes=probes)
        if self._advance_search(entry, reason):
            return
        with self._lock:
            if not self._queued or self._queued[0] is not entry:
                return  # cancelled
            self._queued.popleft()
        self._settle(entry)

    def _advance_search(self, entry: Entry, reason: str | None) -> bool:
        """Tell the search what became of its piece; return whether it wants another one sent."""
        search = entry.search
        if search is None:
            return False
        if entry.piece is not None and reason is None:
            entry.accepted.append(entry.piece)
        try:
            entry.piece = next(search) if entry.piece is None else search.send(reason)
        except StopIteration as end:
            entry.found = end.value
            return False
        return True

    # Changed schemas: the keeper's thread.

    def _refresh_conversion(self, in_flight: list[Entry]) -> bool:
        """Fetch the table's schema again, once for all that is in the ledger; return whether it has changed."""
        if in_flight and all(entry.schema_confirmed for entry in in_flight):
            return False
        conversion = self._hooks.refresh(self._conversion)
        with self._sending, self._lock:
            if conversion is None:
                for entry in self._queued:
                    entry.schema_confirmed = True
                return False
            self._conversion = conversion
        return True

    def _convert_again(self) -> None:
        """Convert what is queued for a former schema of the table with the present one; what no longer fits fails."""
        unfit: list[tuple[Submission, ConversionError]] = []
        with self._sending, self._lock:
            converted: deque[Entry] = deque()
            for entry in self._queued:
                try:
                    converted.extend(self._converted(entry))
                except ConversionError as error:
                    converted.append(entry)
                    unfit.append((entry.submission, error))
            self._queued = converted
            self._lock.notify_all()
        for submission, why in unfit:
            self.cancel(submission)
            submission.fail(why)

    def _converted(self, entry: Entry) -> list[Entry]:
        if entry.conversion is self._conversion:
            return [entry]
        rows = np.asarray(entry.payload.rows, dtype=np.int64)
        left = np.delete(rows, [row for piece in entry.accepted for row in piece])
        payloads = list(self._conversion.payloads_of(entry.submission.batch, left))
        entries = [
            Entry(payload, entry.submission, self._conversion, attempts=entry.attempts, suspect=entry.suspect)
            for payload in payloads
            if len(payload.rows)
        ]
        self._account(entry, -1)
        for new in entries:
            self._account(new, 1)
        entry.submission.replaced(payloads, acknowledged=entry.acknowledged_rows() if entry.search else [])
        return entries

    def _account(self, entry: Entry, sign: int) -> None:
        self._in_flight.bytes += sign * entry.payload.size_bytes
        self._in_flight.rows += sign * len(entry.payload.rows)

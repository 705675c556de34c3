"""`Supervisor`: the thread that keeps one stream open.

It opens the stream, waits for acknowledgements, and after a failure opens a new one and sends again what was not
acknowledged. However many threads meet a failure, only the supervisor recovers: the only retry loop is here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Protocol

from beam_zerobus.delivery import limits
from beam_zerobus.delivery.connection import Connection, ReplacedStream
from beam_zerobus.delivery.decisions import Action, Situation, decide
from beam_zerobus.delivery.entry import Entry, Owner
from beam_zerobus.delivery.failures import FailureKind, StreamFailure, connection_remedy
from beam_zerobus.delivery.ledger import Ledger
from beam_zerobus.delivery.outage import Outage
from beam_zerobus.delivery.rate_limiter import StreamRateLimiter
from beam_zerobus.delivery.retry import Backoff, Breaker
from beam_zerobus.delivery.search import ROW_PROBES, SCHEMA_PROBES
from beam_zerobus.delivery.stream import Stream
from beam_zerobus.delivery.unexpected import unexpected
from beam_zerobus.encoding.conversion import Conversion
from beam_zerobus.errors import AuthenticationError, TransientError, ZerobusError, counted
from beam_zerobus.logs import get_logger
from beam_zerobus.options import Retry

__all__ = ["Hooks", "Monitor", "Supervisor", "fail_all"]

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the delivery needs from its writer.

    Attributes:
        open_stream: Opens a stream for the rows of a conversion.
        forget_token: Drops the token that the service rejected.
        conversion: Returns the conversion for the table's schema as the writer knows it now.
        refresh: Fetches the schema again, as the service found that of a conversion out of date; returns the new
            conversion, or None where nothing changed.
    """

    open_stream: Callable[[Conversion], Stream]
    forget_token: Callable[[], None]
    conversion: Callable[[], Conversion]
    refresh: Callable[[Conversion], Conversion | None]


class Monitor(Protocol):
    """Counts what happens to a stream."""

    def stream_opened(self) -> None:
        """Count an opened stream."""
        ...

    def stream_closed(self, cause: str) -> None:
        """Count a stream that has ended, and why."""
        ...

    def retried(self, cause: str, wait: float) -> None:
        """Count a failure after which `wait` seconds pass before the next try."""
        ...

    def replayed(self, rows: int) -> None:
        """Count rows of a payload that is sent once more."""
        ...


class Supervisor:
    """The work of the supervisor's thread; `run` ends when the ledger is closed, or on an unexpected error.

    All state here belongs to that thread; what it shares is in the ledger and in the connection.
    """

    def __init__(
        self,
        name: str,
        *,
        ledger: Ledger,
        connection: Connection,
        hooks: Hooks,
        retry: Retry,
        breaker: Breaker,
        rate_limiter: StreamRateLimiter,
        monitor: Monitor,
    ) -> None:
        self._name = name
        self._ledger = ledger
        self._connection = connection
        self._hooks = hooks
        self._backoff = Backoff(retry)
        self._breaker = breaker
        self._rate_limiter = rate_limiter
        self._monitor = monitor
        self._outage = Outage(name)
        self._acknowledged_at = 0.0
        self._reopened = False  # for a rotation, which is not counted once between two acknowledgements
        self._token_renewed = False
        self._searching = False  # the stream ended with a rejected call, and none is open since

    def run(self) -> None:
        """Open, send, wait for acknowledgements, recover; until the ledger is closed."""
        try:
            while self._wait_for_work():
                self._step()
        finally:
            self._exchange_stream(None)

    def _wait_for_work(self) -> bool:
        """Wait until the ledger holds something; close a stream that stays idle. False when it is closed."""
        while not self._ledger.wait_for_work(limits.IDLE_CLOSE):
            if (idle := self._connection.take_idle()) is not None:
                idle.close()
                self._monitor.stream_closed("IDLE")
        return not self._ledger.closed

    def _step(self) -> None:
        """Do one thing; every error leads to another try, or fails the batches that it concerns."""
        try:
            try:
                self._work()
            except StreamFailure as failure:
                self._recover(failure)
        except TransientError as error:
            self._retry(error.cause, str(error), retry_after=error.retry_after)
        except ZerobusError as error:
            self._give_up(error)
        except Exception as error:  # noqa: BLE001  no caller may be left waiting
            self._give_up(unexpected(error, f"Delivery to {self._name} failed"))

    def _work(self) -> None:
        if (unsendable := self._connection.take_unsendable()) is not None:
            fail_all(self._ledger, [unsendable[0]], unsendable[1])
            self._connection.send_queued()
        stream, failure, entry = self._connection.stream, self._connection.failure, self._ledger.first_sent()
        if stream is None:
            if not (self._searching and self._limit_rate()):
                self._convert_outdated()
                self._open_stream()
        elif entry is not None:
            self._await_acknowledgement(stream, entry)
        elif failure is not None:
            raise stream.find_cause(failure)
        else:
            self._connection.send_queued()
            self._convert_outdated()

    def _limit_rate(self) -> bool:
        """Pause searches where they have opened too many streams; return whether other batches have to wait too."""
        wait = self._rate_limiter.seconds_until_search(self._ledger.rows)
        if not wait:
            return False
        if self._ledger.pause_searches(wait):
            wait = self._rate_limiter.seconds_until_others()
            self._ledger.pause(wait)
        return wait > 0.0  # where there are no others, `_wait_for_work` waits

    def _open_stream(self) -> None:
        self._exchange_stream(self._hooks.open_stream(self._connection.conversion))
        self._rate_limiter.opened()
        self._searching = False
        self._monitor.stream_opened()
        self._connection.send_queued()

    def _await_acknowledgement(self, stream: Stream, entry: Entry) -> None:
        if stream.wait(entry.offset):
            self._acknowledged(entry.offset)
        elif time.monotonic() - max(self._acknowledged_at, entry.sent_at) > limits.ACK_TIMEOUT:
            # The SDK has the same limit, but starts it anew at an acknowledgement that it has seen before.
            raise StreamFailure(
                FailureKind.TRANSIENT,
                "ACK_TIMEOUT",
                f"Zerobus acknowledged nothing new for {limits.ACK_TIMEOUT:.0f} s",
            )

    def _acknowledged(self, offset: int) -> None:
        calls = self._ledger.acknowledge(offset)
        self._acknowledged_at = time.monotonic()
        self._backoff.reset()
        self._breaker.succeeded(max(1, len(calls)))
        self._outage.ended()
        self._reopened = self._token_renewed = False
        for entry in calls:
            _settle(entry)
        self._connection.send_queued()  # what waited for an entry that had to be sent alone

    # Recovery.

    def _recover(self, failure: StreamFailure) -> None:
        old = self._exchange_stream(None, failure.cause)
        in_flight = old.unacknowledged
        for owner in dict.fromkeys(entry.owner for entry in in_flight):
            owner.note("stream_lost", cause=failure.cause)
        _log.debug("The stream to %s ended: %s", self._name, failure.cause)
        situation = Situation(
            # A cancelled call may be the one that was rejected: then the others are sent one by one, not searched.
            calls_in_flight=max(2, len(in_flight)) if old.cancelled else len(in_flight),
            schema_confirmed=bool(in_flight) and all(entry.schema_confirmed for entry in in_flight),
            reopened=self._reopened,
            token_renewed=self._token_renewed,
        )
        action = decide(failure, situation)
        if action is Action.REFRESH_SCHEMA:
            if self._refresh_schema():
                return
            action = decide(failure, replace(situation, schema_confirmed=True))
        self._act(action, failure, old)

    def _act(self, action: Action, failure: StreamFailure, old: ReplacedStream) -> None:
        in_flight = old.unacknowledged
        self._searching = action in (Action.SEND_SINGLY, Action.SEARCH)
        match action:
            case Action.REOPEN:
                self._reopened = True
            case Action.RENEW_TOKEN:
                self._token_renewed = True
                self._hooks.forget_token()
            case Action.RETRY:
                self._retry(failure.cause, str(failure), blocked=failure.blocked)
            case Action.RETRY_WITH_NEW_TOKEN:
                self._hooks.forget_token()
                self._retry(failure.cause, str(failure))
            case Action.SEND_SINGLY:
                self._ledger.send_singly(in_flight)
            case Action.SEARCH:
                probes = SCHEMA_PROBES if failure.schema_changed else ROW_PROBES
                if self._ledger.reject(in_flight[0], str(failure), probes=probes):
                    _settle(in_flight[0])
            case Action.FAIL_BATCH:
                if old.not_accepted is not None:
                    fail_all(self._ledger, [old.not_accepted], self._final_error(failure))
            case _:
                self._give_up(self._final_error(failure))

    def _final_error(self, failure: StreamFailure) -> ZerobusError:
        if failure.kind is not FailureKind.UNAUTHENTICATED:
            return failure.as_error(self._name)
        self._hooks.forget_token()
        return AuthenticationError(
            f"Zerobus rejected a new token for {self._name} too: check that the service principal has "
            f"USE CATALOG, USE SCHEMA, SELECT and MODIFY, granted by name ({failure})"
        ).quoting(str(failure))

    def _retry(self, cause: str, message: str, *, blocked: bool = False, retry_after: float | None = None) -> None:
        """Wait before the next try, or give up after the last."""
        pause = self._breaker.failed()
        wait = self._backoff.next_wait(retry_after)
        if wait is None:
            self._give_up(_exhausted(self._name, self._backoff.failures, cause, message))
            return
        wait = max(wait, pause, limits.BLOCKED_PAUSE + wait if blocked else 0.0)
        self._monitor.retried(cause, wait)
        for owner in self._ledger.owners():
            owner.note("retry", cause=cause, wait_seconds=wait)
        self._outage.failed(cause, failures=self._backoff.failures, wait=wait, rows=self._ledger.rows)
        self._ledger.pause(wait)

    def _give_up(self, error: ZerobusError) -> None:
        """Fail everything in the ledger; the next payload starts anew."""
        self._reopened = self._token_renewed = False
        self._backoff.reset()
        self._outage.given_up()
        self._exchange_stream(None)
        fail_all(self._ledger, self._ledger.clear(), error)

    def _exchange_stream(self, stream: Stream | None, cause: str = "CLOSED") -> ReplacedStream:
        """Use another stream, or none; close the old one, and return what it had not finished."""
        old = self._connection.exchange(stream)
        if old.stream is not None:
            if old.unacknowledged or old.cancelled:
                old.stream.abandon()
            else:
                old.stream.close()
            self._monitor.stream_closed(cause)
        return old

    # A changed schema.

    def _refresh_schema(self) -> bool:
        """Fetch the table's schema again, once for all that is in the ledger; return whether it has changed."""
        conversion = self._hooks.refresh(self._connection.conversion)
        if conversion is None:
            self._ledger.confirm_schema()
            return False
        self._connection.conversion = conversion
        _log.warning("The schema of %s changed; rows are converted again", self._name)
        return True

    def _convert_outdated(self) -> None:
        """Convert again what is queued for a former schema of the table; nothing is in flight."""
        current = self._hooks.conversion()
        if current is not self._connection.conversion:
            self._exchange_stream(None)
            self._connection.conversion = current
        for entry in self._ledger.outdated(current):
            self._convert(entry)

    def _convert(self, entry: Entry) -> None:
        """Convert what is left of an entry; rows that no longer fit are rejected."""
        conversion = self._connection.conversion
        try:
            payloads = conversion.payloads_after_change(entry.owner.batch, entry.unacknowledged_rows())
        except Exception as error:  # noqa: BLE001  it is this batch's
            fail_all(self._ledger, [entry], unexpected(error, f"A batch for {self._name} could not be converted"))
            return
        entries = [
            Entry(payload, entry.owner, conversion, attempts=entry.attempts, suspect=entry.suspect)
            for payload in payloads
            if len(payload.rows)
        ]
        if self._ledger.replace(entry, entries):
            acknowledged = entry.acknowledged_rows() if entry.search else []
            entry.owner.replaced(entry.payload, payloads, acknowledged=acknowledged)


def fail_all(ledger: Ledger, entries: Sequence[Entry], error: ZerobusError) -> None:
    """Fail the batches that these entries are part of; nothing more of them is sent."""
    for entry in entries:
        if entry.search is not None:
            entry.owner.acknowledge(entry.acknowledged_rows())
    owners: dict[Owner, None] = dict.fromkeys(entry.owner for entry in entries)
    for owner in owners:
        owner.fail(copy(error))  # one object raised in many threads would collect all their frames
        ledger.cancel(owner)  # also what its thread has added meanwhile


def _settle(entry: Entry) -> None:
    """Give an entry's owner its outcome; a failure here does not affect the entries after it."""
    try:
        entry.settle()
    except Exception as error:  # noqa: BLE001
        entry.owner.fail(unexpected(error, "A batch could not be settled"))


def _exhausted(name: str, attempts: int, cause: str, message: str) -> TransientError:
    return TransientError(
        f"Zerobus failed {counted(attempts, 'time')} for {name}, last with {cause}: {message}; "
        f"{connection_remedy(message)}, or allow more with Retry(max_retries=..., max_backoff=...)",
        attempts=attempts,
        cause=f"{cause}: {message}",
    ).quoting(message)

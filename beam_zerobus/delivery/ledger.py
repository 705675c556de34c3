"""`Ledger`: what was submitted over one stream and has no outcome yet."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from beam_zerobus.delivery.budget import Budget
from beam_zerobus.delivery.entry import Entry, Owner
from beam_zerobus.encoding.conversion import Conversion

__all__ = ["InFlight", "Ledger"]


class InFlight(Protocol):
    """Two numbers that telemetry reads; only the ledger writes them."""

    bytes: int
    rows: int


class Ledger:
    """The entries of one stream, in the order of submission; knows neither threads nor sockets.

    Invariants, under the one lock (a condition):
    - `_sent` holds the entries that the current stream took and has not acknowledged, by rising offset; `_queued`
      holds the later ones that it did not take, or that have to be sent again. No entry is in both.
    - An entry that is cancelled after it was sent stays in `_sent` until the stream acknowledges it or ends: the SDK
      holds it, and the service may reject it. It is not sent again, and its owner gets no outcome from it.
    - `_in_flight` has the bytes and rows of all these entries. Callers wait in `wait_for_room` while they take more
      than the memory allowed; they wait in line, so that it is exceeded by one payload at most.
    - The `_budget` that several ledgers share has the memory of these entries, too.
    - An entry that must be sent alone is the only one in `_sent`.
    - Before `_searches_from` nothing of an entry under search is sent; those after it are.
    - Once `_closed`, nothing is added.
    """

    def __init__(
        self, in_flight: InFlight, *, max_bytes: int, bytes_per_row: int, budget: Budget | None = None
    ) -> None:
        self._in_flight = in_flight
        self._budget = budget
        self._max_bytes = max_bytes
        self._bytes_per_row = bytes_per_row
        self._lock = threading.Condition()
        self._sent: deque[Entry] = deque()
        self._queued: deque[Entry] = deque()
        self._closed = False
        self._searches_from = float("-inf")

    @property
    def bytes(self) -> int:
        """Encoded bytes without an outcome."""
        return self._in_flight.bytes

    @property
    def rows(self) -> int:
        """Rows without an outcome."""
        return self._in_flight.rows

    @property
    def has_room(self) -> bool:
        """True while the payloads here take less than the memory allowed; others may have filled the budget."""
        return self._in_flight.bytes + self._in_flight.rows * self._bytes_per_row < self._max_bytes

    @property
    def closed(self) -> bool:
        """True when no further entry is accepted."""
        return self._closed

    # Callers.

    def wait_for_room(self, owner: Owner, pause_left: Callable[[], float]) -> bool:
        """Wait until a payload may be added, as far as the payloads here are concerned.

        Args:
            owner: The batch of the payload; it may end, or be cancelled, meanwhile.
            pause_left: Returns the seconds for which no caller may add anything.

        Returns:
            False where it may never be added: the ledger is closed, or the owner has its outcome.
        """
        with self._lock:
            while not (self._closed or owner.done):
                pause = pause_left()
                if not pause and self.has_room:
                    return True
                self._lock.wait(pause or 1.0)  # not without a limit, so that Ctrl-C works on every system
            return False

    def add(self, entry: Entry) -> bool:
        """Queue an entry; False where the ledger is closed or the owner has its outcome."""
        with self._lock:
            if self._closed or entry.owner.done:
                return False
            self._queued.append(entry)
            self._account([entry], 1)
            self._lock.notify_all()
            return True

    def cancel(self, owner: Owner) -> None:
        """Forget the entries of a batch: nothing of it is sent from now on."""
        with self._lock:
            for entry in self._sent:
                entry.cancelled = entry.cancelled or entry.owner is owner
            dropped = [entry for entry in self._queued if entry.owner is owner]
            self._queued = deque(entry for entry in self._queued if entry.owner is not owner)
            self._account(dropped, -1)

    def close(self) -> list[Entry]:
        """Accept no further entry; return those that are left."""
        with self._lock:
            self._closed = True
        return self.clear()

    # Sending: one thread at a time.

    def next_to_send(self, conversion: Conversion) -> Entry | None:
        """Return the entry to send next; None where there is none, or it has to wait.

        An entry that must be sent alone waits until nothing else is in flight; one of another conversion waits until
        it is converted again.
        """
        with self._lock:
            entry = self._next()
            if self._closed or entry is None:
                return None
            if self._sent and (entry.goes_alone or self._sent[0].goes_alone):
                return None
            return entry if entry.conversion is conversion else None

    def mark_sent(self, entry: Entry, offset: int) -> bool:
        """Note that the stream took the entry; False where the entry was cancelled while it was sent."""
        with self._lock:
            if entry in self._queued:
                self._queued.remove(entry)
            else:
                entry.cancelled = True
                self._account([entry], 1)
            entry.offset = offset
            entry.sent_at = time.monotonic()
            entry.attempts += 1
            self._sent.append(entry)
            self._lock.notify_all()
            return not entry.cancelled

    # The supervisor.

    def wait_for_work(self, timeout: float) -> bool:
        """Wait until an entry is in flight or may be sent, or the ledger is closed.

        Returns:
            False where none of this happened within `timeout` seconds, or less while searches pause.
        """
        with self._lock:
            if self._queued and (left := self._searches_from - time.monotonic()) > 0:
                timeout = min(timeout, left)
            return bool(self._lock.wait_for(lambda: self._closed or self._sent or self._next(), timeout))

    def pause_searches(self, seconds: float) -> bool:
        """Send nothing of the entries under search for some seconds; return whether others are queued."""
        with self._lock:
            self._searches_from = time.monotonic() + seconds
            return self._next() is not None

    def pause(self, seconds: float) -> None:
        """Wait for some seconds, or until the ledger is closed or empty."""
        with self._lock:
            self._lock.wait_for(lambda: self._closed or not (self._sent or self._queued), seconds)

    def first_sent(self) -> Entry | None:
        """Return the oldest entry that the stream took and has not acknowledged."""
        with self._lock:
            return self._sent[0] if self._sent else None

    def acknowledge(self, offset: int) -> list[Entry]:
        """Remove the entries that are durable: all up to `offset`.

        An entry under search that wants another piece sent goes back to the head of the queue.

        Returns:
            The entries that have their outcome.
        """
        with self._lock:
            done: list[Entry] = []
            while self._sent and self._sent[0].offset <= offset:
                entry = self._sent.popleft()
                if not entry.cancelled and entry.accepted():
                    self._queued.appendleft(entry)
                else:
                    done.append(entry)
            self._account(done, -1)
            return [entry for entry in done if not entry.cancelled]

    def reject(self, entry: Entry, reason: str, *, probes: int) -> bool:
        """Record that a queued entry was rejected alone.

        Returns:
            True when the search is over and the entry, which has its outcome, is removed.
        """
        with self._lock:
            if entry not in self._queued:
                return False  # cancelled
            if entry.rejected(reason, probes=probes):
                return False
            self._queued.remove(entry)
            self._account([entry], -1)
            return True

    def put_back(self) -> tuple[list[Entry], int]:
        """Queue what was sent and not acknowledged again, before all else but older searches: the stream is gone.

        Returns:
            These entries, and how many others were cancelled after they were sent.
        """
        with self._lock:
            cancelled = [entry for entry in self._sent if entry.cancelled]
            unacknowledged = [entry for entry in self._sent if not entry.cancelled]
            self._sent.clear()
            first = 0
            if not any(entry.search for entry in unacknowledged):  # else it is alone, and its search the oldest
                first = next((n for n, entry in enumerate(self._queued) if not entry.search), len(self._queued))
            for entry in reversed(unacknowledged):
                self._queued.insert(first, entry)
            self._account(cancelled, -1)
            return unacknowledged, len(cancelled)

    def send_singly(self, entries: Iterable[Entry]) -> None:
        """Have these entries sent one by one."""
        with self._lock:
            for entry in entries:
                entry.suspect = True

    def confirm_schema(self) -> None:
        """Note that the schema which everything queued was encoded for is still the table's."""
        with self._lock:
            for entry in self._queued:
                entry.schema_confirmed = True

    def outdated(self, conversion: Conversion) -> list[Entry]:
        """Return the queued entries that another conversion encoded."""
        with self._lock:
            return [entry for entry in self._queued if entry.conversion is not conversion]

    def replace(self, entry: Entry, entries: Sequence[Entry]) -> bool:
        """Put entries in the place of a queued one; False where that was cancelled meanwhile."""
        with self._lock:
            if entry not in self._queued:
                return False
            position = self._queued.index(entry)
            del self._queued[position]
            for number, new in enumerate(entries):
                self._queued.insert(position + number, new)
            self._account([entry], -1)
            self._account(entries, 1)
            return True

    def owners(self) -> list[Owner]:
        """Return the batches that have entries here, in order."""
        with self._lock:
            return list(dict.fromkeys(entry.owner for entry in self._all() if not entry.cancelled))

    def clear(self) -> list[Entry]:
        """Remove all entries, and return those that were not cancelled."""
        with self._lock:
            entries = self._all()
            self._sent.clear()
            self._queued.clear()
            self._account(entries, -1)
            return [entry for entry in entries if not entry.cancelled]

    def wake(self) -> None:
        """Wake all threads that wait, so that they check their condition again."""
        with self._lock:
            self._lock.notify_all()

    def _next(self) -> Entry | None:
        """Return the first entry that may be sent."""
        if time.monotonic() >= self._searches_from:
            return self._queued[0] if self._queued else None
        return next((entry for entry in self._queued if not entry.search), None)

    def _all(self) -> list[Entry]:
        return [*self._sent, *self._queued]

    def _account(self, entries: Iterable[Entry], sign: int) -> None:
        """Count entries in or out, and wake the threads that wait for room or for work."""
        for entry in entries:
            nbytes, rows = sign * entry.payload.size_bytes, sign * len(entry.payload.rows)
            self._in_flight.bytes += nbytes
            self._in_flight.rows += rows
            if self._budget is not None:
                self._budget.add(nbytes + rows * self._bytes_per_row)
        self._lock.notify_all()

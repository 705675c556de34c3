"""`Connection`: the current stream of a ledger, and the sending over it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from beam_zerobus.delivery.entry import Entry
from beam_zerobus.delivery.failures import StreamFailure
from beam_zerobus.delivery.ledger import Ledger
from beam_zerobus.delivery.stream import Stream
from beam_zerobus.delivery.unexpected import unexpected
from beam_zerobus.encoding.conversion import Conversion
from beam_zerobus.errors import ZerobusError

__all__ = ["Connection", "ReplacedStream"]


@dataclass(frozen=True, slots=True)
class ReplacedStream:
    """A stream that is no longer used, and what it had not finished.

    Attributes:
        stream: The stream; None where none was open.
        unacknowledged: Its unacknowledged entries, which are queued again.
        cancelled: How many other entries were cancelled.
        not_accepted: The entry whose call it did not accept, if there is one.
    """

    stream: Stream | None
    unacknowledged: list[Entry]
    cancelled: int
    not_accepted: Entry | None


class Connection:
    """Sends what a ledger has queued, in its order, over one stream after the other.

    Invariants, under the one lock, which is held during a call of the SDK:
    - One thread at a time sends, so that the order of the ledger is the order of offsets.
    - What the ledger holds as sent was sent over `_stream`. Only the supervisor replaces it.
    - `_failure` is what `_stream` raised when it accepted no further call; nothing is sent after that.
      `_not_accepted` is the entry of this call.
    - `_unsendable` is an entry that no call can be made of, and why; nothing is sent until the supervisor has taken it.
    - Only entries of `conversion` are sent; the stream is open for its schema.
    """

    def __init__(self, name: str, ledger: Ledger, conversion: Conversion, on_replay: Callable[[int], None]) -> None:
        self._name = name
        self._ledger = ledger
        self._on_replay = on_replay
        self._lock = threading.Lock()
        self._stream: Stream | None = None
        self._failure: StreamFailure | None = None
        self._not_accepted: Entry | None = None
        self._unsendable: tuple[Entry, ZerobusError] | None = None
        self.conversion = conversion

    @property
    def stream(self) -> Stream | None:
        """The open stream."""
        return self._stream

    @property
    def failure(self) -> StreamFailure | None:
        """Why the stream accepts no further call."""
        return self._failure

    def send_queued(self) -> None:
        """Send what is queued until nothing is left, or has to wait, or the stream fails; from any thread."""
        with self._lock:
            while self._stream is not None and self._failure is None and self._unsendable is None:
                entry = self._ledger.next_to_send(self.conversion)
                if entry is None:
                    return
                self._send(entry, self._stream)

    def _send(self, entry: Entry, stream: Stream) -> None:
        try:
            offset = stream.send(entry.to_send().records)
        except StreamFailure as failure:
            self._failure, self._not_accepted = failure, entry
            self._ledger.wake()
            return
        except Exception as error:  # noqa: BLE001  it is this batch's, whichever thread sends it
            # Not failed here: that runs callbacks of users, which may submit, under this lock.
            self._unsendable = entry, unexpected(error, f"A payload for {self._name} could not be sent")
            self._ledger.wake()
            return
        if not self._ledger.mark_sent(entry, offset):
            return
        if replayed := entry.note_sent():
            self._on_replay(replayed)
            entry.owner.note("replayed", rows=replayed)
        entry.drop_records()

    def exchange(self, stream: Stream | None) -> ReplacedStream:
        """Use another stream, or none, from now on; return the old one."""
        with self._lock:
            old, self._stream, self._failure = self._stream, stream, None
            not_accepted, self._not_accepted = self._not_accepted, None
            self._unsendable = None  # it is queued, and found again
            unacknowledged, cancelled = self._ledger.put_back()
            return ReplacedStream(old, unacknowledged, cancelled, not_accepted)

    def take_unsendable(self) -> tuple[Entry, ZerobusError] | None:
        """Forget the batch of an entry that no call can be made of; return the entry and why, to fail the batch."""
        with self._lock:
            taken, self._unsendable = self._unsendable, None
            if taken is not None:
                self._ledger.cancel(taken[0].owner)
            return taken

    def take_idle(self) -> Stream | None:
        """Remove and return the stream if nothing is sent or queued."""
        with self._lock:
            if self._ledger.rows:
                return None
            idle, self._stream = self._stream, None
            return idle

"""`Delivery`: encoded rows in, outcomes out, over one stream at a time.

Three parts do the work: the `Ledger` holds what has no outcome yet, the `Connection` sends it, and the `Supervisor`, a
thread of its own, opens streams, waits for acknowledgements and recovers from failures.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from beam_zerobus.delivery import limits
from beam_zerobus.delivery.budget import Budget
from beam_zerobus.delivery.connection import Connection
from beam_zerobus.delivery.entry import Entry, Owner
from beam_zerobus.delivery.ledger import InFlight, Ledger
from beam_zerobus.delivery.rate_limiter import StreamRateLimiter
from beam_zerobus.delivery.retry import Breaker
from beam_zerobus.delivery.supervisor import Hooks, Monitor, Supervisor, fail_all
from beam_zerobus.delivery.unexpected import unexpected
from beam_zerobus.encoding import Payload
from beam_zerobus.encoding.conversion import Conversion
from beam_zerobus.errors import ClosedError, ZerobusError, writer_closed
from beam_zerobus.options import Retry

__all__ = ["Delivery"]

_CALLBACK_WAIT = 1.0  # seconds that a callback waits for another thread to encode a payload

_current_thread = threading.local()
"""Its `is_supervisor` is True in the threads of supervisors, and so in callbacks."""


class Delivery:
    """Delivers the payloads of any number of threads over one stream at a time.

    Two locks, taken in this order:
    - `_sending` lets one caller after the other wait for room in the ledger, encode and send, so that callers who wait
      hold no encoded rows, and debug files have the order of sending. No thread that holds it waits for the budget.
    - `_starting` guards `_thread`: there is one supervisor as long as there is work, and a dead one is replaced.

    Args:
        name: The table.
        conversion: What encodes the first payloads.
        hooks: What the delivery needs from its writer.
        retry: How often a failing service is tried again.
        breaker: Pauses callers while most calls fail; shared by the deliveries of a writer.
        rate_limiter: Limits the streams that searches for rejected rows open; shared too.
        monitor: Counts what happens.
        in_flight: Where the ledger writes what is in flight.
        budget: The memory that it shares with other deliveries.
    """

    def __init__(
        self,
        name: str,
        *,
        conversion: Conversion,
        hooks: Hooks,
        retry: Retry,
        breaker: Breaker,
        rate_limiter: StreamRateLimiter,
        monitor: Monitor,
        in_flight: InFlight,
        budget: Budget,
    ) -> None:
        self._name = name
        self._breaker = breaker
        self._budget = budget
        self._ledger = Ledger(
            in_flight,
            max_bytes=limits.MAX_IN_FLIGHT_BYTES,
            bytes_per_row=0 if conversion.wire_format == "arrow" else limits.BYTES_PER_ROW,
            budget=budget,
        )
        self._connection = Connection(name, self._ledger, conversion, monitor.replayed)
        self._supervisor = Supervisor(
            name,
            ledger=self._ledger,
            connection=self._connection,
            hooks=hooks,
            retry=retry,
            breaker=breaker,
            rate_limiter=rate_limiter,
            monitor=monitor,
        )
        self._sending = threading.Lock()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def in_flight_bytes(self) -> int:
        """Encoded bytes that have no outcome yet."""
        return self._ledger.bytes

    @property
    def in_flight_rows(self) -> int:
        """Rows that have no outcome yet."""
        return self._ledger.rows

    @contextmanager
    def room(self, owner: Owner) -> Iterator[bool]:
        """Return a block that holds the lock `_sending` and has room; it encodes a payload and calls `send`.

        Args:
            owner: The batch that is to be sent.

        Yields:
            False where the batch has its outcome, so that nothing more of it needs to be sent.

        Raises:
            ClosedError: The delivery was stopped.
            ZerobusError: There is no room, and this is the supervisor's thread, the only one that makes room.
        """
        # A supervisor makes room in the budget, and does not wait for it.
        makes_room = getattr(_current_thread, "is_supervisor", False)
        while True:
            with self._turn_to_send():
                may_add = self._ledger.wait_for_room(owner, self._breaker.pause_left)
                if not may_add:
                    self._check_open(owner)
                if not may_add or makes_room or self._budget.has_room:
                    yield may_add
                    return
            # Without the lock: a supervisor that waited for it could not make the room that is waited for here.
            self._budget.wait_for_room(1.0)

    @contextmanager
    def _turn_to_send(self) -> Iterator[None]:
        """Hold the lock `_sending` in the block.

        Raises:
            ZerobusError: This is the supervisor's thread, and has to make room before it may wait.
        """
        in_callback = threading.current_thread() is self._thread
        if not self._sending.acquire(timeout=_CALLBACK_WAIT if in_callback else -1):
            raise self._no_room()
        try:
            if in_callback and not self._ledger.has_room:
                raise self._no_room()
            yield
        finally:
            self._sending.release()

    def _no_room(self) -> ZerobusError:
        return ZerobusError(
            f"A callback of a future submitted to its own writer of {self._name}, which has no room, and would "
            "never return: it runs in the thread that makes room. Submit in another thread"
        )

    def send(self, payload: Payload, owner: Owner, conversion: Conversion) -> None:
        """Send a payload, or queue it while no stream is open; called in a block of `room`.

        Args:
            payload: At least one row.
            owner: Receives the outcome.
            conversion: What encoded the payload.

        Raises:
            ClosedError: The delivery was stopped.
            ZerobusError: The system has no thread left for the supervisor.
        """
        if not self._ledger.add(Entry(payload, owner, conversion)):
            self._check_open(owner)
            return
        self._ensure_supervisor(owner)
        self._connection.send_queued()

    def _check_open(self, owner: Owner) -> None:
        """Raise if the delivery was stopped before the owner had its outcome."""
        if not owner.done:
            raise writer_closed(self._name)

    def cancel(self, owner: Owner) -> None:
        """Forget what is left of a batch: nothing of it is sent from now on."""
        self._ledger.cancel(owner)

    def stop(self) -> None:
        """Have the stream closed; what has no outcome fails with ClosedError."""
        error = ClosedError(f"The writer of {self._name} was closed before the batch was acknowledged")
        fail_all(self._ledger, self._ledger.close(), error)

    def join(self, timeout: float | None) -> None:
        """Wait until the stream is closed, `timeout` seconds at most, after `stop`."""
        with self._starting:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _ensure_supervisor(self, owner: Owner) -> None:
        with self._starting:
            if self._thread is not None and self._thread.is_alive():
                return
            thread = threading.Thread(target=self._run_supervisor, name=f"zerobus-{self._name}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the system has no thread left
                self._ledger.cancel(owner)
                raise unexpected(error, f"A thread for {self._name} did not start") from error
            self._thread = thread

    def _run_supervisor(self) -> None:
        _current_thread.is_supervisor = True
        try:
            self._supervisor.run()
        except BaseException as error:  # noqa: BLE001  such as a panic of the SDK's Rust code
            with self._starting:  # a thread that adds an entry from here on starts another supervisor
                self._thread = None
                left = self._ledger.clear()
            fail_all(self._ledger, left, unexpected(error, f"Delivery to {self._name} failed"))

"""One bundle: batches go out while earlier ones are in flight, and all are settled before it ends."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from beam_zerobus.errors import RowError
from beam_zerobus.sink.elements import Origin
from beam_zerobus.sink.rows import Rows
from beam_zerobus.writer.config import WriterConfig
from beam_zerobus.writer.result import TransmissionResult
from beam_zerobus.writer.shared import Lease, acquire
from beam_zerobus.writer.submission import Submission
from beam_zerobus.writer.zerobus_writer import ZerobusWriter

__all__ = ["Bundle", "Settled"]

_MAX_UNSETTLED_BYTES = 64 << 20  # above what a stream has in flight, which is to be the narrower gate
_MAX_UNSETTLED_BATCHES = 1_000
_MAX_UNSETTLED_ELEMENTS = 200_000  # kept for dead letters, at some hundred bytes each


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A batch whose rows are all acknowledged or rejected.

    Attributes:
        origin: Which element each of its rows was.
        count: How many rows it has, those included that never got as far as the writer.
        rejected: The rejected rows, by their number among all rows.
        result: What the writer says of the rows that got there; None where none did.
        encode_ms: Milliseconds that encoding took.
    """

    origin: Origin
    count: int
    rejected: tuple[RowError, ...]
    result: TransmissionResult | None
    encode_ms: float


@dataclass(slots=True, eq=False)
class _Sent:
    rows: Rows
    submission: Submission | None
    nbytes: int
    elements: int

    @property
    def done(self) -> bool:
        return self.submission is None or self.submission.done

    def settle(self) -> Settled:
        """Wait for the outcome, and number the rejected rows as the elements are."""
        result = self.submission.result() if self.submission is not None else None
        rejected = list(self.rows.rejected)
        if result is not None:
            rejected += [error.at(self.rows.number(error.index)) for error in result.failed_rows]
        return Settled(
            origin=self.rows.origin,
            count=self.rows.count,
            rejected=tuple(sorted(rejected, key=lambda error: error.index)),
            result=result,
            encode_ms=self.submission.encode_seconds * 1000 if self.submission is not None else 0.0,
        )


class Bundle:
    """Sends the batches of one bundle at a time over the process's shared writer.

    Invariants, under the one lock:
    - `_unsettled` holds the batches sent and not yet settled, oldest first; `_bytes` is the sum of their sizes,
      `_elements` the number of elements they keep.
    - `_lease` is held from the first use of the writer to `finish` or `abandon`; nothing is opened before.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lease: Lease | None = None
        self._safeguard: weakref.finalize[..., Bundle]
        self._unsettled: deque[_Sent] = deque()
        self._bytes = 0
        self._elements = 0

    def writer(self, config: WriterConfig) -> ZerobusWriter:
        """Return the process's writer for `config`, pinned until the bundle ends."""
        with self._lock:
            if self._lease is None:
                self._lease = acquire(config)
                self._safeguard = _release_when_dropped(self, self._lease)
            return self._lease.writer

    def send(self, writer: ZerobusWriter, rows: Rows) -> None:
        """Hand a batch over; returns when it is queued.

        Raises:
            ConversionError: The batch's schema cannot fit the table's.
        """
        self._add(rows, writer.submit(rows.batch) if rows.batch.num_rows else None)

    def reject(self, rows: Rows) -> None:
        """Take rows that the writer cannot take, and which say so themselves."""
        self._add(rows, None)

    def _add(self, rows: Rows, submission: Submission | None) -> None:
        nbytes = submission.arrow_bytes if submission is not None else 0
        sent = _Sent(rows, submission, nbytes, len(rows.origin.elements.values))
        with self._lock:
            self._unsettled.append(sent)
            self._bytes += sent.nbytes
            self._elements += sent.elements

    def settled(self, *, all_of_them: bool = False) -> Iterator[Settled]:
        """Yield, in order, the batches that have come back; wait only for what is too much to keep, or for all.

        Raises:
            ZerobusError: A batch failed as a whole.
        """
        while (sent := self._next_settled(all_of_them)) is not None:
            yield sent.settle()

    def _next_settled(self, all_of_them: bool) -> _Sent | None:
        with self._lock:
            if not self._unsettled:
                return None
            if not (all_of_them or self._too_much or self._unsettled[0].done):
                return None
            sent = self._unsettled.popleft()
            self._bytes -= sent.nbytes
            self._elements -= sent.elements
            return sent

    @property
    def _too_much(self) -> bool:
        return (
            len(self._unsettled) > _MAX_UNSETTLED_BATCHES
            or self._bytes > _MAX_UNSETTLED_BYTES
            or self._elements > _MAX_UNSETTLED_ELEMENTS
        )

    def drain_counts(self) -> dict[str, float]:
        """Return what the writer counted since some bundle asked last; nothing where none was used."""
        with self._lock:
            return asdict(self._lease.drain_counters()) if self._lease is not None else {}

    def finish(self) -> None:
        """Give the writer back; every batch is settled."""
        with self._lock:
            lease, self._lease = self._lease, None
        self._give_back(lease)

    def abandon(self) -> None:
        """Take back what is not sent yet, and give the writer back: the bundle failed and will come again."""
        with self._lock:
            unsettled, lease = list(self._unsettled), self._lease
            self._unsettled.clear()
            self._bytes, self._elements, self._lease = 0, 0, None
        for sent in unsettled:
            if lease is not None and sent.submission is not None and not sent.submission.done:
                lease.writer.cancel(sent.submission)
        self._give_back(lease)

    def _give_back(self, lease: Lease | None) -> None:
        """Release the writer, once what it recorded is exported: a worker may be gone without notice after a bundle."""
        if lease is not None:
            self._safeguard.detach()
            lease.writer.flush_telemetry()
            lease.release()


def _release_when_dropped(bundle: Bundle, lease: Lease) -> weakref.finalize[..., Bundle]:
    """Have the lease released if the bundle's DoFn is dropped without teardown, as some runners do after a failure."""

    def release() -> None:
        # The garbage collector may call this in a thread that is in the registry just now.
        threading.Thread(target=lease.release, name="zerobus-release", daemon=True).start()

    safeguard = weakref.finalize(bundle, release)
    safeguard.atexit = False
    return safeguard

"""`Entry`: a payload between submission and outcome, with the search for its rejected rows once it needs one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa

from beam_zerobus.delivery import limits
from beam_zerobus.delivery.search import Found, Search, isolate
from beam_zerobus.encoding import Payload
from beam_zerobus.encoding.conversion import Conversion
from beam_zerobus.errors import RowError, ZerobusError
from beam_zerobus.schema import RowErrorType

__all__ = ["Entry", "Owner"]


class Owner(Protocol):
    """The batch that a payload is part of; it receives the payload's outcome.

    The delivery calls it without holding a lock.
    """

    batch: pa.RecordBatch | pa.Table

    @property
    def done(self) -> bool:
        """True when the batch has its outcome, so that nothing of it needs to be sent."""
        ...

    def settle(self, acknowledged: Sequence[np.ndarray | range], rejected: Sequence[RowError], attempts: int) -> None:
        """Receive the outcome of one payload."""
        ...

    def replaced(
        self, old: Payload, payloads: Sequence[Payload], *, acknowledged: Sequence[np.ndarray | range]
    ) -> None:
        """Receive the payloads that an old one was encoded to again, except for rows of it that are acknowledged."""
        ...

    def acknowledge(self, rows: Sequence[np.ndarray | range]) -> None:
        """Receive rows that are durable, of a payload that will not be settled."""
        ...

    def fail(self, error: ZerobusError) -> None:
        """Receive an error that concerns the whole batch."""
        ...

    def note(self, event: str, /, **attributes: object) -> None:
        """Receive an event for the batch's span."""
        ...


@dataclass(slots=True, eq=False)
class Entry:
    """A payload in the ledger.

    Once the SDK holds its records, an entry keeps none: they are several times the batch that they were made of, and
    are encoded again if they have to be sent again.

    Attributes:
        offset: Its offset on the current stream; meaningless while it is queued.
        sent_at: When it was passed to the current stream, of `time.monotonic`.
        attempts: How often it was passed to a stream.
        suspect: It was in flight when a call was rejected, so it is sent alone to see whether it was the one.
        cancelled: It was cancelled after it was sent; see `Ledger`.
        sent_piece: The piece of the search that was sent last.
        schema_confirmed: The table's schema was fetched after it was encoded, and had not changed.
        search: The search for its rejected rows, once its call was rejected alone.
        piece: The rows that the search wants to send next, counted in the payload.
        accepted: The pieces that were acknowledged.
        found: The outcome of the search, rows counted in the payload.
    """

    payload: Payload
    owner: Owner
    conversion: Conversion
    offset: int = -1
    sent_at: float = 0.0
    attempts: int = 0
    suspect: bool = False
    cancelled: bool = False
    sent_piece: range | None = None
    schema_confirmed: bool = False
    search: Search | None = None
    piece: range | None = None
    accepted: list[range] = field(default_factory=list)
    found: Found | None = None

    @property
    def goes_alone(self) -> bool:
        """True when nothing else may be in flight with it."""
        return self.suspect or self.search is not None

    def to_send(self) -> Payload:
        """Return what the next call carries, encoded again where the records are gone."""
        if not self.payload.has_records:
            self.payload = self.conversion.encode_again(self.owner.batch, self.payload)
        return self.payload if self.piece is None else self.payload.slice(self.piece)

    def drop_records(self) -> None:
        """Forget the records, which the SDK holds now; a call that may be searched needs them soon."""
        if not self.goes_alone:
            self.payload = self.payload.without_records()

    def note_sent(self) -> int:
        """Record that the call was sent; return how many of its rows had been sent before."""
        if self.search is None:
            return len(self.payload.rows) if self.attempts > 1 else 0
        again, self.sent_piece = self.sent_piece == self.piece, self.piece
        return len(self.piece or ()) if again else 0

    def piece_accepted(self) -> bool:
        """Record that the call was acknowledged; return whether its search wants another piece sent."""
        if self.search is None or self.piece is None:
            return False
        self.accepted.append(self.piece)
        return self._continue(self.search, None)

    def piece_rejected(self, reason: str, *, probes: int) -> bool:
        """Record that the call was rejected alone; return whether its search, which may begin now, wants more sent.

        Args:
            reason: What the service said.
            probes: Single rows that a new search tries before it gives the call up.
        """
        if self.search is None:
            self.search = isolate(
                len(self.payload.rows), reason, probes=probes, max_rejections=limits.MAX_SEARCH_STREAMS
            )
        return self._continue(self.search, reason)

    def _continue(self, search: Search, reason: str | None) -> bool:
        try:
            self.piece = next(search) if self.piece is None else search.send(reason)
        except StopIteration as end:
            self.found = end.value
            return False
        return True

    def unacknowledged_rows(self) -> np.ndarray:
        """Return the rows that are not acknowledged yet, counted in the batch."""
        rows = np.asarray(self.payload.rows, dtype=np.int64)
        return np.delete(rows, [row for piece in self.accepted for row in piece])

    def acknowledged_rows(self) -> list[np.ndarray | range]:
        """Return the acknowledged rows of a settled entry, or of one under search, counted in the batch."""
        if self.search is None:
            return [self.payload.rows]
        return [self.payload.rows[piece.start : piece.stop] for piece in self.accepted]

    def row_errors(self) -> list[RowError]:
        """Return the rejected rows of a settled entry, counted in the batch."""
        if self.found is None:
            return []
        errors = [
            self._row_error(row, RowErrorType.REJECTED_BY_SERVICE, f"Zerobus rejected the row: {reason}; correct it")
            for row, reason in self.found.rejected.items()
        ]
        if self.found.given_up is not None:
            why = f"Zerobus rejected the row's call, and it was not tried alone: {self.found.given_up}; send it again"
            untried = set(range(len(self.payload.rows))) - self.found.rejected.keys()
            untried.difference_update(*self.accepted)
            errors += [self._row_error(row, RowErrorType.REJECTED_UNTRIED, why) for row in sorted(untried)]
        return errors

    def settle(self) -> None:
        """Give the owner this entry's outcome."""
        self.owner.settle(self.acknowledged_rows(), self.row_errors(), self.attempts)

    def _row_error(self, row: int, error_type: RowErrorType, message: str) -> RowError:
        return RowError(int(self.payload.rows[row]), error_type.value, message, "service")

"""`Entry`: a payload between submission and outcome, with the search for its rejected rows once it needs one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from beam_zerobus.delivery import limits
from beam_zerobus.delivery.search import RowSearch
from beam_zerobus.encoding import Payload
from beam_zerobus.encoding.conversion import Conversion
from beam_zerobus.errors import RowError, ZerobusError
from beam_zerobus.schema import RowErrorType

__all__ = ["Entry", "Owner"]


class Owner(Protocol):
    """The batch that a payload is part of; it receives the payload's outcome.

    What may end it (`settle`, `replaced`, `fail`) is called without a lock: it runs callbacks of users.
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

    Once the SDK holds its records, an entry keeps none: they take several times the memory of their batch,
    and are encoded again if they have to be sent again.

    Attributes:
        offset: Its offset on the current stream; meaningless while it is queued.
        sent_at: When it was passed to the current stream, of `time.monotonic`.
        attempts: How often it was passed to a stream.
        suspect: It was in flight when a call was rejected, so it is sent alone to see whether it was the one.
        cancelled: It was cancelled after it was sent; see `Ledger`.
        schema_confirmed: The table's schema was fetched after it was encoded, and had not changed.
        search: The search for its rejected rows, once its call was rejected alone.
    """

    payload: Payload
    owner: Owner
    conversion: Conversion
    offset: int = -1
    sent_at: float = 0.0
    attempts: int = 0
    suspect: bool = False
    cancelled: bool = False
    schema_confirmed: bool = False
    search: RowSearch | None = None

    @property
    def goes_alone(self) -> bool:
        """True when nothing else may be in flight with it."""
        return self.suspect or self.search is not None

    def to_send(self) -> Payload:
        """Return what the next call carries, encoded again where the records are gone."""
        if not self.payload.has_records:
            self.payload = self.conversion.encode_again(self.owner.batch, self.payload)
        return self.payload if self.search is None else self.payload.slice(self.search.piece)

    def drop_records(self) -> None:
        """Forget the records, which the SDK holds now; a call that may be searched needs them soon."""
        if not self.goes_alone:
            self.payload = self.payload.without_records()

    def note_sent(self) -> int:
        """Record that the call was sent; return how many of its rows had been sent before."""
        if self.search is None:
            return len(self.payload.rows) if self.attempts > 1 else 0
        return len(self.search.piece) if self.search.note_sent() else 0

    def accepted(self) -> bool:
        """Record that the call was acknowledged; return whether its search has another piece to send."""
        return self.search is not None and self.search.answer(None)

    def rejected(self, reason: str, *, probes: int) -> bool:
        """Record that the call was rejected alone, and search its rows; return whether there is a piece to send.

        Args:
            reason: What the service said.
            probes: Single rows that a new search tries before it gives the call up.
        """
        if self.search is not None:
            return self.search.answer(reason)
        rows = len(self.payload.rows)
        self.search = RowSearch(rows, reason, probes=probes, max_rejections=limits.MAX_SEARCH_STREAMS)
        return self.search.result is None

    def unacknowledged_rows(self) -> np.ndarray:
        """Return the rows that are not acknowledged yet, counted in the batch."""
        rows = np.asarray(self.payload.rows, dtype=np.int64)
        accepted = [] if self.search is None else self.search.accepted
        return np.delete(rows, [row for piece in accepted for row in piece])

    def acknowledged_rows(self) -> list[np.ndarray | range]:
        """Return the acknowledged rows of a settled entry, or of one under search, counted in the batch."""
        if self.search is None:
            return [self.payload.rows]
        return [self.payload.rows[piece.start : piece.stop] for piece in self.search.accepted]

    def row_errors(self) -> list[RowError]:
        """Return the rejected rows of a settled entry, counted in the batch."""
        search = self.search
        if search is None or search.result is None:
            return []
        errors = [
            self._row_error(row, RowErrorType.REJECTED_BY_SERVICE, f"Zerobus rejected the row: {reason}; correct it")
            for row, reason in search.result.rejected.items()
        ]
        if search.result.given_up is not None:
            given_up = search.result.given_up
            why = f"Zerobus rejected the row's call, and it was not tried alone: {given_up}; send it again"
            untried = set(range(len(self.payload.rows))) - search.result.rejected.keys()
            untried.difference_update(*search.accepted)
            errors += [self._row_error(row, RowErrorType.REJECTED_UNTRIED, why) for row in sorted(untried)]
        return errors

    def settle(self) -> None:
        """Give the owner this entry's outcome."""
        self.owner.settle(self.acknowledged_rows(), self.row_errors(), self.attempts)

    def _row_error(self, row: int, error_type: RowErrorType, message: str) -> RowError:
        return RowError(int(self.payload.rows[row]), error_type.value, message, "service")

"""The entries of a delivery's ledger: what was handed over and is not settled."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from beam_zerobus.delivery.search import Found, Search
from beam_zerobus.encoding import Payload
from beam_zerobus.encoding.conversion import Conversion
from beam_zerobus.errors import RowError
from beam_zerobus.schema import RowErrorType
from beam_zerobus.writer.submission import Submission

__all__ = ["Entry"]


@dataclass(slots=True, eq=False)
class Entry:
    """A payload in the ledger.

    Once the SDK holds its records, an entry keeps none: they are several times the batch that they were made of, and
    are made of it again where they have to be sent again.

    Attributes:
        offset: Its offset on the current stream; meaningless while it is queued.
        attempts: How often it was handed to a stream.
        suspect: It was in flight when a call was rejected, so it is sent alone to see whether it was the one.
        schema_confirmed: The table's schema was fetched again since it came, and had not changed.
        search: The search for its rejected rows, once it was.
        piece: The rows of it, counted in the payload, that the search wants to be sent now.
        accepted: The pieces that were acknowledged.
        found: The outcome of the search, rows counted in the payload.
    """

    payload: Payload
    submission: Submission
    conversion: Conversion
    offset: int = -1
    attempts: int = 0
    suspect: bool = False
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
        """Return what the next call carries."""
        if not self.payload.has_records:
            self.payload = self.conversion.encode_again(self.submission.batch, self.payload)
        return self.payload if self.piece is None else self.payload.slice(self.piece)

    def let_records_go(self) -> None:
        """Forget the records, which the SDK holds now; a call that may be searched needs them soon."""
        if not self.goes_alone:
            self.payload = self.payload.without_records()

    def acknowledged_rows(self) -> list[np.ndarray | range]:
        """Return the acknowledged rows of a settled entry, counted in the batch."""
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
            errors += [self._row_error(row, RowErrorType.REJECTED_UNTRIED, why) for row in sorted(untried)]
        return errors

    def _row_error(self, row: int, error_type: RowErrorType, message: str) -> RowError:
        return RowError(int(self.payload.rows[row]), error_type.value, message, "service")

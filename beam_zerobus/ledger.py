"""The entries of a delivery's ledger: what was handed over and is not settled."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from beam_zerobus.conversion import Conversion
from beam_zerobus.encoding import Payload
from beam_zerobus.errors import RowError
from beam_zerobus.isolation import Search
from beam_zerobus.submission import Submission

__all__ = ["REFUSED_BY_SERVICE", "Entry"]

REFUSED_BY_SERVICE = "refused_by_service"


@dataclass(slots=True, eq=False)
class Entry:
    """A payload in the ledger.

    Attributes:
        offset: Its offset on the current stream; meaningless while it is queued.
        attempts: How often it was handed to a stream.
        suspect: It was in flight when a call was refused, so it is sent alone to see whether it was the one.
        search: The search for its refused rows, once it was.
        piece: The rows of it, counted in the payload, that the search wants to be sent now.
        accepted: The pieces that were acknowledged.
        refused: The refused rows, counted in the payload, with reasons; set when the search is over.
    """

    payload: Payload
    submission: Submission
    conversion: Conversion
    offset: int = -1
    attempts: int = 0
    suspect: bool = False
    search: Search | None = None
    piece: range | None = None
    accepted: list[range] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)

    @property
    def goes_alone(self) -> bool:
        """True when nothing else may be in flight with it."""
        return self.suspect or self.search is not None

    def to_send(self) -> Payload:
        """Return what the next call carries."""
        return self.payload if self.piece is None else self.payload.slice(self.piece)

    def acknowledged_rows(self) -> list[np.ndarray | range]:
        """Return the acknowledged rows of a settled entry, counted in the batch."""
        if self.search is None:
            return [self.payload.rows]
        return [self.payload.rows[piece.start : piece.stop] for piece in self.accepted]

    def row_errors(self) -> list[RowError]:
        """Return the refused rows of a settled entry, counted in the batch."""
        return [
            RowError(int(self.payload.rows[row]), REFUSED_BY_SERVICE, f"Zerobus refused the row: {reason}", "service")
            for row, reason in self.refused.items()
        ]

"""What to do about a failed stream, as a pure function; `docs/delivery.md` has the same table in words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from beam_zerobus.delivery.failures import FailureKind, StreamFailure

__all__ = ["Action", "Situation", "decide"]


class Action(Enum):
    """What the supervisor does next. In each case payloads without acknowledgement are sent again or fail."""

    REOPEN = auto()
    """Open a new stream at once; not counted as a failure."""
    RENEW_TOKEN = auto()
    """Fetch a new token and open a new stream at once."""
    RETRY = auto()
    """Wait with backoff, then open a new stream."""
    RETRY_WITH_NEW_TOKEN = auto()
    """The same, with a new token."""
    REFRESH_SCHEMA = auto()
    """Fetch the table's schema; convert again if it changed, else decide anew with `schema_confirmed`."""
    SEND_SINGLY = auto()
    """Send each call that was in flight alone, to see which one is rejected."""
    SEARCH = auto()
    """Search the rejected rows of the only call in flight."""
    FAIL_BATCH = auto()
    """Fail the batch whose call the SDK itself did not accept; the others are sent."""
    FAIL = auto()
    """Fail everything in the ledger: trying again cannot help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What matters beside the failure itself.

    Attributes:
        calls_in_flight: Calls that the stream had not acknowledged.
        schema_confirmed: The schema of all these calls was fetched after they were encoded, and had not changed.
        reopened: A stream was reopened for a rotation, and nothing was acknowledged since.
        token_renewed: The token was renewed, and nothing was acknowledged since.
    """

    calls_in_flight: int = 0
    schema_confirmed: bool = False
    reopened: bool = False
    token_renewed: bool = False


def decide(failure: StreamFailure, situation: Situation) -> Action:
    """Return what to do about a stream that has ended or could not be opened.

    Example:
        >>> lost = StreamFailure(FailureKind.TRANSIENT, "UNAVAILABLE", "connection lost")
        >>> decide(lost, Situation(calls_in_flight=3))
        <Action.RETRY: 3>
    """
    if failure.kind is FailureKind.ROTATION:
        return Action.RETRY if situation.reopened else Action.REOPEN
    if failure.kind is FailureKind.UNAUTHENTICATED:
        if not situation.token_renewed:
            return Action.RENEW_TOKEN
        # A new token is rejected too. Mid-stream the service had accepted it, so it may be a passing fault.
        return Action.FAIL if failure.while_opening else Action.RETRY_WITH_NEW_TOKEN
    if failure.kind is FailureKind.NOT_FOUND and not (failure.while_opening or situation.reopened):
        return Action.REOPEN  # the table may have been dropped and made again; opening shows whether it is there
    if failure.kind is FailureKind.REJECTED:
        return _decide_rejected(failure, situation)
    return Action.FAIL if failure.is_final else Action.RETRY


def _decide_rejected(failure: StreamFailure, situation: Situation) -> Action:
    # Opening a stream sends nothing but the schema, and the SDK does not always pass on why it was rejected.
    if (failure.schema_changed or failure.while_opening) and not situation.schema_confirmed:
        return Action.REFRESH_SCHEMA
    if situation.calls_in_flight:
        return Action.SEARCH if situation.calls_in_flight == 1 else Action.SEND_SINGLY
    return Action.FAIL if failure.while_opening else Action.FAIL_BATCH

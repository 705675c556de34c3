"""Reads the header ``Retry-After``: seconds, or a date."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["MAX_RETRY_AFTER", "parse_retry_after"]

MAX_RETRY_AFTER = 60.0
"""Seconds that a Retry-After is followed at most."""


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds that a service asks to wait, 60 at most; None where it asks for nothing that can be read.

    >>> parse_retry_after("7"), parse_retry_after("86400"), parse_retry_after("soon")
    (7.0, 60.0, None)
    """
    text = (value or "").strip()[:64]
    if re.fullmatch(r"[0-9]+", text):
        return min(float(text), MAX_RETRY_AFTER)
    try:
        date = parsedate_to_datetime(text)
        left = (date.replace(tzinfo=date.tzinfo or UTC) - (now or datetime.now(UTC))).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(left, 0.0), MAX_RETRY_AFTER)

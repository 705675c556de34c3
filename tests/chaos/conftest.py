"""Shared by the chaos tests."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that hangs is given up after 1.5 s instead of a minute, so that many hangs fit in the time."""
    monkeypatch.setattr("beam_zerobus.delivery.limits.ACK_TIMEOUT", 1.5)

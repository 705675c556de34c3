"""A failure of telemetry is logged, once as a warning, and never raised."""

from __future__ import annotations

import logging

import pytest

from beam_zerobus.telemetry import guard
from beam_zerobus.telemetry.guard import harmless


class Fragile:
    def __init__(self) -> None:
        self.calls: list[int] = []

    @harmless
    def work(self, number: int, *, fails: bool = False) -> None:
        """Work."""
        if fails:
            raise ValueError("".join(["Al", "ice"]))
        self.calls.append(number)


@pytest.fixture(autouse=True)
def first_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_warn_once", guard.functools.cache(guard._warn_once.__wrapped__))


def test_failures_are_hidden_and_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "beam_zerobus")
    fragile = Fragile()
    for number in range(3):
        fragile.work(number, fails=number < 2)
    assert fragile.calls == [2]
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.DEBUG, logging.DEBUG]
    assert "ValueError" in caplog.records[1].getMessage()
    assert not any("Alice" in record.getMessage() for record in caplog.records)


def test_a_harmless_method_keeps_its_name_and_docstring() -> None:
    assert (Fragile.work.__name__, Fragile.work.__doc__) == ("work", "Work.")


def test_the_end_of_the_program_is_not_hidden() -> None:
    class Interrupted:
        @harmless
        def work(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Interrupted().work()

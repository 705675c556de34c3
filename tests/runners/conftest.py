"""Fixtures for the tests on runners."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beam_zerobus.emulator import Emulator
from beam_zerobus.writer.shared import close_all
from tests.runners import job
from tests.runners.support import zerobus_environment


@pytest.fixture
def zerobus() -> Iterator[Emulator]:
    """An emulator with the job's table; the credentials are always the same, for workers that outlive a test."""
    with Emulator(client_id="runners", client_secret="known to tests only") as emulator:
        emulator.create_table(job.TABLE, job.COLUMNS)
        yield emulator


@pytest.fixture
def environment(zerobus: Emulator) -> dict[str, str]:
    """The environment of a job and its workers."""
    return zerobus_environment(zerobus)


@pytest.fixture
def worker_here(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process be the worker."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    yield
    close_all()

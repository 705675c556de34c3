"""Fixtures for the pipelines: a local Zerobus that the environment names, as it would name a workspace."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beam_zerobus.emulator import Emulator
from beam_zerobus.writer.shared import close_all


@pytest.fixture
def zerobus(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """The local Zerobus, in the environment."""
    for variable, value in {
        "ZEROBUS_ENDPOINT": emulator.endpoint,
        "DATABRICKS_HOST": emulator.workspace_url,
        "DATABRICKS_CLIENT_ID": emulator.client_id,
        "DATABRICKS_CLIENT_SECRET": emulator.client_secret,
    }.items():
        monkeypatch.setenv(variable, value)
    yield emulator
    close_all()

"""Shared by the tests of `check`: a table that can be written, and an environment that has everything."""

from __future__ import annotations

import os

import pytest

from beam_zerobus.emulator import Emulator
from tests.check.state import COLUMNS, TABLE, State


@pytest.fixture
def state(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> State:
    """A table that can be written, and an environment that has everything."""
    environment = {
        "ZEROBUS_ENDPOINT": emulator.endpoint,
        "DATABRICKS_HOST": emulator.workspace_url,
        "DATABRICKS_CLIENT_ID": emulator.client_id,
        "DATABRICKS_CLIENT_SECRET": emulator.client_secret,
    }
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("DATABRICKS_TOKEN", "DATABRICKS_WAREHOUSE_ID"):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    environment["DATABRICKS_WAREHOUSE_ID"] = emulator.warehouse_id  # not set, as most jobs need none
    return State(emulator, emulator.create_table(TABLE, COLUMNS), environment, monkeypatch)

"""Pytest fixtures for code that writes to Zerobus: a local Zerobus, with real Delta tables, in the test's own process.

Name the module in your `conftest.py`; it needs the extra ``emulator``:

    pytest_plugins = ["beam_zerobus.testing"]

and use its fixtures:

    def test_readings_arrive(zerobus):
        zerobus.create_table("main.iot.air_quality", "device STRING NOT NULL, co2 INT")
        run_my_pipeline()  # WriteToZerobus and ZerobusWriter find the endpoint and the credentials in the environment
        assert zerobus.table("main.iot.air_quality").count_rows() == 3
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beam_zerobus.emulator import Emulator
from beam_zerobus.workspace.credentials import OAuthClientCredentials
from beam_zerobus.writer.shared import close_all

__all__ = ["zerobus", "zerobus_credentials"]


@pytest.fixture
def zerobus(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """A local Zerobus without tables; the test's environment has its addresses and credentials."""
    with Emulator() as emulator:
        for variable, value in (
            ("ZEROBUS_ENDPOINT", emulator.endpoint),
            ("DATABRICKS_HOST", emulator.workspace_url),
            # the names that the official SDKs' examples read
            ("ZEROBUS_SERVER_ENDPOINT", emulator.endpoint),
            ("DATABRICKS_WORKSPACE_URL", emulator.workspace_url),
            ("DATABRICKS_CLIENT_ID", emulator.client_id),
            ("DATABRICKS_CLIENT_SECRET", emulator.client_secret),
        ):
            monkeypatch.setenv(variable, value)
        yield emulator
        close_all()


@pytest.fixture
def zerobus_credentials(zerobus: Emulator) -> OAuthClientCredentials:
    """Credentials that the local Zerobus accepts, for code that takes them as an argument."""
    return OAuthClientCredentials(client_id=zerobus.client_id, client_secret=zerobus.client_secret)

"""Pytest plugin for code that writes to Zerobus: an emulator of it, with real Delta tables, in the test's own process.

Pytest finds it by itself where beam_zerobus is installed with the extra ``emulator``; a test names the fixture:

    def test_readings_arrive(zerobus):
        zerobus.create_table("main.iot.air_quality", "device STRING NOT NULL, co2 INT")
        run_my_pipeline()  # WriteToZerobus and ZerobusWriter find the endpoint and the credentials in the environment
        assert zerobus.table("main.iot.air_quality").count_rows() == 3

A marker makes the tables, and sets faults and other arguments of `Emulator`:

    @pytest.mark.zerobus(tables={"main.iot.air_quality": "device STRING"}, faults=Faults(seed=1, rate=0.2))
    def test_readings_arrive_in_spite_of_faults(zerobus): ...
"""

# Pytest imports this in each of its runs, so what takes time is imported by the fixtures.

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from beam_zerobus.emulator import Emulator
    from beam_zerobus.workspace.credentials import OAuthClientCredentials

__all__ = ["zerobus", "zerobus_credentials"]


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        "zerobus(*, tables=None, **options): tables of the fixture zerobus, by name, as DDL or Arrow schema; "
        "options are those of beam_zerobus.emulator.Emulator, such as faults",
    )


@pytest.fixture
def zerobus(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An emulator; the test's environment has its addresses and credentials."""
    from beam_zerobus.emulator import Emulator  # noqa: PLC0415
    from beam_zerobus.emulator.environment import environment_of  # noqa: PLC0415
    from beam_zerobus.writer.shared import close_all  # noqa: PLC0415

    tables, options = _marked(request)
    with Emulator(**options) as emulator:
        for name, columns in tables.items():
            emulator.create_table(name, columns)
        for variable, value in environment_of(emulator).items():
            monkeypatch.setenv(variable, value)
        yield emulator
        close_all()


@pytest.fixture
def zerobus_credentials(zerobus: Emulator) -> OAuthClientCredentials:
    """Credentials that the emulator accepts, for code that takes them as an argument."""
    from beam_zerobus.workspace.credentials import OAuthClientCredentials  # noqa: PLC0415

    return OAuthClientCredentials(client_id=zerobus.client_id, client_secret=zerobus.client_secret)


def _marked(request: pytest.FixtureRequest) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """Return the tables and the emulator's options of the test's marker, the nearest one."""
    marker = request.node.get_closest_marker("zerobus")
    if marker is None:
        return {}, {}
    from beam_zerobus.emulator import Emulator  # noqa: PLC0415
    from beam_zerobus.options.flags import nearest  # noqa: PLC0415

    if marker.args:
        raise pytest.UsageError(f"{request.node.nodeid}: pytest.mark.zerobus takes names only, such as tables={{...}}")
    options = dict(marker.kwargs)
    known = {"tables", *inspect.signature(Emulator).parameters}
    if unknown := sorted(options.keys() - known):
        near = nearest(unknown[0], known)
        remedy = f"did you mean {near!r}?" if near else f"there are: {', '.join(sorted(known))}"
        raise pytest.UsageError(f"{request.node.nodeid}: pytest.mark.zerobus has no argument {unknown[0]!r}; {remedy}")
    return options.pop("tables", None) or {}, options

"""Shared by all tests: the seed in the header, a local Zerobus, and writers to it."""

from __future__ import annotations

import faulthandler
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import settings

from beam_zerobus import OAuthClientCredentials, ZerobusError, ZerobusWriter
from beam_zerobus.emulator import Emulator

faulthandler.enable()

# Two noisy cores: a slow example is no failure, and each test has a timeout anyway.
settings.register_profile("beam_zerobus", deadline=None)
settings.load_profile("beam_zerobus")


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.getoption('--hypothesis-seed')} (set another with --hypothesis-seed=N)"


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """A program that quietens the log while it runs must not do so for the tests after it."""
    loggers = [logging.getLogger(), logging.getLogger("beam_zerobus")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A local Zerobus that lands rows in Delta tables."""
    with Emulator(record_calls=True) as running:
        yield running


@pytest.fixture
def connect(emulator: Emulator) -> Iterator[Callable[..., ZerobusWriter]]:
    """Make writers to the emulator, with right credentials unless told otherwise; they are closed at the end."""
    writers: list[ZerobusWriter] = []

    def make(table: str = "main.iot.air", **options: Any) -> ZerobusWriter:
        writer = ZerobusWriter(
            table,
            **{
                "endpoint": emulator.endpoint,
                "workspace_url": emulator.workspace_url,
                "credentials": OAuthClientCredentials(
                    client_id=emulator.client_id, client_secret=emulator.client_secret
                ),
                **options,
            },
        )
        writers.append(writer)
        return writer

    yield make
    for writer in writers:
        with suppress(ZerobusError):  # a test that leaves a failure behind has asserted it
            writer.close(5)

"""Shared by all tests: the seed in the header, an emulator, and writers to it."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from beam_zerobus import OAuthClientCredentials, ZerobusError, ZerobusWriter
from beam_zerobus.emulator import Emulator
from beam_zerobus.emulator.certificates import make_certificates

faulthandler.enable()

# A suite that a script started with `&` ignores Ctrl-C, and so would the processes that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Two noisy cores: a slow example is no failure, and each test has a timeout anyway. More examples, or other ones:
# --hypothesis-profile=default, --hypothesis-seed=N.
settings.register_profile("beam_zerobus", deadline=None, max_examples=50)
settings.load_profile("beam_zerobus")

# Markers of tests that build programs in other languages.
BUILDS = {"dataflow", "flink", "go", "java", "kafka", "languages", "prism", "sdks"}


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.getoption('--hypothesis-seed')} (set another with --hypothesis-seed=N)"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Leave what is imported to live until the end: the garbage collector would look at a million objects again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)  # Hypothesis marks its tests in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests of many examples more time than others: on a busy machine each example takes longer."""
    for item in items:
        if item.get_closest_marker("hypothesis") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """A program that quietens the log while it runs must not do so for the tests after it."""
    loggers = [logging.getLogger(), logging.getLogger("beam_zerobus")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture(scope="session")
def unused_authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEM file of one certificate authority, which signs nothing here."""
    directory = tmp_path_factory.mktemp("authority")
    make_certificates(directory / "ca.pem", directory / "server.pem", "127.0.0.1", [])
    return directory / "ca.pem"


@pytest.fixture(autouse=True)
def one_authority(request: pytest.FixtureRequest, unused_authority: Path) -> Iterator[None]:
    """Let a test with an emulator trust one authority: the SDK reads all that the system has for each stream.

    That is a quarter of such a test's CPU. Builds in other languages fetch packages, and need the system's authorities.
    """
    has_zerobus = {"emulator", "zerobus"} & {*request.fixturenames}
    if not has_zerobus or any(mark.name in BUILDS for mark in request.node.iter_markers()):
        yield
        return
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", os.fspath(unused_authority))
        environment.delenv("SSL_CERT_DIR", raising=False)
        yield


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """An emulator that lands rows in Delta tables."""
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

"""Shared by the hostile tests."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator

import pytest

from beam_zerobus.workspace import http
from tests.hostile.http_server import OddServer, Request


@pytest.fixture
def serve() -> Iterator[Callable[..., OddServer]]:
    servers = []

    def start(answer: Callable[[Request], Iterator[bytes]], tls: ssl.SSLContext | None = None) -> OddServer:
        servers.append(OddServer(answer, tls))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """All that is logged at any level, with all that a record holds."""
    caplog.set_level(1)
    logging.getLogger("urllib3").setLevel(1)
    return lambda: "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_LIMIT", 0.5)

"""Beam's expansion service, which provides the sink to other languages, run by the command of docs/runners/java.md."""

from __future__ import annotations

import re
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from beam_zerobus.emulator import Emulator
from tests.runners.pages import commands
from tests.runners.support import ROOT, started, wait_until

TABLE = "main.iot.air_quality"
COLUMNS = "device STRING NOT NULL, co2 INT"
PAGE = "runners/java.md"
MADE_TABLE, SERVICE = commands(PAGE, "The expansion service")
SERVICE_FOR_A_POOL = commands(PAGE, "Workers of a pool")[1]
SERVICE_PORT = "8097"
"""The page's port of the service."""


def free_port() -> str:
    """Return a port that is free now."""
    with socket.create_server(("localhost", 0)) as server:
        return str(server.getsockname()[1])


def without_addresses_and_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without credentials, so that only a worker elsewhere can write to Zerobus."""
    return {name: value for name, value in environment.items() if not re.match("ZEROBUS|DATABRICKS", name)}


@contextmanager
def program(command: str, says: str, environment: Mapping[str, str], log: Path) -> Iterator[None]:
    """Run a command of a page for as long as the context lasts; the context begins when a line is in its log."""
    with started(["bash", "-c", f"exec {command}"], environment=environment, log=log):
        wait_until(lambda: says in log.read_text(), f"{log.name} says {says!r}")
        yield


@contextmanager
def expansion_service(environment: Mapping[str, str], log: Path, command: str = SERVICE) -> Iterator[str]:
    """Run the service, which is also the Python worker unless its command says otherwise; yield its port."""
    port = free_port()
    with program(command.replace(SERVICE_PORT, port), "Listening for expansion requests", environment, log):
        yield port


def run(command: str, environment: Mapping[str, str]) -> None:
    """Run a command of a page to its end; a failure's message has its output."""
    ended = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert ended.returncode == 0, (ended.stdout + ended.stderr)[-8000:]


def check_rows(zerobus: Emulator, runs: int = 1) -> None:
    """Check that the table has the rows of each language's pipeline, each at most once per run, and no others."""
    found = Counter((row["device"], row["co2"]) for row in zerobus.table(TABLE).to_arrow().to_pylist())
    assert set(found) == {("attic", 417), ("cellar", None)}
    assert max(found.values()) <= runs

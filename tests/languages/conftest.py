"""Clients of the gateway in other languages: how each is built and called."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from beam_zerobus.emulator import Emulator
from beam_zerobus.emulator.tables.table import Table

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
RUST_TARGET = ROOT / ".cache" / "languages" / "rust"
TABLE = "main.iot.air"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "languages: a client in Rust, Go or Java; run by make test-languages")


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Build nothing in a run that does not ask for it."""
    return None if "languages" in config.getoption("markexpr") else True


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """How a language's client is built and called.

    Attributes:
        needs: Programs that have to be on the PATH.
        build: The command that builds it.
        program: The command that runs it, with LOCATION ROWS ROWS_IN_A_BATCH TABLE... after it.
    """

    needs: tuple[str, ...]
    build: tuple[str, ...]
    program: tuple[str, ...]


LANGUAGES = {
    "rust": Language(
        needs=("cargo",),
        build=("cargo", "build", "--manifest-path", str(HERE / "rust" / "Cargo.toml")),
        program=(str(RUST_TARGET / "debug" / "gateway-client"),),
    ),
    "go": Language(
        needs=("go",),
        build=("go", "build", "-C", str(HERE / "go"), "-o", "target/gateway-client", "."),
        program=(str(HERE / "go" / "target" / "gateway-client"),),
    ),
    "java": Language(
        needs=("java", "mvn"),
        build=("mvn", "--quiet", "--batch-mode", "--file", str(HERE / "java" / "pom.xml"), "package"),
        program=(
            "java",
            "--add-opens=java.base/java.nio=ALL-UNNAMED",  # Arrow's memory, as its documentation says
            "-jar",
            str(HERE / "java" / "target" / "gateway-client.jar"),
        ),
    ),
}


@pytest.fixture(scope="session")
def build() -> Callable[[str], Language]:
    """Build a language's client, once; skips where a program is missing."""
    built: dict[str, Language] = {}

    def build(name: str) -> Language:
        language = LANGUAGES[name]
        for program in language.needs:
            if shutil.which(program) is None:
                pytest.skip(f"a client in {name} needs {program}, which is not on the PATH")
        if name not in built:
            environment = {**os.environ, "CARGO_TARGET_DIR": str(RUST_TARGET)}
            done = subprocess.run(
                language.build, check=False, capture_output=True, text=True, timeout=1_500, env=environment
            )
            assert done.returncode == 0, done.stdout + done.stderr
            built[name] = language
        return built[name]

    return build


def results_of(process: subprocess.Popen[str], timeout: float = 200) -> list[dict[str, Any]]:
    """Wait for a client, and return what it printed, one result for each table."""
    try:
        output, errors = process.communicate(timeout=timeout)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    return [json.loads(line) for line in output.splitlines()]


def start_client(language: Language, *arguments: object) -> subprocess.Popen[str]:
    command = [*language.program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """An emulator that does not record its calls."""
    with Emulator() as running:
        yield running


@pytest.fixture
def table(emulator: Emulator) -> Table:
    return emulator.create_table(TABLE, "id BIGINT NOT NULL, device STRING")

"""The examples of docs/testing.md: tests in other languages that start the emulator as a process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sdks.clients import CACHE, SOURCES

pytestmark = [pytest.mark.sdks, pytest.mark.timeout(600)]

COMMANDS = {
    "java": (("mvn", "--quiet", "--batch-mode", "test"),),
    "node": (("npm", "install", "--no-package-lock", "--silent"), ("node", "--test")),
}


@pytest.mark.parametrize("language", COMMANDS)
def test_the_example_passes(language: str) -> None:
    if language in os.environ.get("WITHOUT", "").split(","):
        pytest.skip("WITHOUT names it")
    folder = CACHE / "examples" / language  # where what it downloads is kept
    shutil.copytree(SOURCES / "examples" / language, folder, dirs_exist_ok=True)
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": programs, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    for command in COMMANDS[language]:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

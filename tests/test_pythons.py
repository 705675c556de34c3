"""Which of the Pythons that uv finds run the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import pythons


def found(version: str, path: str, **others: str) -> dict[str, Any]:
    return {"version": version, "path": path, "implementation": "cpython", "variant": "default", **others}


FOUND = [
    found("3.14.0rc1", "/usr/bin/python3.14"),
    found("3.13.0", "/first/python3.13"),
    found("3.13.0", "/second/python3"),
    found("3.13.0", "/usr/bin/python3.13t", variant="freethreaded"),
    found("3.12.1", "/usr/bin/pypy", implementation="pypy"),
    found("3.11.7", "/usr/bin/python3.11"),
    found("3.9.18", "/usr/bin/python3.9"),
    found("3.12.1", "/usr/bin/python3.12"),
]
NEWER = {"3.14": "/usr/bin/python3.14", "3.13": "/first/python3.13", "3.12": "/usr/bin/python3.12"}


def test_each_newer_version_is_run_once_and_the_newest_first() -> None:
    assert list(pythons.newer_than("3.11.7", FOUND).items()) == list(NEWER.items())
    assert list(pythons.newer_than("3.13.0", FOUND)) == ["3.14"]
    assert pythons.newer_than("3.14.0", FOUND) == {}


def test_the_newest_that_runs_has_more_tests_whatever_else_the_machine_has() -> None:
    assert pythons.files_of(["3.9", "3.12", "3.11"])["3.12"] == (*pythons.EACH, *pythons.NEWEST)
    assert pythons.files_of(["3.9", "3.12", "3.11"])["3.11"] == pythons.EACH


@pytest.mark.skipif(not pythons.UV.exists(), reason="uv finds the Pythons; make installs it")
@pytest.mark.skipif(os.name == "nt", reason="Windows has Pythons in its registry")
@pytest.mark.parametrize(
    ("demanded", "status", "said"),
    [("", 0, "was found: no test was run. Install it"), ("3.98 3.99", 1, ": Python 3.98, 3.99. Install it")],
)
def test_a_machine_without_newer_versions_is_told_what_to_do(
    demanded: str, status: int, said: str, tmp_path: Path
) -> None:
    empty = {"PATH": str(tmp_path), "UV_PYTHON_INSTALL_DIR": str(tmp_path), "PYTHONS": demanded}
    command = [sys.executable, "-m", "tests.pythons"]
    done = subprocess.run(
        command, cwd=pythons.ROOT, env={**os.environ, **empty}, check=False, capture_output=True, text=True, timeout=250
    )
    assert (done.returncode, said in done.stdout) == (status, True), done.stdout + done.stderr

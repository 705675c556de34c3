"""Runs tests on each newer Python that this machine has: ``make test-pythons``.

uv finds them: its own, those in the search path, and all of pyenv's. Each gets an environment under `.cache/python/`.
Each runs `EACH` and `ENDINGS`, where a new Python changes most: types of rows, argparse, threads, processes that end.
The newest runs `NEWEST` as well. PYTHONS="3.12 3.13" runs those alone, and demands them.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache" / "python"
UV = Path(sys.executable).with_name("uv")

EACH = ("batching", "destinations", "options", "schema", "writer", "test_cli.py", "test_readme.py")
NEWEST = (
    *("delivery", "emulator/test_command.py", "emulator/test_process.py", "sink", "tables", "telemetry", "workspace"),
    *("test_docs_blocks.py", "test_errors.py"),
)
REMEDY = "Install it (with pyenv, or uv python install), or put it on the PATH"
ENDINGS = "tests/hostile/test_endings.py::test_rows_of_a_program_that_ends_are_in_the_table"


def as_numbers(version: str) -> tuple[int, int]:
    """Return ``(3, 13)`` for ``3.13`` and ``3.13.0``."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def newer_than(oldest: str, found: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the path of each newer Python by its version, such as ``3.13``, the newest first.

    Args:
        oldest: Only what is newer than this version is returned.
        found: What ``uv python list`` has found.
    """
    newer: dict[tuple[int, int], str] = {}
    for python in found:
        is_usual = python["implementation"] == "cpython" and python["variant"] == "default"
        version = as_numbers(python["version"])
        if is_usual and version > as_numbers(oldest):
            newer.setdefault(version, python["path"])
    return {f"{major}.{minor}": newer[major, minor] for major, minor in sorted(newer, reverse=True)}


def files_of(versions: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return the tests that each of these versions runs; the newest of them runs more."""
    newest = max(versions, key=as_numbers)
    return {version: (*EACH, *NEWEST) if version == newest else EACH for version in versions}


def with_pyenv() -> dict[str, str]:
    """Return an environment in which each version that pyenv has is in the search path, not only the chosen one."""
    if shutil.which("pyenv") is None:
        return dict(os.environ)
    listed = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=True).stdout
    versions = re.findall(r"^3\.\d+\.\d+$", listed, re.MULTILINE)
    return {**os.environ, "PYENV_VERSION": ":".join(versions)}


def find(environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what ``uv python list`` has of the Pythons on this machine."""
    command = [UV, "python", "list", "--only-installed", "--output-format", "json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def run(version: str, path: str, environment: Mapping[str, str], files: Iterable[str]) -> bool:
    """Install the package with what its tests need into a new environment, and run tests there; return success."""
    print(f"== Python {version}", flush=True)
    directory = CACHE / version
    python = directory / "bin" / "python"
    pytest = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "4", "--dist", "worksteal"]
    install = [UV, "pip", "install", "--quiet", "--python", python, "--editable", ".[test]"]
    steps = (
        ([UV, "venv", "--quiet", "--clear", "--python", path, directory], environment),
        (install, environment),
        ([*pytest, *(f"tests/{file}" for file in files)], os.environ),
        ([*pytest, "-m", "hostile", ENDINGS], os.environ),
    )
    return all(subprocess.run(command, cwd=ROOT, env=env, check=False).returncode == 0 for command, env in steps)


def main() -> int:
    """Run the tests on each newer Python; return 1 when one failed, or is demanded and missing."""
    own = platform.python_version()
    environment = with_pyenv()
    newer = newer_than(own, find(environment))
    demanded = os.environ.get("PYTHONS", "").split()
    if missing := [version for version in demanded if version not in newer]:
        print(f"Not found, or not newer than {own}: Python {', '.join(missing)}. {REMEDY}")
        return 1
    if not newer:
        print(f"No Python newer than {own} was found: no test was run. {REMEDY}")
        return 0
    print(f"Newer than {own}: Python {', '.join(newer)}", flush=True)
    passed = {
        version: run(version, newer[version], environment, files)
        for version, files in files_of(demanded or newer).items()
    }
    for version, success in passed.items():
        print(f"Python {version}: {'passed' if success else 'FAILED'}")
    return 0 if all(passed.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

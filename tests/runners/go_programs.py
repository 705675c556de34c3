"""Builds programs of Beam's Go module, such as Prism, and says how far it is: the first build takes minutes.

python -m tests.runners.go_programs            # Prism, into .cache/bin
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / ".cache" / "bin"
PRISM = ("go/cmd/prism", "prism")
BEAM = "github.com/apache/beam/sdks/v2"
_SAY_SECONDS = 10.0


def go_module(package: str) -> str:
    """Return the argument of ``go install`` for a package of Beam's Go module, in the version of the installed Beam."""
    return f"{BEAM}/{package}@v{version('apache-beam')}"


def program_path(name: str) -> Path:
    """Return where a program of the installed Beam's version is built."""
    return PROGRAMS / f"{name}-{version('apache-beam')}"


def build(package: str, name: str, say: Callable[[str], None]) -> Path:
    """Build a program once, and say every ten seconds how far it is.

    Raises:
        subprocess.CalledProcessError: Go failed.
    """
    program = program_path(name)
    if program.exists():
        return program
    PROGRAMS.mkdir(exist_ok=True, parents=True)
    started = time.monotonic()

    def note(state: str) -> None:
        say(f"{time.monotonic() - started:4.0f} s  {name}: {state}")

    note("finding what it is built from; the first build takes some minutes")
    with tempfile.TemporaryDirectory(dir=PROGRAMS) as directory:
        packages = _count_packages(package, directory)
        command = ["go", "install", "-v", go_module(package)]
        environment = {**os.environ, "GOBIN": directory}
        built = 0
        said_at = time.monotonic()
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as building:
            assert building.stderr is not None
            last = ""
            for last in building.stderr:
                built += not last.startswith("go: ")
                if time.monotonic() - said_at > _SAY_SECONDS:
                    note(f"{built} of {packages} packages built")
                    said_at = time.monotonic()
        if building.returncode:
            raise subprocess.CalledProcessError(building.returncode, command, stderr=last)
        (Path(directory) / package.rpartition("/")[2]).rename(program)
    note("built")
    return program


def _count_packages(package: str, directory: str) -> str:
    """Return how many packages a program has; fewer are built where Go's cache has some of them."""
    found = ""
    for command in (
        ["mod", "init", "local/count"],
        ["get", go_module(package)],
        ["list", "-deps", f"{BEAM}/{package}"],
    ):
        found = subprocess.check_output(["go", *command], cwd=directory, text=True, stderr=subprocess.DEVNULL)
    return f"at most {len(found.splitlines())}"


def main() -> int:
    """Build Prism, if Go is here."""
    if shutil.which("go") is None:
        print("go is not on the PATH: the tests on Prism are skipped")
        return 0
    build(*PRISM, lambda line: print(line, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())

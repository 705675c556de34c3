"""Installs a wheel into an empty environment, as a user does, and uses it.

    python tests/release_check.py dist/beam_zerobus-0.1.0-py3-none-any.whl [--sbom FILE]

First the wheel alone: every public name, and the command. Then its extra ``emulator``: a row through the emulator.
``--sbom`` writes a CycloneDX list of what the wheel alone installs, with ``cyclonedx-bom``; the rest needs only Python.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"

NAMES = """
import beam_zerobus
for name in beam_zerobus.__all__:
    getattr(beam_zerobus, name)
"""

A_ROW = """
from beam_zerobus import OAuthClientCredentials, ZerobusWriter
from beam_zerobus.emulator import Emulator

with Emulator() as emulator:
    table = emulator.create_table("main.iot.air_quality", "device STRING NOT NULL, co2 INT")
    credentials = OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret)
    addresses = {"endpoint": emulator.endpoint, "workspace_url": emulator.workspace_url}
    with ZerobusWriter(table.name, credentials=credentials, **addresses) as writer:
        writer.send([{"device": "attic", "co2": 417}])
    assert table.to_arrow().to_pylist() == [{"device": "attic", "co2": 417}]
"""


def main() -> None:
    """Check a wheel; an error ends the program."""
    parser = argparse.ArgumentParser(description="Install a wheel into an empty environment and use it.")
    parser.add_argument("wheel", type=lambda text: Path(text).resolve(strict=True))
    parser.add_argument("--sbom", type=lambda text: Path(text).resolve(), metavar="FILE", help="write a CycloneDX list")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="release-", ignore_cleanup_errors=True) as directory:
        home = Path(directory)
        venv.create(home / "venv", with_pip=True, symlinks=os.name != "nt")
        programs = home / "venv" / ("Scripts" if os.name == "nt" else "bin")
        python = programs / "python"
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run(home, *install, options.wheel)
        run(home, python, "-c", NAMES)
        run(home, programs / "beam-zerobus", "--version")
        run(home, programs / "beam-zerobus", "--help")
        if options.sbom:
            tool = [
                sys.executable,
                "-m",
                "cyclonedx_py",
                "environment",
                "--output-reproducible",
                "--mc-type",
                "library",
            ]
            run(home, *tool, "--pyproject", PYPROJECT, "--output-file", options.sbom, python)
        run(home, *install, f"{options.wheel}[emulator]")
        run(home, python, "-c", A_ROW)
    print(f"{options.wheel.name}: installed into an empty environment, and a row arrived")


def run(directory: Path, *command: str | Path) -> None:
    """Run a command outside of the clone; an error ends the program."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, cwd=directory, env=environment, check=True, timeout=600)


if __name__ == "__main__":
    main()

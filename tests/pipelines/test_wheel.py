"""The programs run from the built wheel, in an environment that has no clone of the repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from beam_zerobus.emulator import Emulator
from tests.runners.support import ROOT, zerobus_environment

TABLE = "main.iot.air_quality"
UV = Path(sys.executable).parent / "uv"

pytestmark = [
    pytest.mark.hostile,
    pytest.mark.skipif(not UV.exists(), reason="uv builds the wheel; make installs it"),
    pytest.mark.skipif(os.name == "nt", reason="the paths are those of POSIX"),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel alone, and let it find its dependencies where these tests find them."""
    directory = tmp_path_factory.mktemp("wheel")
    subprocess.run([UV, "build", "--quiet", "--wheel", "--out-dir", directory, ROOT], check=True)
    [wheel] = directory.glob("*.whl")
    venv.create(directory / "venv", with_pip=False, symlinks=True)
    python = directory / "venv" / "bin" / "python"
    subprocess.run([UV, "pip", "install", "--quiet", "--no-deps", "--python", python, wheel], check=True)
    [packages] = (directory / "venv" / "lib").glob("python*/site-packages")
    # A path of such a file is only added: the editable install there, which is a .pth file itself, is not read.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return directory / "venv" / "bin" / "beam-zerobus"


@pytest.fixture
def run(program: Path, zerobus: Emulator, tmp_path: Path) -> Callable[..., str]:
    environment = zerobus_environment(zerobus)
    environment.pop("PYTHONPATH", None)

    def command(*arguments: str, stdin: str = "") -> str:
        ended = subprocess.run(
            [program, *arguments],
            cwd=tmp_path,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    return command


def test_rows_of_standard_input_are_sent_and_the_rejected_one_again(run, zerobus: Emulator, tmp_path: Path) -> None:
    table = zerobus.create_table(TABLE, "device STRING NOT NULL, co2 INT")
    flags = ["--zerobus_table", TABLE, "--dead_letters"]
    rows = [{"device": "attic", "co2": 417}, {"device": None, "co2": 1}]
    shown = run("send", "--input", "-", "--format", "jsonl", *flags, "dead", stdin=json.dumps(rows))
    assert "1 row written, 1 failed" in shown
    [letters] = (tmp_path / "dead").glob("*.jsonl")
    letters.write_text(letters.read_text().replace('null, \\"co2', '\\"cellar\\", \\"co2'))
    assert "1 row written, 0 failed" in run("replay", "--input", "dead", *flags, "again")
    assert sorted(table.to_arrow()["device"].to_pylist()) == ["attic", "cellar"]


@pytest.mark.parametrize("name", ["send", "replay", "kafka"])
def test_each_program_shows_its_flags(run, name: str) -> None:
    assert "--zerobus_table" in run(name, "--help")

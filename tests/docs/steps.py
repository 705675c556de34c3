"""The steps of a tutorial: files to save, commands to run, and what they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
STEP = re.compile(r"<!-- (?:run|read) by \S+ -->\n```(?P<language>\w+)\n(?P<code>.*?)```", re.DOTALL)
FILE = re.compile(r"(?P<how>Save as|Append to) `(?P<name>[\w.]+)`:\n\n$")


@dataclass(frozen=True, kw_only=True)
class Step:
    """A block of a tutorial.

    Attributes:
        language: ``python`` for a file to save, ``console`` for commands, ``text`` for what the last one prints.
        code: Its lines.
        file: The file that the page says to save, or to append to.
        append: Whether the file exists and goes on.
    """

    language: str
    code: str
    file: str | None
    append: bool

    def save(self, directory: Path) -> None:
        """Do what the page says with a file."""
        assert self.file is not None, f"the page does not name the file of this block:\n{self.code}"
        path = directory / self.file
        before = path.read_text("utf-8") + "\n\n" if self.append else ""
        path.write_text(before + self.code, "utf-8")


def steps_of(page: str) -> list[Step]:
    """Return the steps of a page of the documentation, in order."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    steps = []
    for found in STEP.finditer(text):
        file = FILE.search(text[: found.start()])
        steps.append(
            Step(
                language=found["language"],
                code=found["code"],
                file=file and file["name"],
                append=bool(file and file["how"] == "Append to"),
            )
        )
    return steps


def user_environment() -> dict[str, str]:
    """Return the environment of a user with the package installed and nothing set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DATABRICKS", "PYTEST"))}
    kept.pop("ZEROBUS_ENDPOINT", None)
    path = os.pathsep.join([os.fspath(Path(sys.executable).parent), os.environ["PATH"]])
    return {**kept, "PATH": path, "PYTHONPATH": os.fspath(ROOT), "PYTHONUNBUFFERED": "1", "COLUMNS": "80"}


def run(code: str, directory: Path, environment: Mapping[str, str], *, expect: int = 0) -> str:
    """Run commands in a shell; return what they print, on both outputs."""
    done = subprocess.run(
        ["bash", "-ec", code],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == expect, done.stdout
    return done.stdout


@contextmanager
def running_emulator(command: str, directory: Path, environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Run the command of an emulator; yield the variables that it prints, and stop it at the end."""
    with subprocess.Popen(
        ["bash", "-c", f"exec {command}"], cwd=directory, env=environment, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        try:
            printed = ""
            for line in running.stdout:
                printed += line
                if line == "Stop with Ctrl-C.\n":
                    break
            else:
                raise AssertionError(f"{command} ended: {printed}")
            yield dict(re.findall(r"^export (\w+)=(\S+)$", printed, re.MULTILINE))
        finally:
            running.terminate()

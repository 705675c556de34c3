"""Runs the steps of a container file without a container, in a virtual environment and a directory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import venv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction, such as ``RUN pip install .``."""

    name: str
    arguments: str


def steps_of(container_file: Path) -> Iterator[Step]:
    """Yield the instructions, without comments and with continued lines put together."""
    lines = [line for line in container_file.read_text().splitlines() if not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, arguments = line.partition(" ")
            yield Step(name, " ".join(arguments.split()))


@dataclass(slots=True)
class Image:
    """The content of a container file's last stage, in directories of this machine.

    Attributes:
        context: The directory that COPY copies from.
        directory: The image's working directory on this machine.
        environment: The variables that ENV sets.
        bases: The base images of the stages.
    """

    context: Path
    directory: Path
    environment: dict[str, str] = field(default_factory=dict)
    bases: list[str] = field(default_factory=list)
    _variables: dict[str, str] = field(default_factory=dict)
    _work_directory: str = ""

    @property
    def programs(self) -> Path:
        """The path of the image's Python."""
        return self.directory / "venv" / "bin"

    def build(self, container_file: Path) -> None:
        """Run the steps; those that copy from other images do nothing."""
        venv.create(self.directory / "venv", with_pip=True)
        for step in steps_of(container_file):
            match step.name:
                case "ARG":
                    name, _, value = step.arguments.partition("=")
                    self._variables.setdefault(name, value)
                case "FROM":
                    self.bases.append(self._filled(step.arguments.partition(" AS ")[0]))
                case "WORKDIR":
                    self._work_directory = step.arguments
                case "ENV":
                    name, _, value = step.arguments.partition("=")
                    self.environment[name] = value.replace(self._work_directory, str(self.directory))
                case "COPY" if not step.arguments.startswith("--from="):
                    self._copy(*step.arguments.split())
                case "RUN":
                    self.run(self._filled(step.arguments))

    def run(self, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a container would, and return its output.

        Raises:
            AssertionError: It failed.
        """
        path = os.pathsep.join([str(self.programs), os.environ["PATH"]])
        ended = subprocess.run(
            command,
            shell=True,
            cwd=self.directory,
            env={**os.environ, **self.environment, **variables, "PATH": path},
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert ended.returncode == 0, f"{command}\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
        return ended

    def _copy(self, *names: str) -> None:
        *sources, target = names
        for source in sources:
            if (self.context / source).is_dir():
                shutil.copytree(
                    self.context / source, self.directory / target, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                shutil.copy(self.context / source, self.directory / target)

    def _filled(self, text: str) -> str:
        return re.sub(r"\$\{(\w+)\}", lambda found: self._variables[found[1]], text)

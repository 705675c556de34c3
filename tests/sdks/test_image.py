"""The steps of the Containerfile, without a container: in a virtual environment and directories of this machine."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.runners.container import Step, steps_of

pytestmark = [pytest.mark.sdks, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
STEPS = list(steps_of(ROOT / "Containerfile"))
TABLE = "main.iot.air_quality"
SINK_ONLY = ("apache_beam", "zerobus")


def argument(name: str) -> str:
    """Return the argument of the last step of this name."""
    return [step.arguments for step in STEPS if step.name == name][-1]


@dataclass(slots=True)
class Image:
    """An image: its root is a directory of this machine, and its Python a virtual environment there."""

    root: Path
    directory: str = "/"

    def build(self) -> None:
        venv.create(self.root / "venv", with_pip=True)
        for step in STEPS:
            self._do(step)

    def _do(self, step: Step) -> None:
        match step.name:
            case "WORKDIR":
                self.directory = step.arguments
                self._place.mkdir(parents=True, exist_ok=True)
            case "COPY":
                *sources, target = step.arguments.split()
                for source in sources:
                    if (ROOT / source).is_dir():
                        shutil.copytree(ROOT / source, self._place / target)
                    else:
                        shutil.copy(ROOT / source, self._place / target)
            case "RUN":
                with self.start(step.arguments) as running:
                    assert running.wait(500) == 0, step.arguments

    @property
    def _place(self) -> Path:
        return Path(self.path(self.directory))

    def path(self, text: str) -> str:
        """Return a text with the image's paths as they are on this machine."""
        return re.sub(r"(?<![\w./])/(?=(opt/zerobus|data)\b)", f"{self.root}/", text)

    def start(self, command: str, stdout: int | None = None) -> subprocess.Popen[str]:
        """Start a command as a container would."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment["PATH"] = os.pathsep.join([str(self.root / "venv" / "bin"), os.environ["PATH"]])
        return subprocess.Popen(
            self.path(command), shell=True, cwd=self._place, env=environment, text=True, stdout=stdout
        )

    def ends_with(self, command: str) -> int:
        """Run a command; return its exit code."""
        with self.start(command) as running:
            return running.wait(60)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("a step gives a directory to another user, which needs root")
    built = Image(tmp_path_factory.mktemp("image"))
    built.build()
    yield built
    shutil.rmtree(built.root)


def test_its_user_is_not_root_and_owns_the_tables_only(image: Image) -> None:
    names = [step.name for step in STEPS]
    assert names.index("USER") < names.index("ENTRYPOINT")
    user, group = map(int, argument("USER").split(":"))
    assert user != 0
    tables, program = Path(image.path("/data")).stat(), Path(image.path("/opt/zerobus")).stat()
    assert (tables.st_uid, tables.st_gid) == (user, group)
    assert program.st_uid == 0


def test_what_only_the_sink_needs_is_not_in_it(image: Image) -> None:
    found = f"import importlib.util as it, sys; sys.exit(any(map(it.find_spec, {SINK_ONLY})))"
    assert image.ends_with(shlex.join(["python", "-c", found])) == 0


def test_it_serves_over_tls_and_its_health_check_says_so(image: Image) -> None:
    arguments = ["--client-id", "ci", "--table", f"{TABLE}=device STRING NOT NULL, co2 INT"]
    free_ports = ["--port", "0", "--http-port", "0"]  # of two settings the later one counts
    command = shlex.join(["exec", *json.loads(argument("ENTRYPOINT")), *arguments, *free_ports])
    health = argument("HEALTHCHECK").partition("CMD ")[2]
    with image.start(command, stdout=subprocess.PIPE) as running:
        try:
            greeting = ""
            while "Stop with" not in greeting:
                line = running.stdout.readline()
                assert line, f"it ended with {running.wait(60)}"
                greeting += line
            exports = dict(re.findall(r"^export (\w+)=(\S+)$", greeting, re.MULTILINE))
            port = exports["DATABRICKS_HOST"].rpartition(":")[2]
            assert image.ends_with(health.replace("8444", port)) == 0
            assert image.ends_with(health.replace("8444", "1")) != 0, "nothing is healthy there"
            control = requests.Session()
            control.trust_env = False  # or a bundle of the environment would count
            control.verify = image.path("/data/.tls/ca.pem")
            control.headers["Authorization"] = f"Bearer {exports['ZEROBUS_CONTROL_TOKEN']}"
            host = f"https://localhost:{port}"
            token = control.post(f"{host}/control/tokens", json={"table": TABLE}, timeout=10).json()["access_token"]
            rows = [{"device": "attic", "co2": 417}, {"device": "cellar", "co2": 655}]
            answer = control.post(
                f"{host}/zerobus/v1/tables/{TABLE}/insert",
                json=rows,
                headers={"Authorization": f"Bearer {token}"},
                timeout=10,
            )
            assert answer.status_code == 200, answer.text
            found = control.get(f"{host}/control/tables/{TABLE}/rows", timeout=10).json()
            assert found == {"count": 2, "rows": rows}
            running.send_signal(signal.SIGTERM)
            assert running.wait(30) == 0
        finally:
            running.kill()

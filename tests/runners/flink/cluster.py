"""A Flink session cluster on this machine: the guide's commands, each in its own process.

Two task managers, each with a worker pool beside it as in a pod. A job has one address for both pools; so each task
manager resolves the name in it to a loopback address of its own, from where connections go to its pool.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.forwarding import forwarded
from tests.runners.pages import commands
from tests.runners.support import ROOT, started, wait_until

PAGE = "runners/flink.md"
FETCH, JOB_MANAGER, TASK_MANAGER, JOB_SERVER = commands(PAGE, "A cluster on this machine")
WORKER_POOL = commands(PAGE, "Workers of a pool beside each task manager")[0]
TASK_MANAGERS = 2
SLOTS = 4
REST = "http://localhost:8081"
POOL = "localhost:50000"
"""The guide's address of a worker pool."""
POOL_OF_EACH = "worker-pool:50000"
"""The same, if every task manager has its own pool on one machine."""


def missing() -> str | None:
    """Return the program that a cluster needs and this machine does not have, or None."""
    return next((f"{name} is not on the PATH" for name in ("java", "mvn") if shutil.which(name) is None), None)


def fetch_jars() -> None:
    """Fetch the jars with the guide's command, unless they are there."""
    library, wanted = ROOT / ".cache" / "flink" / "lib", ROOT / "tests" / "runners" / "flink" / "pom.xml"
    if not library.is_dir() or library.stat().st_mtime < wanted.stat().st_mtime:
        shutil.rmtree(library, ignore_errors=True)
        subprocess.run(FETCH, shell=True, cwd=ROOT, check=True)
        os.utime(library)


class SessionCluster:
    """Starts the processes, and ends them with the context.

    Args:
        environment: Of all processes, and so of the Python workers.
        directory: Where the logs go.
    """

    def __init__(self, environment: Mapping[str, str], directory: Path) -> None:
        self._environment = environment
        self._directory = directory
        self._running = ExitStack()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        fetch_jars()
        with self._running:
            self._start("job-manager", self._with_checkpoints(JOB_MANAGER))
            for number in range(1, TASK_MANAGERS + 1):
                self._start_worker_pool(number)
                self.start_task_manager(number)
            self._start("job-server", JOB_SERVER)
            self._wait_until(lambda: "JobService started" in self.log("job-server"), "the job server listens")
            self.wait_for_slots()
            self._running = self._running.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def start_task_manager(self, number: int) -> None:
        """Start a task manager, perhaps again."""
        hosts = self._directory / f"hosts-{number}"
        hosts.write_text(
            f"127.0.0.1 localhost {socket.gethostname()}\n{_address(number)} {POOL_OF_EACH.partition(':')[0]}\n"
        )
        self._start(f"task-manager-{number}", self._with_checkpoints(TASK_MANAGER), f"-Djdk.net.hosts.file={hosts}")

    def kill_task_manager(self, number: int) -> None:
        """Kill a task manager without notice."""
        process = self._processes.pop(f"task-manager-{number}")
        process.kill()
        process.wait()

    def wait_for_slots(self) -> None:
        """Wait until every task manager is there."""
        self._wait_until(lambda: self._slots() == SLOTS, f"the cluster has {SLOTS} slots")

    def running_job(self) -> str | None:
        """Return the id of the job that runs, if one does."""
        jobs = _rest("GET", "jobs/overview")["jobs"]
        return next((job["jid"] for job in jobs if job["state"] == "RUNNING"), None)

    def last_checkpoint(self, job: str) -> float:
        """Return the time at which a job's last complete checkpoint began; 0 if there is none."""
        completed = _rest("GET", f"jobs/{job}/checkpoints")["latest"]["completed"]
        return completed["trigger_timestamp"] / 1000 if completed else 0.0

    def cancel(self, job: str) -> None:
        """Cancel a job, as users do with a stream."""
        _rest("PATCH", f"jobs/{job}?mode=cancel")

    def stop(self, job: str) -> str:
        """Stop a stream with a savepoint, and return its path.

        A savepoint fails while a task is not running yet; the stream then goes on, and one asks again.
        """
        return str(self._wait_until(lambda: self._savepoint(job), "the stream stopped with a savepoint"))

    def _savepoint(self, job: str) -> str | None:
        target = {"targetDirectory": (self._directory / "savepoints").as_uri(), "drain": False}
        try:
            request = _rest("POST", f"jobs/{job}/stop", target)["request-id"]
        except OSError:
            return None  # the stream is restarting

        def operation() -> Any:
            return _rest("GET", f"jobs/{job}/savepoints/{request}").get("operation")

        ended = wait_until(operation, "the savepoint ended")
        if "location" not in ended:
            print("A savepoint failed:", ended.get("failure-cause"))
        return ended.get("location")

    def log(self, name: str) -> str:
        """Return the output of a process so far."""
        return (self._directory / f"{name}.log").read_text(errors="replace")

    def _with_checkpoints(self, command: str) -> str:
        return f"{command} -Dstate.checkpoints.dir={(self._directory / 'checkpoints').as_uri()}"

    def _slots(self) -> int:
        try:
            return int(_rest("GET", "overview")["slots-total"])
        except OSError:
            return 0  # the job manager is still starting

    def _start(self, name: str, command: str, *java_options: str) -> None:
        options = " ".join([f"-Djava.io.tmpdir={self._directory}", *java_options])
        self._processes[name] = self._running.enter_context(
            started(
                ["bash", "-c", f"exec {command}"],
                environment={**self._environment, "JDK_JAVA_OPTIONS": options},
                log=self._directory / f"{name}.log",
            )
        )

    def _start_worker_pool(self, number: int) -> None:
        name, port = f"worker-pool-{number}", POOL.rpartition(":")[2]
        self._start(name, WORKER_POOL.replace(port, "0"))
        listening = self._wait_until(
            lambda: re.search(r"at port: localhost:(\d+)", self.log(name)), "the worker pool listens"
        )
        self._running.enter_context(forwarded((_address(number), int(port)), ("localhost", int(listening[1]))))

    def _wait_until(self, probe: Any, what: str) -> Any:
        def checked() -> Any:
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended with {process.returncode}:\n{self.log(name)[-3000:]}")
            return probe()

        return wait_until(checked, what)


def _rest(method: str, path: str, body: object = None) -> Any:
    """Return the answer of Flink's REST interface."""
    request = urllib.request.Request(
        f"{REST}/{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def _address(number: int) -> str:
    return f"127.0.0.{number + 1}"

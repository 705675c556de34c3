"""A Flink session cluster on this machine: one job manager, task managers, Beam's job server.

The processes are the ones of a real installation, started from the jars that `pom.xml` names:

    python -m tests.runners.flink.cluster --task-managers 2 --slots 2

fetches them into ``.cache/flink`` with Maven, prints the job endpoint and runs until it is interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
LIBRARY = ROOT / ".cache" / "flink" / "lib"
# The job server uploads its classpath with every job, 150 MB that the cluster has already. What calls into Flink must
# be there; the rest goes to the boot classpath, which is not uploaded.
_CLIENT_JARS = ("beam-runners-flink", "flink-clients", "flink-java", "flink-optimizer", "flink-streaming-java")
_OPENED = ("lang", "lang.invoke", "lang.reflect", "io", "net", "nio", "text", "time", "util", "util.concurrent")
JVM_OPTIONS = (
    *(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in (*_OPENED, "util.concurrent.atomic")),
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-exports=java.base/sun.net.util=ALL-UNNAMED",
    f"-Dlog4j.configurationFile={HERE / 'log4j2.properties'}",
)


def missing() -> str | None:
    """Say which program a cluster needs and this machine lacks, or None."""
    return next((f"{name} is not on the PATH" for name in ("java", "mvn") if shutil.which(name) is None), None)


def fetch_jars() -> list[Path]:
    """Return the jars, fetched once with Maven."""
    if not LIBRARY.is_dir() or LIBRARY.stat().st_mtime < (HERE / "pom.xml").stat().st_mtime:
        shutil.rmtree(LIBRARY, ignore_errors=True)
        fetched = LIBRARY.with_suffix(f".{os.getpid()}")
        subprocess.run(
            [
                *("mvn", "-B", "-q", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies"),
                *("-DincludeScope=runtime", f"-DoutputDirectory={fetched}"),
            ],
            check=True,
        )
        fetched.rename(LIBRARY)
        os.utime(LIBRARY)
    return sorted(LIBRARY.glob("*.jar"))


def _join(jars: list[Path]) -> str:
    return os.pathsep.join(map(str, jars))


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class SessionCluster:
    """Starts the cluster's processes, and ends them with the context.

    They inherit the environment, and so do Python workers that a task manager starts itself.

    Example:
        >>> with SessionCluster(task_managers=2, slots=2) as cluster:  # doctest: +SKIP
        ...     print(cluster.job_endpoint)
    """

    def __init__(self, *, task_managers: int = 2, slots: int = 2, heap_mb: int = 768):
        self._task_managers = task_managers
        self._slots = slots
        self._heap_mb = heap_mb
        self._temporary = tempfile.TemporaryDirectory(prefix="flink-", ignore_cleanup_errors=True)
        self.directory = Path(self._temporary.name)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.rest_port = free_port()
        self._rpc_port = free_port()
        self.job_endpoint = f"localhost:{free_port()}"

    def __enter__(self) -> Self:
        try:
            self._write_configuration()
            self._start_java(
                "job-manager",
                "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint",
                "--configDir",
                str(self.directory),
                heap_mb=512,
            )
            for _ in range(self._task_managers):
                self.start_task_manager()
            self._start_job_server()
            self.wait_for_slots(self._task_managers * self._slots)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start_task_manager(self) -> str:
        """Start one more task manager and return its name."""
        name = f"task-manager-{sum(key.startswith('task-manager') for key in self.processes) + 1}"
        self._start_java(
            name,
            "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
            "--configDir",
            str(self.directory),
            heap_mb=self._heap_mb,
        )
        return name

    def get(self, path: str) -> Any:
        """Return what Flink's REST interface answers."""
        with urllib.request.urlopen(f"http://localhost:{self.rest_port}/{path}", timeout=10) as answer:
            return json.load(answer)

    def patch(self, path: str, body: dict[str, Any] | None = None, *, method: str = "PATCH") -> Any:
        """Change something through Flink's REST interface."""
        request = urllib.request.Request(
            f"http://localhost:{self.rest_port}/{path}",
            data=json.dumps(body or {}).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or "{}")

    def wait_for_slots(self, slots: int, *, timeout: float = 60.0) -> None:
        """Wait until the cluster offers this many slots.

        Raises:
            TimeoutError: It does not in time; the message says where the logs are.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self._check_alive()
            try:
                if self.get("overview")["slots-total"] >= slots:
                    return
            except OSError:
                pass  # The job manager is not up yet.
            time.sleep(0.2)
        raise TimeoutError(f"no {slots} slots within {timeout} s, see the logs in {self.directory}")

    def log(self, name: str) -> str:
        """Return what a process wrote so far."""
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def stop(self) -> None:
        """End every process that was started."""
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._temporary.cleanup()

    def _write_configuration(self) -> None:
        settings = {
            "jobmanager.rpc.address": "localhost",
            "jobmanager.rpc.port": self._rpc_port,
            "jobmanager.memory.process.size": "1g",
            "rest.address": "localhost",
            "rest.port": self.rest_port,
            "taskmanager.host": "localhost",
            "taskmanager.numberOfTaskSlots": self._slots,
            "taskmanager.cpu.cores": float(self._slots),
            "taskmanager.memory.task.heap.size": f"{self._heap_mb - 128}m",
            "taskmanager.memory.framework.heap.size": "128m",
            "taskmanager.memory.framework.off-heap.size": "64m",
            "taskmanager.memory.task.off-heap.size": "64m",
            "taskmanager.memory.jvm-metaspace.size": "256m",
            "taskmanager.memory.jvm-overhead.min": "64m",
            "taskmanager.memory.jvm-overhead.max": "64m",
            "taskmanager.memory.network.min": "64m",
            "taskmanager.memory.network.max": "64m",
            "taskmanager.memory.managed.size": "128m",
            "restart-strategy.type": "fixed-delay",
            "restart-strategy.fixed-delay.attempts": 10,
            "restart-strategy.fixed-delay.delay": "1 s",
            "heartbeat.interval": 1000,
            "heartbeat.timeout": 10000,
            "io.tmp.dirs": self.directory / "tmp",
            "state.checkpoints.dir": (self.directory / "checkpoints").as_uri(),
            "classloader.resolve-order": "parent-first",
            "classloader.check-leaked-classloader": "false",
        }
        (self.directory / "tmp").mkdir(parents=True, exist_ok=True)
        lines = [f"{key}: {value}" for key, value in settings.items()]
        (self.directory / "flink-conf.yaml").write_text("\n".join(lines) + "\n")

    def _start_job_server(self) -> None:
        self._start_java(
            "job-server",
            "org.apache.beam.runners.flink.FlinkJobServerDriver",
            f"--flink-master=localhost:{self.rest_port}",
            f"--flink-conf-dir={self.directory}",
            f"--job-port={self.job_endpoint.rpartition(':')[2]}",
            "--artifact-port=0",
            "--expansion-port=0",
            f"--artifacts-dir={self.directory / 'artifacts'}",
            heap_mb=384,
        )
        deadline = time.monotonic() + 60
        while not re.search(r"JobService started", self.log("job-server")):
            self._check_alive()
            if time.monotonic() > deadline:
                raise TimeoutError(f"the job server does not start, see {self.directory / 'job-server.log'}")
            time.sleep(0.2)

    def _start_java(self, name: str, main_class: str, *arguments: str, heap_mb: int) -> None:
        jars = fetch_jars()
        uploaded = [jar for jar in jars if jar.name.startswith(_CLIENT_JARS)] if name == "job-server" else jars
        others = [jar for jar in jars if jar not in uploaded]
        boot = f"-Xbootclasspath/a:{_join(others)}"
        command = ["java", f"-Xmx{heap_mb}m", *JVM_OPTIONS, boot, "-cp", _join(uploaded)]
        with (self.directory / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [*command, main_class, *arguments], stdout=log, stderr=subprocess.STDOUT
            )

    def _check_alive(self) -> None:
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with {process.returncode}:\n{self.log(name)[-3000:]}")


def main() -> None:
    """Run a cluster until interrupted."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--task-managers", type=int, default=2)
    parser.add_argument("--slots", type=int, default=2, help="slots of each task manager")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with SessionCluster(task_managers=options.task_managers, slots=options.slots) as cluster:
        print(f"Flink   http://localhost:{cluster.rest_port}")
        print(f"submit  --runner=PortableRunner --job_endpoint={cluster.job_endpoint}", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()

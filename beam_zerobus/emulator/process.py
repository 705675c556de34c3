"""`EmulatorProcess`: an emulator in a process of its own, which does not share the interpreter of the program."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from beam_zerobus.errors import ConfigurationError

__all__ = ["EmulatorProcess", "serve"]

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_PROGRAM = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from beam_zerobus.emulator.process import serve; serve()"
)


class EmulatorProcess:
    """Runs an `Emulator` in a process of its own, until the block ends or this process does.

    Without a block, `start` and `stop` do the same.

    Args:
        storage_dir: Directory of the Delta tables. When the block has ended, they hold every row. None makes a
            temporary directory, which is removed then.
        tables: The tables to create: name and columns as DDL.
        options: Further arguments of `Emulator`. They are pickled; functions among them must not be the main module's.

    Attributes:
        endpoint: The gRPC endpoint.
        workspace_url: The workspace's URL.
        client_id: The client that gets tokens.
        client_secret: Its secret.
        control_token: The token of its control API.
        ca_file: The certificate of its authority; None without TLS.
        environment: Variables with its addresses, credentials and control token, for a program that is to write to it.

    Example:
        >>> with EmulatorProcess("zerobus-data", {"main.iot.air_quality": "device STRING"}) as it:
        ...     print(it.endpoint)  # doctest: +ELLIPSIS
        http://127.0.0.1:...
    """

    endpoint: str
    workspace_url: str
    client_id: str
    client_secret: str
    control_token: str
    ca_file: Path | None
    environment: dict[str, str]

    def __init__(
        self, storage_dir: str | Path | None = None, tables: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        self._arguments = (storage_dir, dict(tables or {}), options)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process; return once it serves. It may be started again after `stop`.

        Raises:
            ConfigurationError: It runs already, an option is wrong, or the process did not start.
        """
        if self._process is not None:
            raise ConfigurationError("the emulator's process runs already: stop it first")
        sent = pickle.dumps(sys.path) + pickle.dumps(self._arguments)
        # A fork would inherit threads and locks of libraries in whatever state they are, and any other process of
        # multiprocessing would run the program's main module again.
        command = [sys.executable, "-c", _PROGRAM]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - our own
        said: dict[str, Any] | str
        try:
            with _killed_after(_START_SECONDS, self._process) as is_late:
                said = _ask(self._process, sent)
        except (EOFError, OSError):
            said = "its process ended"
        except BaseException:
            self.stop()
            raise
        if is_late.is_set():
            said = f"it did not start within {_START_SECONDS:.0f} s"
        if isinstance(said, str):
            self.stop()
            raise ConfigurationError(f"the emulator does not run: {said}")
        for name, value in said.items():
            setattr(self, name, value)

    def stop(self) -> None:
        """End the process, if it runs; return once its tables hold every row."""
        process, self._process = self._process, None
        if process is None:
            return
        _close(process)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _killed_after(seconds: float, process: subprocess.Popen[bytes]) -> Iterator[threading.Event]:
    """Kill a process if the block takes longer; give an event that, after the block, says whether this was done."""
    is_late = threading.Event()

    def kill() -> None:
        is_late.set()  # first: the block may end as soon as the process does
        process.kill()

    timer = threading.Timer(seconds, kill)
    timer.daemon = True
    timer.start()
    try:
        yield is_late
    finally:
        timer.cancel()
        timer.join()  # it may have begun to kill


def _ask(process: subprocess.Popen[bytes], sent: bytes) -> dict[str, Any] | str:
    """Send the arguments; return the addresses, or why the emulator does not run."""
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101
    process.stdin.write(sent)
    process.stdin.flush()
    said: dict[str, Any] | str = pickle.load(process.stdout)  # noqa: S301 - `serve` has written it
    return said


def _close(process: subprocess.Popen[bytes]) -> None:
    """Let `serve` end; by a byte too, as a fork of this process may hold the pipe open."""
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101
    with suppress(OSError), process.stdout, process.stdin:  # the process may have ended
        process.stdin.write(b"\n")


def serve() -> None:
    """Run the emulator of an `EmulatorProcess`, as its program; until standard input has a byte or ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # an answer is not what a library prints
    with suppress(KeyboardInterrupt):  # Ctrl-C reaches the whole group of processes; the other one reports it
        try:
            _serve(answers)
        except (ConfigurationError, TypeError) as error:
            if answers.closed:  # it has served; its end failed
                raise
            with answers:
                pickle.dump(str(error), answers)


def _serve(answers: BinaryIO) -> None:
    from beam_zerobus.emulator.emulator import Emulator  # noqa: PLC0415 - its errors are reported, as others are
    from beam_zerobus.emulator.environment import environment_of  # noqa: PLC0415

    try:
        storage_dir, tables, options = pickle.load(sys.stdin.buffer)  # noqa: S301 - `EmulatorProcess` has written it
    except (AttributeError, ImportError) as error:
        raise ConfigurationError(
            f"an argument cannot be read in its process: {error}; define it in a module that can be imported, not in "
            "the program itself"
        ) from None
    with ExitStack() as stack:
        emulator = Emulator(storage_dir, **options)
        stack.push(emulator)
        for name, columns in tables.items():
            emulator.create_table(name, columns)
        emulator.start()
        names = ("endpoint", "workspace_url", "client_id", "client_secret", "control_token", "ca_file")
        known = {name: getattr(emulator, name) for name in names}
        with answers:
            pickle.dump({**known, "environment": environment_of(emulator)}, answers)
        sys.stdin.buffer.read(1)

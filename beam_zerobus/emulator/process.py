"""`EmulatorProcess`: an emulator in a process of its own, which does not share the interpreter of the program."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from beam_zerobus.errors import ConfigurationError

__all__ = ["EmulatorProcess"]

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


class EmulatorProcess:
    """Runs an `Emulator` in a process of its own, until the block ends or this process does.

    Without a block, `start` and `stop` do the same.

    Args:
        storage_dir: Directory of the Delta tables. When the block has ended, they hold every row. None makes a
            temporary directory, which is removed then.
        tables: The tables to create: name and columns as DDL.
        options: Further arguments of `Emulator`.

    Attributes:
        endpoint: The gRPC endpoint.
        workspace_url: The workspace's URL.
        client_id: The client that gets tokens.
        client_secret: Its secret.
        control_token: The token of its control API.
        ca_file: The certificate of its authority; None without TLS.
        environment: Variables with its addresses, credentials and control token, for a program that is to write to it.

    Example:
        >>> with EmulatorProcess("zerobus-data", {"main.iot.air_quality": "device STRING"}) as it:  # doctest: +SKIP
        ...     print(it.endpoint)
        http://127.0.0.1:50051
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
        self._process: BaseProcess | None = None

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
        # A forked process would inherit threads and locks of libraries in whatever state they are.
        spawn = multiprocessing.get_context("spawn")
        self._connection, its_end = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(its_end, *self._arguments), name="emulator", daemon=True)
        said: dict[str, Any] | str = "it did not start in time"
        try:
            self._process.start()
            its_end.close()  # so that reading ends when the process does
            if self._connection.poll(_START_SECONDS):
                said = self._connection.recv()
        except EOFError:
            said = "its process ended"
        except BaseException:
            its_end.close()
            self.stop()
            raise
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
        self._connection.close()
        if process.pid is None:
            return  # it could not be started
        process.join(_STOP_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()


def _serve(
    connection: Connection, storage_dir: str | Path | None, tables: Mapping[str, str], options: Mapping[str, Any]
) -> None:
    """Run the emulator until the other end of the connection is closed, as it is when its process ends."""
    from beam_zerobus.emulator.emulator import Emulator  # noqa: PLC0415 - its errors are reported, as others are
    from beam_zerobus.emulator.environment import environment_of  # noqa: PLC0415

    try:
        with Emulator(storage_dir, **options) as emulator:
            for name, columns in tables.items():
                emulator.create_table(name, columns)
            names = ("endpoint", "workspace_url", "client_id", "client_secret", "control_token", "ca_file")
            known = {name: getattr(emulator, name) for name in names}
            connection.send({**known, "environment": environment_of(emulator)})
            with suppress(EOFError, OSError):
                connection.recv()
    except (ConfigurationError, TypeError) as error:
        connection.send(str(error))
    except KeyboardInterrupt:
        pass  # Ctrl-C reaches the whole group of processes; the other one reports it

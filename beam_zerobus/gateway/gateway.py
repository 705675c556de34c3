"""`Gateway`: Arrow Flight in, Zerobus out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import pyarrow as pa

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.gateway.dead_letters import DeadLetters
from beam_zerobus.gateway.directories import faults_of_directories
from beam_zerobus.gateway.health import HealthServer
from beam_zerobus.gateway.listening import fault_of_port, faults_of_listening
from beam_zerobus.gateway.service import FlightService
from beam_zerobus.gateway.settings import ABOUT, GatewaySettings

__all__ = ["Gateway"]


class Gateway:
    """A running gateway; it listens as soon as it is made.

    Args:
        settings: Where it listens, who may call it, how it writes.

    Raises:
        ConfigurationError: A port, a certificate or a directory cannot be used; the message lists all that cannot.

    Example:
        >>> with Gateway(GatewaySettings(port=0, defaults={"dry_run": True, "schema": None})) as gateway:
        ...     gateway.location.startswith("grpc://127.0.0.1:")
        True
    """

    def __init__(self, settings: GatewaySettings | None = None) -> None:
        self._settings = settings or GatewaySettings()
        self._health: HealthServer | None = None
        self._stop_lock = threading.Lock()
        self._stopped: bool | None = None
        faults = [*faults_of_listening(self._settings), *faults_of_directories(self._settings)]
        if faults:
            raise ConfigurationError.of_faults(faults, about=ABOUT)
        dead_letters = DeadLetters(self._settings.dead_letters)
        try:
            self._service = FlightService(self._settings, dead_letters)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise ConfigurationError(fault_of_port(self._settings, "port", error)) from error
        if self._settings.health_port is not None:
            try:
                self._health = HealthServer(self._settings.host, self._settings.health_port, self._service.health)
            except OSError as error:
                self._service.close()
                self._service.shutdown()
                raise ConfigurationError(fault_of_port(self._settings, "health_port", error)) from error

    @property
    def location(self) -> str:
        """What clients connect to, such as ``grpc://127.0.0.1:8815``."""
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        tls = "+tls" if self._settings.tls_certificate is not None else ""
        return f"grpc{tls}://{host}:{self._service.port}"

    @property
    def health_port(self) -> int | None:
        """The port of ``/health``."""
        return None if self._health is None else self._health.port

    @property
    def running_calls(self) -> int:
        """Calls that write at the moment."""
        return self._service.running_calls

    def stop(self, timeout: float | None = None) -> bool:
        """Accept nothing new, deliver what was accepted, and end; stopping twice does nothing.

        Args:
            timeout: Seconds to wait at most; None is `GatewaySettings.stop_timeout`.

        Returns:
            False if not everything ended in time: a client neither sent nor closed, or the service did not acknowledge.
        """
        with self._stop_lock:
            if self._stopped is None:
                self._stopped = self._stop(self._settings.stop_timeout if timeout is None else timeout)
            return self._stopped

    def _stop(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        ended = self._service.drain(timeout)
        ended &= _run(self._service.close, deadline)
        ended &= _run(self._service.shutdown, deadline)
        if self._health is not None:
            self._health.close()
        return ended

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _run(function: Callable[[], None], deadline: float) -> bool:
    """Run a function that may wait without a limit; return whether it ended before the deadline, or in a second."""
    thread = threading.Thread(target=function, name=f"gateway-{function.__name__}", daemon=True)
    thread.start()
    thread.join(max(1.0, deadline - time.monotonic()))
    return not thread.is_alive()

"""`Gateway`: Arrow Flight in, Zerobus out."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.gateway.health import HealthServer
from beam_zerobus.gateway.service import FlightService
from beam_zerobus.gateway.settings import GatewaySettings

__all__ = ["Gateway"]


class Gateway:
    """A running gateway; it listens as soon as it is made.

    Args:
        settings: Where it listens, who may call it, how it writes.

    Raises:
        ConfigurationError: The port is taken, or the certificates cannot be read.

    Example:
        >>> with Gateway(GatewaySettings(port=0, defaults={"dry_run": True, "schema": None})) as gateway:
        ...     gateway.location.startswith("grpc://127.0.0.1:")
        True
    """

    def __init__(self, settings: GatewaySettings | None = None) -> None:
        self._settings = settings or GatewaySettings()
        self._health: HealthServer | None = None
        try:
            self._service = FlightService(self._settings)
        except (OSError, ValueError) as error:  # Arrow's errors are among them
            raise ConfigurationError(
                f"The gateway cannot listen on {self._settings.host} port {self._settings.port}: {error}; "
                "choose another port, or check the certificates"
            ) from error
        if self._settings.health_port is not None:
            try:
                self._health = HealthServer(self._settings.host, self._settings.health_port, self._service.health)
            except OSError as error:
                self._service.shutdown()
                raise ConfigurationError(
                    f"The gateway cannot listen on health_port={self._settings.health_port}: {error}; choose another"
                ) from error

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
        """Accept nothing new, deliver what was accepted, and end.

        Args:
            timeout: Seconds to wait at most; None is `GatewaySettings.stop_timeout`.

        Returns:
            False where calls were still running: clients that neither sent nor closed. They end with the process.
        """
        deadline = time.monotonic() + (self._settings.stop_timeout if timeout is None else timeout)
        drained = self._service.drain(max(0.0, deadline - time.monotonic()))
        self._service.close_writers()
        # Arrow waits here for calls without a limit, so a thread does.
        ending = threading.Thread(target=self._service.shutdown, name="gateway-shutdown", daemon=True)
        ending.start()
        ending.join(max(1.0, deadline - time.monotonic()) if drained else 0.1)
        if self._health is not None:
            self._health.close()
            self._health = None
        return drained

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

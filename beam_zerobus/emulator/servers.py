"""The two ports of the emulator: gRPC with Arrow Flight, and HTTP."""

from __future__ import annotations

import threading

import grpc

from beam_zerobus.emulator.calls import EphemeralProtocol, FlightProtocol
from beam_zerobus.emulator.host import Host
from beam_zerobus.emulator.http_api import HttpServer
from beam_zerobus.emulator.limits import MAX_MESSAGE_BYTES
from beam_zerobus.emulator.session import Session
from beam_zerobus.emulator.threads import DaemonThreads
from beam_zerobus.emulator.wire import FLIGHT_DO_PUT, FLIGHT_SERVICE, ZEROBUS_EPHEMERAL_STREAM, ZEROBUS_SERVICE
from beam_zerobus.emulator.workspace import Workspace
from beam_zerobus.errors import ConfigurationError

__all__ = ["STOP_SECONDS", "Servers"]

STOP_SECONDS = 5.0
_MAX_STREAMS = 1024
_MAX_IDLE_SECONDS = 600


class Servers:
    """Listens on both ports.

    Args:
        host: Serves the streams.
        workspace: Answers HTTP requests.
        address: Address to listen on.
        port: gRPC port; 0 lets the system choose, once: later starts use the same.
        http_port: HTTP port, likewise.

    Raises:
        ConfigurationError: A port is out of range.
    """

    def __init__(self, host: Host, workspace: Workspace, *, address: str, port: int, http_port: int) -> None:
        for name, number in (("port", port), ("http_port", http_port)):
            if not 0 <= number <= 65535:
                raise ConfigurationError(f"{name} {number}: set a port from 1 to 65535, or 0 for a free one")
        self._host = host
        self._workspace = workspace
        self._address = address
        self._port = port
        self._http_port = http_port
        self._grpc: grpc.Server | None = None
        self._http: HttpServer | None = None

    @property
    def running(self) -> bool:
        """Whether the ports are open."""
        return self._grpc is not None

    @property
    def endpoint(self) -> str:
        """The URL of the gRPC port."""
        return f"http://{self._url_host}:{self._port}"

    @property
    def workspace_url(self) -> str:
        """The URL of the HTTP port."""
        return f"http://{self._url_host}:{self._http_port}"

    @property
    def _url_host(self) -> str:
        return f"[{self._address}]" if ":" in self._address else self._address

    def start(self) -> None:
        """Open both ports and serve.

        Raises:
            ConfigurationError: A port cannot be opened.
        """
        server = grpc.server(
            DaemonThreads(),
            options=[
                # Also the limit of a message after decompression.
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_connection_idle_ms", _MAX_IDLE_SECONDS * 1000),
                # Otherwise a second emulator could open the same port.
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=_MAX_STREAMS,
        )
        server.add_generic_rpc_handlers(
            (
                _handler(ZEROBUS_SERVICE, ZEROBUS_EPHEMERAL_STREAM, self._host, EphemeralProtocol),
                _handler(FLIGHT_SERVICE, FLIGHT_DO_PUT, self._host, FlightProtocol),
            )
        )
        try:
            self._port = server.add_insecure_port(f"{self._url_host}:{self._port}")
            self._http = HttpServer((self._address, self._http_port), self._workspace)
        except (RuntimeError, OSError) as error:
            server.stop(None)
            raise ConfigurationError(
                f"ports {self._port} and {self._http_port} of {self._address} cannot be opened: {error}; "
                "choose others, or 0 for free ones"
            ) from None
        self._http_port = self._http.server_address[1]
        self._host.port = self._port
        threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, name="zerobus http", daemon=True
        ).start()
        server.start()
        self._grpc = server

    def stop_accepting(self) -> None:
        """Accept no gRPC connection from here on; open streams go on for some seconds."""
        if self._grpc is not None:
            self._grpc.stop(STOP_SECONDS)

    def stop(self, grace: float | None) -> None:
        """Close both ports.

        Args:
            grace: Seconds that open streams have left; None ends them at once.
        """
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None
        if self._grpc is not None:
            self._grpc.stop(grace).wait(2 * STOP_SECONDS)
            self._grpc = None


def _handler(
    service: str, method: str, host: Host, protocol: type[EphemeralProtocol | FlightProtocol]
) -> grpc.GenericRpcHandler:
    def serve(requests: object, context: grpc.ServicerContext) -> object:
        return Session(host, protocol(), context).run(requests)  # type: ignore[arg-type]

    # No serializers: requests and responses stay bytes, which sessions read as they need.
    return grpc.method_handlers_generic_handler(service, {method: grpc.stream_stream_rpc_method_handler(serve)})

"""The two ports of the emulator: gRPC with Arrow Flight, and HTTP."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc

from beam_zerobus.emulator.control.api import Control
from beam_zerobus.emulator.host import Host
from beam_zerobus.emulator.http.rest import RestInserts
from beam_zerobus.emulator.http.workspace import Workspace
from beam_zerobus.emulator.http_server import HttpServer
from beam_zerobus.emulator.limits import MAX_MESSAGE_BYTES
from beam_zerobus.emulator.otlp import Exports
from beam_zerobus.emulator.otlp.grpc_service import export_handlers
from beam_zerobus.emulator.otlp.http import HttpExports
from beam_zerobus.emulator.recording.interceptor import RecordingInterceptor
from beam_zerobus.emulator.sql import SqlStatements
from beam_zerobus.emulator.streams.calls import EphemeralProtocol, FlightProtocol, StreamProtocol
from beam_zerobus.emulator.streams.persistent import PersistentStreams
from beam_zerobus.emulator.streams.persistent_protocol import PersistentProtocol, retire_handler
from beam_zerobus.emulator.streams.session import Session
from beam_zerobus.emulator.threads import DaemonThreads
from beam_zerobus.emulator.wire import (
    FLIGHT_DO_PUT,
    FLIGHT_SERVICE,
    ZEROBUS_EPHEMERAL_STREAM,
    ZEROBUS_PERSISTENT_STREAM,
    ZEROBUS_SERVICE,
)
from beam_zerobus.errors import ConfigurationError
from beam_zerobus.options.hosts import is_loopback
from beam_zerobus.options.ports import why_not_free

__all__ = ["STOP_SECONDS", "Servers", "Tls"]

STOP_SECONDS = 5.0
_MAX_STREAMS = 1024
_MAX_IDLE_SECONDS = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS for both ports.

    Attributes:
        directory: Where the certificates are; made at the first start.
        names: Further names and addresses by which clients reach the server.
    """

    directory: Path
    names: Sequence[str] = ()

    @property
    def ca_file(self) -> Path:
        """The certificate of the authority, for clients to trust."""
        return self.directory / "ca.pem"

    def serve(self, address: str) -> tuple[grpc.ServerCredentials, ssl.SSLContext]:
        """Return what serves both ports, with certificates for the address and the names."""
        # Imported for TLS only, since the import takes time.
        from beam_zerobus.emulator.certificates import make_certificates  # noqa: PLC0415

        server_file = self.directory / "server.pem"
        make_certificates(self.ca_file, server_file, address, self.names)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(server_file)
        pem = server_file.read_bytes()
        return grpc.ssl_server_credentials([(pem, pem)]), context


class Servers:
    """Listens on both ports.

    Args:
        host: Serves the streams.
        workspace: Answers requests for tokens and for tables.
        statements: Answers SQL statements.
        control: Answers requests of the control API.
        address: Address to listen on.
        port: gRPC port; 0 lets the system choose, once: later starts use the same.
        http_port: HTTP port, likewise.
        tls: TLS; None for plain text, on loopback only.
        in_development: Serve what the service has in development too.

    Raises:
        ConfigurationError: A port is out of range, or the address is not loopback and there is no TLS.
    """

    def __init__(
        self,
        host: Host,
        workspace: Workspace,
        statements: SqlStatements,
        control: Control,
        *,
        address: str,
        port: int,
        http_port: int,
        tls: Tls | None = None,
        in_development: bool = False,
    ) -> None:
        if tls is None and not is_loopback(address):
            raise ConfigurationError(
                f"host {address} is not loopback: tokens and rows would travel unencrypted; "
                "turn TLS on (tls=True, --tls), or listen on 127.0.0.1"
            )
        for name, number in (("port", port), ("http_port", http_port)):
            if not 0 <= number <= 65535:
                raise ConfigurationError(f"{name} {number}: set a port from 1 to 65535, or 0 for a free one")
        self._host = host
        self._workspace = workspace
        self._statements = statements
        self._control = control
        self._address = address
        self._port = port
        self._http_port = http_port
        self._tls = tls
        self._persistent = PersistentStreams() if in_development else None
        self._grpc: grpc.Server | None = None
        self._http: HttpServer | None = None

    @property
    def running(self) -> bool:
        """Whether the ports are open."""
        return self._grpc is not None

    @property
    def endpoint(self) -> str:
        """The URL of the gRPC port."""
        return f"{self._scheme}://{self._url_host}:{self._port}"

    @property
    def workspace_url(self) -> str:
        """The URL of the HTTP port."""
        return f"{self._scheme}://{self._url_host}:{self._http_port}"

    @property
    def _scheme(self) -> str:
        return "http" if self._tls is None else "https"

    @property
    def _url_host(self) -> str:
        return f"[{self._address}]" if ":" in self._address else self._address

    def start(self) -> None:
        """Open both ports and serve.

        Raises:
            ConfigurationError: A port cannot be opened, or the certificates cannot be written.
        """
        credentials, context = (None, None) if self._tls is None else self._tls.serve(self._address)
        server = grpc.server(
            DaemonThreads(),
            interceptors=() if self._host.recorder is None else (RecordingInterceptor(self._host.recorder),),
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
                *export_handlers(Exports(self._host)),
            )
        )
        if self._persistent is not None:
            protocol = partial(PersistentProtocol, self._persistent)
            handler = _handler(ZEROBUS_SERVICE, ZEROBUS_PERSISTENT_STREAM, self._host, protocol)
            server.add_generic_rpc_handlers((handler, retire_handler(self._host, self._persistent)))
        # HTTP first: while it is not open yet, official clients fail for good, since they get no token; while only the
        # gRPC port is closed, they try again.
        http = None
        try:
            http = HttpServer(
                (self._address, self._http_port),
                self._workspace,
                rest=RestInserts(host=self._host),
                exports=HttpExports(Exports(self._host)),
                statements=self._statements,
                control=self._control,
                recorder=self._host.recorder,
                tls=context,
            )
            if (reason := why_not_free(self._address, self._port)) is not None:
                raise OSError(reason)  # before gRPC prints a line of its own
            where = f"{self._url_host}:{self._port}"
            self._port = (
                server.add_insecure_port(where) if credentials is None else server.add_secure_port(where, credentials)
            )
        except (RuntimeError, OSError) as error:
            server.stop(None)
            if http is not None:
                http.server_close()
            raise ConfigurationError(self._why_not_opened(error)) from None
        if self._host.recorder is not None:
            self._host.recorder.mark("start")
        self._http = http
        self._http_port = http.server_address[1]
        self._host.port = self._port
        threading.Thread(
            target=http.serve_forever, kwargs={"poll_interval": 0.05}, name="zerobus http", daemon=True
        ).start()
        server.start()
        self._grpc = server

    def _why_not_opened(self, error: Exception) -> str:
        for port in (self._port, self._http_port):
            if (reason := why_not_free(self._address, port)) is not None:
                return f"port {port} of {self._address} cannot be opened: {reason}; choose another, or 0 for a free one"
        return f"the ports of {self._address} cannot be opened: {error}; choose others, or 0 for free ones"

    def stop_accepting(self) -> None:
        """Accept no connection from here on, and break those of HTTP; open streams go on for some seconds."""
        if self._grpc is not None:
            self._grpc.stop(STOP_SECONDS)
        self._stop_http(at_once=True)

    def stop(self, grace: float | None) -> None:
        """Close both ports.

        Args:
            grace: Seconds that open streams have left; None ends them at once.
        """
        self._stop_http(at_once=grace is None)
        if self._grpc is not None:
            self._grpc.stop(grace).wait(2 * STOP_SECONDS)
            self._grpc = None

    def _stop_http(self, at_once: bool) -> None:
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http.connections.end(at_once)
            self._http = None


def _handler(service: str, method: str, host: Host, protocol: Callable[[], StreamProtocol]) -> grpc.GenericRpcHandler:
    def serve(requests: object, context: grpc.ServicerContext) -> object:
        return Session(host, protocol(), context).run(requests)  # type: ignore[arg-type]

    # No serializers: requests and responses stay bytes, which sessions read as they need.
    return grpc.method_handlers_generic_handler(service, {method: grpc.stream_stream_rpc_method_handler(serve)})

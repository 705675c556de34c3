"""`Emulator`: the local Zerobus in one object."""

from __future__ import annotations

import secrets
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import pyarrow as pa

from beam_zerobus.emulator.calls import EphemeralProtocol, FlightProtocol
from beam_zerobus.emulator.catalog import Catalog
from beam_zerobus.emulator.faults import FaultInjector, Faults
from beam_zerobus.emulator.host import Host
from beam_zerobus.emulator.http_api import HttpServer, Workspace
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.session import Session
from beam_zerobus.emulator.stats import Stats, StatsBook
from beam_zerobus.emulator.table import Table
from beam_zerobus.emulator.threads import DaemonThreads
from beam_zerobus.emulator.tokens import TokenIssuer
from beam_zerobus.emulator.wire import FLIGHT_DO_PUT, FLIGHT_SERVICE, ZEROBUS_EPHEMERAL_STREAM, ZEROBUS_SERVICE
from beam_zerobus.errors import ConfigurationError
from beam_zerobus.schema import TableSchema

__all__ = ["Emulator"]

_MAX_MESSAGE_BYTES = 64 << 20
_MAX_STREAMS = 1024
_STOP_SECONDS = 5.0


class Emulator:
    """A local Zerobus: streams over gRPC and Arrow Flight, tokens and table descriptions over HTTP, rows in Delta.

    What is acknowledged is committed to a Delta table, so a kill of the process loses none of it. (Files are not
    forced to the disk itself: a power cut may.)

    Args:
        storage_dir: Directory of the Delta tables; those that are there are opened. None makes a temporary one, which
            is removed in the end.
        memory: Keep rows in memory and acknowledge at once: for benchmarks. Rows are then checked when they are read
            back, not when they arrive, unless `check_rows` says otherwise.
        discard: Count rows only; implies `memory`.
        check_rows: Whether values are checked against the table before a call is acknowledged; None means yes, but in
            memory mode no.
        record_calls: Keep every call as it came, in ``stats.calls``.
        client_id: The client that tokens are given to; None makes one up.
        client_secret: Its secret; None makes one up.
        token_life: Seconds that a token lives.
        host: Address to listen on.
        port: gRPC port; 0 lets the system choose, once: a restart has the same.
        http_port: HTTP port, likewise.
        faults: What goes wrong; None for nothing.

    Raises:
        ConfigurationError: Options that exclude each other.

    Example:
        >>> with Emulator(memory=True) as emulator:
        ...     table = emulator.create_table("main.iot.air_quality", "device STRING NOT NULL, temp INT")
        ...     table.count_rows()
        0
    """

    def __init__(
        self,
        storage_dir: str | Path | None = None,
        memory: bool = False,
        *,
        discard: bool = False,
        check_rows: bool | None = None,
        record_calls: bool = False,
        client_id: str | None = None,
        client_secret: str | None = None,
        token_life: float = 3600.0,
        host: str = "127.0.0.1",
        port: int = 0,
        http_port: int = 0,
        faults: Faults | None = None,
    ) -> None:
        in_memory = memory or discard
        if in_memory and storage_dir is not None:
            raise ConfigurationError("Emulator: set storage_dir, or memory or discard, not both")
        self._temporary = None
        if not in_memory and storage_dir is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="zerobus-", ignore_cleanup_errors=True)
            storage_dir = self._temporary.name
        self.client_id = client_id or f"client-{secrets.token_hex(4)}"
        self.client_secret = client_secret or secrets.token_hex(16)
        self.storage_dir = None if storage_dir is None else Path(storage_dir).resolve()
        self._catalog = Catalog(self.storage_dir, discard=discard)
        self._stats = StatsBook(record_calls=record_calls)
        self._tokens = TokenIssuer(self.client_secret, token_life)
        self._host = Host(
            find_table=self._catalog.find,
            tokens=self._tokens,
            stats=self._stats,
            injector=FaultInjector(faults or Faults()),
            check_rows=not in_memory if check_rows is None else check_rows,
        )
        self._address = host
        self._port = port
        self._http_port = http_port
        self._grpc: grpc.Server | None = None
        self._http: HttpServer | None = None
        self._http_thread: threading.Thread | None = None

    # ---- life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._temporary is not None:
            self._temporary.cleanup()

    def start(self) -> None:
        """Listen on both ports.

        Raises:
            ConfigurationError: A port is taken.
        """
        if self._grpc is not None:
            return
        # pyarrow imports pandas, where it is installed, for the first array of Python values: not while a client waits.
        pa.array([None])
        for table in self._catalog:
            table.open()
        server = grpc.server(
            DaemonThreads(),
            options=[
                ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
                # Without it a second emulator would share the port unnoticed.
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
            self._port = server.add_insecure_port(f"{self._address}:{self._port}")
            self._http = HttpServer((self._address, self._http_port), self._workspace())
        except (RuntimeError, OSError) as error:
            server.stop(None)
            raise ConfigurationError(
                f"ports {self._port} and {self._http_port} of {self._address} cannot be opened: {error}; "
                "choose others, or 0 for free ones"
            ) from None
        self._http_port = self._http.server_address[1]
        self._host.port = self._port
        self._http_thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, name="zerobus http", daemon=True
        )
        self._http_thread.start()
        server.start()
        self._grpc = server

    def stop(self) -> None:
        """Commit and acknowledge what has arrived, end all streams and close both ports."""
        for table in self._catalog:
            table.close(commit=True)
        for stream in self._host.streams():
            stream.finish(Rejection(grpc.StatusCode.UNAVAILABLE, "the emulator is being stopped"))
        self._close_ports(grace=_STOP_SECONDS)

    def kill(self) -> None:
        """Vanish as a killed process does: connections break, and what is not committed yet is lost.

        `start` brings the emulator back on the same ports, with every row that was acknowledged.
        """
        if self._grpc is not None:
            self._grpc.stop(_STOP_SECONDS)  # takes no connection from here on, and ends none yet
        for stream in self._host.streams():
            stream.cut()
        for table in self._catalog:
            table.close(commit=False)
        self._close_ports(grace=None)

    def restart(self, downtime: float = 0.0) -> None:
        """Kill the emulator and start it again on the same ports.

        Args:
            downtime: Seconds between.
        """
        self.kill()
        time.sleep(downtime)
        self.start()

    def _close_ports(self, grace: float | None) -> None:
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None
        if self._grpc is not None:
            self._grpc.stop(grace).wait(2 * _STOP_SECONDS)
            self._grpc = None

    def _workspace(self) -> Workspace:
        return Workspace(
            client_id=self.client_id,
            client_secret=self.client_secret,
            tokens=self._tokens,
            find_table=self._catalog.find,
            injector=lambda: self._host.injector,
            stats=self._stats,
        )

    # ---- where it is

    @property
    def endpoint(self) -> str:
        """The gRPC endpoint, such as ``http://127.0.0.1:50051``; ``ZEROBUS_ENDPOINT`` of clients."""
        return f"http://{self._address}:{self._port}"

    @property
    def workspace_url(self) -> str:
        """The workspace's URL; ``DATABRICKS_HOST`` of clients."""
        return f"http://{self._address}:{self._http_port}"

    # ---- tables

    def create_table(self, name: str, columns: str | pa.Schema | TableSchema) -> Table:
        """Make a table, or return the one that exists with the same columns.

        Args:
            name: ``catalog.schema.table``.
            columns: DDL such as ``"id BIGINT NOT NULL, name STRING"``, an Arrow schema, or a `TableSchema`.

        Raises:
            ConfigurationError: The name or the columns are not those of a Delta table, or the table exists with
                others.
        """
        table = self._catalog.create(name, columns)
        self._stats.table_created(name)
        return table

    def table(self, name: str) -> Table:
        """Return a table.

        Raises:
            KeyError: There is none of that name.
        """
        table = self._catalog.find(name)
        if table is None:
            raise KeyError(
                f"no table {name!r}; there are: {', '.join(sorted(t.name for t in self._catalog)) or 'none'}"
            )
        return table

    @property
    def tables(self) -> tuple[Table, ...]:
        """All tables."""
        return tuple(self._catalog)

    def drop_table(self, name: str) -> None:
        """Remove a table; streams that are open fail at their next call, new ones are answered NOT_FOUND."""
        self._catalog.drop(name)

    # ---- what happens

    @property
    def stats(self) -> Stats:
        """The counts of this moment."""
        return self._stats.snapshot()

    @property
    def faults(self) -> Faults:
        """What goes wrong; set it to change that at once, which starts the faults' counts anew."""
        return self._host.injector.faults

    @faults.setter
    def faults(self, faults: Faults | None) -> None:
        self._host.injector = FaultInjector(faults or Faults())

    @property
    def token_life(self) -> float:
        """Seconds that new tokens live; may be set."""
        return self._tokens.life

    @token_life.setter
    def token_life(self, seconds: float) -> None:
        self._tokens.life = seconds

    def issue_token(self, table: str | None = None, life: float | None = None) -> str:
        """Return an access token without asking the token endpoint.

        Args:
            table: The table that it allows writing to; None for one that only reads table descriptions.
            life: Seconds that it lives; None for `token_life`.
        """
        return self._tokens.issue(table, life)

    def revoke_tokens(self) -> None:
        """Make all tokens issued so far invalid, also on open streams: these end with UNAUTHENTICATED."""
        self._tokens.revoke_all()

    def __repr__(self) -> str:
        return f"Emulator(endpoint={self.endpoint!r}, workspace_url={self.workspace_url!r})"


def _handler(
    service: str, method: str, host: Host, protocol: type[EphemeralProtocol | FlightProtocol]
) -> grpc.GenericRpcHandler:
    def serve(requests: object, context: grpc.ServicerContext) -> object:
        return Session(host, protocol(), context).run(requests)  # type: ignore[arg-type]

    # No serializers: requests and responses stay bytes, which sessions read as they need.
    return grpc.method_handlers_generic_handler(service, {method: grpc.stream_stream_rpc_method_handler(serve)})

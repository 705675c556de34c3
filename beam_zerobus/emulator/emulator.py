"""`Emulator`: the emulator in one object."""

from __future__ import annotations

import math
import secrets
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import pyarrow as pa

from beam_zerobus.emulator.access.grants import Grants
from beam_zerobus.emulator.access.tokens import TokenIssuer
from beam_zerobus.emulator.control.api import Control, token_of
from beam_zerobus.emulator.counts.stats import StatsBook
from beam_zerobus.emulator.faults import FaultInjector, Faults
from beam_zerobus.emulator.host import Host
from beam_zerobus.emulator.http.workspace import Workspace
from beam_zerobus.emulator.page import PageView
from beam_zerobus.emulator.recording.recorder import Recorder, RecorderOptions
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.servers import STOP_SECONDS, Servers, Tls
from beam_zerobus.emulator.sql import WAREHOUSE_ID, SqlStatements, Warehouse
from beam_zerobus.emulator.steering import Steering, faults_as_json
from beam_zerobus.emulator.tables.catalog import Catalog
from beam_zerobus.emulator.tables.layout import Layout, TableRules
from beam_zerobus.emulator.tables.table import Table
from beam_zerobus.errors import ConfigurationError
from beam_zerobus.schema import TableSchema

__all__ = ["Emulator"]


class Emulator(Steering):
    """An emulator of Zerobus: streams over gRPC and Arrow Flight, tokens and tables over HTTP, rows in Delta.

    Acknowledged rows are committed to a Delta table, so a kill of the process loses none of them. (Files are not
    forced to the disk itself: a power cut may lose rows.)

    Args:
        storage_dir: Directory of the Delta tables; existing ones are opened. One emulator at a time uses it. None makes
            a temporary directory, which is removed at the end.
        memory: Keep rows in memory and acknowledge at once: for benchmarks. Rows are then checked when they are read
            back, not when they arrive, unless `check_rows` says otherwise.
        discard: Count rows only; implies `memory`.
        check_rows: Whether values are checked against the table before a call is acknowledged; None means yes, except
            in memory mode.
        record_calls: Keep every call as received, in ``stats.calls``.
        client_id: The client that gets tokens; None generates one.
        client_secret: Its secret; None generates one.
        control_token: Token of the control API; None generates one.
        token_life: Seconds that a token is valid.
        host: Address to listen on. Anything but loopback needs `tls`.
        port: gRPC port; 0 lets the system choose, once: a restart uses the same.
        http_port: HTTP port, likewise.
        faults: The faults to inject; None for none.
        max_partitions: Partitions of a table that may be written within five seconds, as at the service; None for any
            number.
        readable_after: Seconds from a row's acknowledgement to the moment when the Delta table has it (about 5 at the
            service). Until then the row is durable beside the table.
        tls: Serve both ports over TLS, with a certificate of the emulator's own authority, `ca_file`. It is kept with
            `storage_dir`, else made new.
        tls_names: Further host names and addresses for the certificate, beside the local ones.
        in_development: Serve `PersistentStream` and `RetireStream` too, which the service has in development.
        record_to: A new file for a recording of every call, for ``beam-zerobus replay-calls``, or a directory for such
            files; None for no recording.
        mask_values: Replace the values of rows in the recording; types, lengths and nulls stay.

    Raises:
        ConfigurationError: Options that exclude each other or are out of range, or a storage directory that cannot be
            used.

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
        control_token: str | None = None,
        token_life: float = 3600.0,
        host: str = "127.0.0.1",
        port: int = 0,
        http_port: int = 0,
        faults: Faults | None = None,
        max_partitions: int | None = 1000,
        readable_after: float = 0.0,
        tls: bool = False,
        tls_names: Sequence[str] = (),
        in_development: bool = False,
        record_to: str | Path | None = None,
        mask_values: bool = False,
    ) -> None:
        in_memory = memory or discard
        if in_memory and storage_dir is not None:
            raise ConfigurationError("Emulator: set storage_dir, or memory or discard, not both")
        if in_memory and readable_after:
            raise ConfigurationError("Emulator: readable_after needs Delta tables; leave out memory and discard")
        if mask_values and record_to is None:
            raise ConfigurationError("mask_values needs record_to (--record): it masks what is recorded")
        rules = TableRules(max_partitions=max_partitions, readable_after=readable_after)
        if not 0 < token_life < math.inf:
            raise ConfigurationError(f"token_life {token_life}: set a number of seconds above 0")
        self.client_id = client_id or f"client-{secrets.token_hex(4)}"
        self.client_secret = client_secret or secrets.token_hex(16)
        self.control_token = token_of(control_token)
        self._stats = StatsBook(record_calls=record_calls)
        self._tokens = TokenIssuer(self.client_secret, token_life)
        self._grants = Grants(self.client_id)
        self._catalog: Catalog  # made last, since it locks the directory
        self._host = Host(
            find_table=lambda name: self._catalog.find(name),  # noqa: PLW0108 - the catalog is made last
            tokens=self._tokens,
            stats=self._stats,
            injector=FaultInjector(faults or Faults()),
            check_rows=not in_memory if check_rows is None else check_rows,
        )
        self._temporary = None
        if storage_dir is None and (tls or not in_memory):
            self._temporary = tempfile.TemporaryDirectory(prefix="zerobus-", ignore_cleanup_errors=True)
            storage_dir = self._temporary.name
        directory = None if storage_dir is None else Path(storage_dir).resolve()
        self.storage_dir = None if in_memory else directory
        self._tls = Tls(directory=directory / ".tls", names=tls_names) if tls and directory else None
        self._statements = SqlStatements(Warehouse(grants=self._grants, catalog=lambda: self._catalog))
        self._servers = Servers(
            self._host,
            Workspace(
                client_id=self.client_id,
                client_secret=self.client_secret,
                tokens=self._tokens,
                find_table=lambda name: self._catalog.find(name),  # noqa: PLW0108 - the catalog is made last
                grants=self._grants,
                injector=lambda: self._host.injector,
                stats=self._stats,
            ),
            self._statements,
            Control(emulator=self, token=self.control_token, view=PageView(self._stats, self._tokens)),
            address=host,
            port=port,
            http_port=http_port,
            tls=self._tls,
            in_development=in_development,
        )
        self._catalog = Catalog(
            self.storage_dir, discard=discard, rules=rules, grants=self._grants, created=self._stats.table_created
        )
        if record_to is not None:
            settings = {
                "token_life": token_life,
                "readable_after": readable_after,
                "max_partitions": max_partitions,
                "in_development": in_development,
            }
            self._start_recording(RecorderOptions(path=Path(record_to), mask_values=mask_values, settings=settings))

    def _start_recording(self, options: RecorderOptions) -> None:
        try:
            self._host.recorder = Recorder(
                options,
                client_id=self.client_id,
                client_secret=self.client_secret,
                control_token=self.control_token,
                tokens=self._tokens,
                columns_of=lambda name: () if (table := self._catalog.find(name)) is None else table.schema.columns,
            )
        except ConfigurationError:
            self._catalog.unlock()
            raise
        for table in self.tables:
            self._record_table(table)
        self._record("PUT", "/control/faults", faults_as_json(self.faults))

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as stack:
            if self._temporary is not None:
                stack.callback(self._temporary.cleanup)
            if self._host.recorder is not None:
                stack.callback(self._host.recorder.close)
            self.stop()

    def start(self) -> None:
        """Listen on both ports.

        Raises:
            ConfigurationError: A port, or meanwhile the storage directory, is in use.
        """
        if self._servers.running:
            return
        # pyarrow imports pandas, if it is installed, for the first array of Python values: not while a client waits.
        pa.array([None])
        self._catalog.lock()
        for table in self._catalog:
            table.open()
        self._servers.start()

    def stop(self) -> None:
        """Commit and acknowledge what has arrived, end all streams, close both ports and leave the directory."""
        if self._servers.running:
            self._mark("stop")
        with ExitStack() as stack:  # whatever goes wrong with a table, ports and directory are left
            stack.callback(self._catalog.unlock)
            stack.callback(self._servers.stop, grace=STOP_SECONDS)
            for table in self._catalog:
                table.close(commit=True)
            for stream in self._host.streams():
                stream.finish(Rejection(grpc.StatusCode.UNAVAILABLE, "the emulator is being stopped"))

    def kill(self) -> None:
        """Disappear as a killed process does: connections break, and what is not committed yet is lost.

        `start` opens the same ports again, with every row that was acknowledged.
        """
        if self._servers.running:
            self._mark("kill")
        self._servers.stop_accepting()
        for stream in self._host.streams():
            stream.cut()
        for table in self._catalog:
            table.close(commit=False)
        self._servers.stop(grace=None)
        self._catalog.unlock()

    def restart(self, downtime: float = 0.0) -> None:
        """Kill the emulator and start it again on the same ports.

        Args:
            downtime: Seconds between.
        """
        self.kill()
        time.sleep(downtime)
        self.start()

    @property
    def endpoint(self) -> str:
        """The gRPC endpoint, such as ``http://127.0.0.1:50051``; ``ZEROBUS_ENDPOINT`` of clients."""
        return self._servers.endpoint

    @property
    def workspace_url(self) -> str:
        """The workspace's URL; ``DATABRICKS_HOST`` of clients."""
        return self._servers.workspace_url

    @property
    def page_url(self) -> str:
        """The address of the emulator's page; the browser keeps the control token, after ``#``, to itself."""
        return f"{self.workspace_url}/#token={self.control_token}"

    warehouse_id = WAREHOUSE_ID
    """The id of the SQL warehouse; ``DATABRICKS_WAREHOUSE_ID`` of clients."""

    @property
    def ca_file(self) -> Path | None:
        """The certificate of the emulator's authority, for clients to trust; None without TLS."""
        return None if self._tls is None else self._tls.ca_file

    def create_table(
        self,
        name: str,
        columns: str | pa.Schema | TableSchema,
        *,
        partitioned_by: Sequence[str] = (),
        rescue_column: str | None = None,
    ) -> Table:
        """Make a table, or return the one that exists with the same columns.

        Args:
            name: ``catalog.schema.table``.
            columns: DDL such as ``"id BIGINT NOT NULL, name STRING"``, an Arrow schema, or a `TableSchema`.
            partitioned_by: The columns that the table is partitioned by.
            rescue_column: A nullable VARIANT column for fields of JSON records that are not in the table or do not fit
                their column, as one tagged ``zerobus-rescue`` is at the service.

        Raises:
            ConfigurationError: The name or the columns are not valid, the table exists with other columns, or
                something else is in its place in the storage directory.
        """
        layout = Layout(partitioned_by=tuple(partitioned_by), rescue_column=rescue_column)
        table = self._catalog.create(name, columns, layout)
        self._record_table(table)
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
        """Remove a table; open streams fail at their next call, and new ones get NOT_FOUND."""
        self._record("DELETE", f"/control/tables/{name}", {})
        self._catalog.drop(name)

    def reset(self) -> None:
        """Be as new: end all streams, drop all tables, faults and counts, and revoke all tokens."""
        self._record("POST", "/control/reset", {})
        for table in self.tables:
            with suppress(KeyError):  # dropped meanwhile
                self._catalog.drop(table.name)
        for stream in self._host.streams():
            stream.finish(Rejection(grpc.StatusCode.UNAVAILABLE, "the emulator was reset"))
        self._host.injector = FaultInjector(Faults())
        self._grants.clear()
        self._statements.clear()
        self._tokens.revoke_all()
        deadline = time.monotonic() + STOP_SECONDS
        while self._host.streams() and time.monotonic() < deadline:
            time.sleep(0.01)
        self._stats.reset()

    def __repr__(self) -> str:
        return f"Emulator(endpoint={self.endpoint!r}, workspace_url={self.workspace_url!r})"

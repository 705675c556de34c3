"""`GatewaySettings`: where the gateway listens, who may call it, and how it writes each table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from beam_zerobus.errors import AuthenticationError, ConfigurationError
from beam_zerobus.options.fields import faults_of_options, limits
from beam_zerobus.options.hosts import is_loopback
from beam_zerobus.rotated_files.paths import is_remote
from beam_zerobus.workspace.credentials import Credentials, OAuthClientCredentials
from beam_zerobus.workspace.secret import Secret, clean_secret
from beam_zerobus.writer.config import WriterConfig, make_config

__all__ = ["ABOUT", "GatewaySettings"]

ABOUT = "gateway's settings"
"""What is wrong, in the message about faults."""

_ANY_TABLE = "catalog.schema.table"
_FETCHED = "unity_catalog"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """The options of a gateway, checked as a whole when they are made.

    Attributes:
        host: Address to listen on. Other addresses than loopback need TLS, and a token or client certificates.
        port: Port of Arrow Flight; 0 chooses a free one.
        health_port: Port of /health over HTTP, which is served only with it; 0 chooses a free one.
        token: What callers send as ``authorization: Bearer <token>``; None asks for none.
        tls_certificate: PEM file of the server's certificate, for TLS.
        tls_key: PEM file of its key.
        tls_client_ca: PEM file of the authority that signed the certificates of clients, for mutual TLS.
        max_message_bytes: A RecordBatch that is larger, in Arrow memory and decoded, ends its call.
        max_calls: Calls that write at the same time; one more is rejected.
        max_clients: Connections that these calls come from; one more is rejected.
        max_batches_in_flight: Batches of one call without a result; the client waits while there are as many.
        max_bytes_in_flight: Their bytes, in Arrow memory; the client waits while there are as many.
        idle_timeout: Seconds after which a call ends that waits only for its client, to send a batch or read a result.
        stop_timeout: Seconds that the gateway waits at its end for calls and acknowledgements.
        only_listed_tables: Write only to the tables that `tables` names.
        dead_letters: Local directory for the rows that failed, as Arrow files; without it none are kept.
        defaults: Options of `ZerobusWriter` for every table.
        tables: Options for single tables by name, which count more than `defaults`.

    Raises:
        ConfigurationError: Settings are wrong; the message lists every fault.

    Example:
        >>> GatewaySettings(port=8815, defaults={"dry_run": True, "schema": None}).host
        '127.0.0.1'
    """

    host: str = "127.0.0.1"
    port: int = field(default=8815, metadata=limits(at_least=0, at_most=65_535))
    health_port: int | None = field(default=None, metadata=limits(at_least=0, at_most=65_535))
    token: Secret | str | None = field(default=None, repr=False, metadata=limits(checked=False))
    tls_certificate: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None
    max_message_bytes: int = 64 << 20
    max_calls: int = 64
    max_clients: int = 64
    max_batches_in_flight: int = 256
    max_bytes_in_flight: int = 128 << 20
    idle_timeout: float = 3600.0
    stop_timeout: float = 30.0
    only_listed_tables: bool = False
    dead_letters: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict, metadata=limits(checked=False))
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, metadata=limits(checked=False))

    def __post_init__(self) -> None:
        faults = [
            *self._faults_of_token(),
            *self._faults_of_fields(),
            *self._faults_of_listening(),
            *self._faults_of_tables(),
        ]
        if faults:
            raise ConfigurationError.of_faults(faults, about=ABOUT)

    def writer_config(self, table: str) -> WriterConfig:
        """Return how to write a table.

        Raises:
            ConfigurationError: The name is not valid, or the table is not listed and has to be.
        """
        listed = self._listed(table)
        if self.only_listed_tables and listed is None:
            raise ConfigurationError(f"The gateway does not write to table {table}: list it in its settings")
        return make_config(listed or table, **self._options_of(listed or table))

    def all_configs(self) -> dict[str, WriterConfig]:
        """Return how each listed table is written, and all others if they may be, by what messages call them."""
        configs = {table: self.writer_config(table) for table in self.tables}
        if not self.only_listed_tables:
            others = "all other tables" if self.tables else "all tables"
            configs[others] = make_config(_ANY_TABLE, **self._options_of(_ANY_TABLE))
        return configs

    def _listed(self, table: str) -> str | None:
        """Return a table's name as it is listed; Unity Catalog ignores case, so any other case is the same table."""
        return next((name for name in self.tables if name.lower() == table.lower()), None)

    def _options_of(self, table: str) -> dict[str, Any]:
        return {"schema": _FETCHED, **self.defaults, **self.tables.get(table, {})}

    def _faults_of_token(self) -> list[str]:
        """Wrap the token, without a line break at its end, and return what is wrong with it."""
        if self.token is None:
            return []
        given = self.token if isinstance(self.token, Secret) else Secret(self.token)
        try:
            token = clean_secret(given, "token")
        except AuthenticationError as error:
            token, faults = given, [str(error)]
        else:
            blank = token.reveal() != token.reveal().strip()
            faults = ["token begins or ends with a blank, which no client can send: remove it"] if blank else []
        object.__setattr__(self, "token", token)
        return faults

    def _faults_of_fields(self) -> list[str]:
        values = {declared.name: getattr(self, declared.name) for declared in fields(self)}
        return list(faults_of_options(type(self), values).values())

    def _faults_of_listening(self) -> list[str]:
        faults = []
        if (self.tls_certificate is None) != (self.tls_key is None):
            faults.append("tls_certificate and tls_key belong together: give both")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            faults.append("tls_client_ca needs tls_certificate and tls_key: give both")
        if isinstance(self.dead_letters, str) and is_remote(self.dead_letters):
            faults.append(f"dead_letters={self.dead_letters!r} is not a local directory: name one, or leave it out")
        for name in ("tls_certificate", "tls_key", "tls_client_ca"):
            path = getattr(self, name)
            if isinstance(path, str) and not Path(path).is_file():
                faults.append(f"{name}={path!r} is not a file: name a PEM file")
        if isinstance(self.host, str) and self.host and not is_loopback(self.host):
            secured = self.token is not None or self.tls_client_ca is not None
            needs = [] if self.tls_certificate is not None else ["tls_certificate and tls_key"]
            needs += [] if secured else ["a token or tls_client_ca"]
            if needs:
                faults.append(f"host={self.host!r} is not loopback: it needs {', and '.join(needs)}")
        return faults

    def _faults_of_tables(self) -> list[str]:
        if faults := _faults_of_mappings(self.defaults, self.tables):
            return faults
        of_defaults = self._faults_of_table(_ANY_TABLE)
        of_tables = {table: self._faults_of_table(table) for table in self.tables}
        if self.only_listed_tables:  # each listed table may override what is wrong for any other
            used = {fault for faults in of_tables.values() for fault in faults}
            of_defaults = [fault for fault in of_defaults if fault in used]
        faults = [f"defaults: {fault}" for fault in of_defaults]
        if self.only_listed_tables is True and not self.tables:
            faults.append("only_listed_tables is set, and no table is listed: list some, or leave it out")
        faults += [
            f"table {name} is listed twice, as {self._listed(name)} is the same: remove one"
            for name in self.tables
            if self._listed(name) != name
        ]
        for name, of_table in of_tables.items():
            faults += [f"table {name}: {fault}" for fault in of_table if fault not in of_defaults]
        return faults

    def _faults_of_table(self, table: str) -> list[str]:
        options = self._options_of(table)
        faults = faults_of_options(WriterConfig, options)
        others = {name: value for name, value in options.items() if name not in faults}
        missing = _faults_of_credentials(others)
        if missing:
            others["credentials"] = None  # they would be asked for the workspace's address
        try:
            make_config(table, **others)
        except ConfigurationError as error:
            return [*faults.values(), *(error.faults or [error.problem]), *missing]
        except TypeError as error:  # an option that does not exist
            return [*faults.values(), str(error), *missing]
        return [*faults.values(), *missing]


def _faults_of_credentials(options: Mapping[str, Any]) -> list[str]:
    """Return what is missing to sign in, which this process does; nothing where no request is sent."""
    credentials = options.get("credentials") or OAuthClientCredentials()
    signs_in = not options.get("dry_run") or options.get("schema") == _FETCHED
    return credentials.faults() if signs_in and isinstance(credentials, Credentials) else []


def _faults_of_mappings(defaults: object, tables: object) -> list[str]:
    if not isinstance(defaults, Mapping):
        return [f"defaults is of type {type(defaults).__name__}: give a dict of options"]
    if not isinstance(tables, Mapping):
        return [f"tables is of type {type(tables).__name__}: give a dict of the options of each table"]
    return [
        f"tables has {name!r} with a {type(options).__name__}: give a dict of options for the name of each table"
        for name, options in tables.items()
        if not (isinstance(name, str) and isinstance(options, Mapping))
    ]

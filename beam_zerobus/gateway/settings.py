"""`GatewaySettings`: where the gateway listens, who may call it, and how it writes each table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.options.fields import check_options, limits
from beam_zerobus.options.hosts import is_loopback
from beam_zerobus.workspace.secret import Secret
from beam_zerobus.writer.config import WriterConfig, make_config

__all__ = ["GatewaySettings"]

_ANY_TABLE = "catalog.schema.table"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """The options of a gateway, checked as a whole when they are made.

    Attributes:
        host: Address to listen on. Other addresses than loopback need TLS, and a token or client certificates.
        port: Port of Arrow Flight; 0 chooses a free one.
        health_port: Port of ``/health`` over HTTP; 0 chooses a free one, None serves none.
        token: What callers send as ``authorization: Bearer <token>``; None asks for none.
        tls_certificate: PEM file of the server's certificate, for TLS.
        tls_key: PEM file of its key.
        tls_client_ca: PEM file of the authority that signed the certificates of clients, for mutual TLS.
        max_message_bytes: A larger RecordBatch, in Arrow memory, ends its call.
        max_calls: Calls that write at the same time; one more is rejected.
        max_batches_in_flight: Batches of one call without a result; the client waits while there are as many.
        max_bytes_in_flight: Their bytes, in Arrow memory; the client waits while there are as many.
        stop_timeout: Seconds that the gateway waits at its end for calls and acknowledgements.
        only_listed_tables: Write only to the tables that `tables` names.
        dead_letters: Directory for the rows that failed, as Arrow files; None keeps none.
        defaults: Options of `ZerobusWriter` for every table.
        tables: Options for single tables by name, which count more than `defaults`.

    Raises:
        ConfigurationError: Settings are wrong; the message lists every fault.

    Example:
        >>> GatewaySettings(port=8815).host
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
    max_batches_in_flight: int = 256
    max_bytes_in_flight: int = 128 << 20
    stop_timeout: float = 30.0
    only_listed_tables: bool = False
    dead_letters: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict, metadata=limits(checked=False))
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, metadata=limits(checked=False))

    def __post_init__(self) -> None:
        if isinstance(self.token, str):
            object.__setattr__(self, "token", Secret(self.token))
        faults = [*self._faults_of_fields(), *self._faults_of_listening(), *self._faults_of_tables()]
        if faults:
            raise ConfigurationError(_listed(faults))

    def writer_config(self, table: str) -> WriterConfig:
        """Return how to write a table.

        Raises:
            ConfigurationError: The name is not valid, or the table is not listed and has to be.
        """
        if self.only_listed_tables and table not in self.tables:
            raise ConfigurationError(f"The gateway does not write to table {table}: list it in its settings")
        return make_config(table, **{"schema": "unity_catalog", **self.defaults, **self.tables.get(table, {})})

    def _faults_of_fields(self) -> list[str]:
        faults = []
        for declared in fields(self):
            try:
                check_options(type(self), {declared.name: getattr(self, declared.name)})
            except ConfigurationError as error:
                faults.append(str(error))
        return faults

    def _faults_of_listening(self) -> list[str]:
        faults = []
        if (self.tls_certificate is None) != (self.tls_key is None):
            faults.append("tls_certificate and tls_key belong together: give both")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            faults.append("tls_client_ca needs tls_certificate and tls_key")
        for name in ("tls_certificate", "tls_key", "tls_client_ca"):
            path = getattr(self, name)
            if isinstance(path, str) and not Path(path).is_file():
                faults.append(f"{name}={path!r} is not a file: name a PEM file")
        if isinstance(self.token, Secret) and not self.token.reveal().strip():
            faults.append("token is empty: give one, or leave it out")
        if isinstance(self.host, str) and not is_loopback(self.host):
            if self.tls_certificate is None:
                faults.append(f"host={self.host!r} is not loopback: it needs tls_certificate and tls_key")
            if self.token is None and self.tls_client_ca is None:
                faults.append(f"host={self.host!r} is not loopback: it needs a token, or tls_client_ca")
        return faults

    def _faults_of_tables(self) -> list[str]:
        faults = []
        for table, options in {_ANY_TABLE: {}, **self.tables}.items():
            try:
                make_config(table, **{"schema": "unity_catalog", **self.defaults, **options})
            except (ConfigurationError, TypeError) as error:
                about = "defaults" if table == _ANY_TABLE else f"table {table}"
                fault = f"{about}: {_without_table(str(error))}"
                if f"defaults: {_without_table(str(error))}" not in faults:
                    faults.append(fault)
        return faults


def _without_table(message: str) -> str:
    return message.replace(f"table {_ANY_TABLE}: ", "")


def _listed(faults: list[str]) -> str:
    if len(faults) == 1:
        return f"The gateway's settings: {faults[0]}"
    return "\n- ".join([f"{len(faults)} of the gateway's settings are wrong:", *faults])

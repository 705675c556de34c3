"""`WriterConfig`: every setting of a writer in one frozen, picklable value, checked when it is made."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from dataclasses import dataclass, field, fields
from typing import Literal, TypeAlias, get_args
from urllib.parse import urlsplit

import pyarrow as pa

from beam_zerobus.errors import ConfigurationError, about_table, redact_url
from beam_zerobus.options import ArrowCompression, DebugFiles, Retry, Telemetry, WireFormat
from beam_zerobus.schema import TableSchema
from beam_zerobus.workspace.credentials import Credentials, OAuthClientCredentials

__all__ = ["SchemaSource", "WriterConfig", "make_config"]

UNITY_CATALOG: Literal["unity_catalog"] = "unity_catalog"

SchemaSource: TypeAlias = "pa.Schema | TableSchema | str | None"
"""What users may give as `schema`: pyarrow's, a DDL string, ``"unity_catalog"``, or None."""

_NAME = re.compile(r"[A-Za-z0-9_]+")
_MAX_STREAMS = 64


@dataclass(frozen=True, kw_only=True)
class WriterConfig:
    """What a writer needs to know, resolved; equal configurations share one writer in a process.

    Attributes:
        table: ``catalog.schema.table``.
        endpoint: URL of the Zerobus service; None only in a dry run.
        workspace_url: URL of the workspace; needed for OAuth and for Unity Catalog.
        credentials: What signs in; resolved on the worker.
        schema: The table's schema, ``"unity_catalog"`` to fetch it on the worker, None to take the first batch's.
        key: Stands for the whole configuration in the process-wide registry; holds no secret.
    """

    table: str
    endpoint: str | None
    workspace_url: str | None
    credentials: Credentials = field(repr=False)
    schema: TableSchema | Literal["unity_catalog"] | None
    wire_format: WireFormat
    arrow_compression: ArrowCompression
    retry: Retry
    ignore_unknown_fields: bool
    streams_per_worker: int
    debug_files: DebugFiles | None
    telemetry: Telemetry | None
    dry_run: bool
    key: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.key:
            object.__setattr__(self, "key", self._fingerprint())

    def _fingerprint(self) -> str:
        """Hash all settings; a callable has no value to compare, so it makes the configuration unique."""
        parts = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.name not in ("key", "credentials")]
        if self.telemetry is not None:
            parts.append(repr(sorted(self.telemetry.headers.items())))  # secrets, so their repr leaves them out
        identity = self.credentials.identity()
        parts.append(uuid.uuid4().hex if identity is None else identity)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def make_config(
    table: str,
    *,
    endpoint: str | None,
    workspace_url: str | None,
    credentials: Credentials | None,
    schema: SchemaSource,
    wire_format: WireFormat,
    retry: Retry,
    ignore_unknown_fields: bool,
    streams_per_worker: int,
    debug_files: DebugFiles | None,
    telemetry: Telemetry | None,
    dry_run: bool,
    arrow_compression: ArrowCompression = "none",
) -> WriterConfig:
    """Check every setting and fill the rest from the environment.

    Raises:
        ConfigurationError: A setting is wrong; the message names it and the remedy.
    """
    check_table_name(table)
    _check_kinds(
        wire_format=wire_format,
        arrow_compression=arrow_compression,
        retry=retry,
        streams_per_worker=streams_per_worker,
        debug_files=debug_files,
        telemetry=telemetry,
    )
    credentials = credentials if credentials is not None else OAuthClientCredentials()
    if not isinstance(credentials, Credentials):
        raise ConfigurationError(
            f"credentials is a {type(credentials).__name__}: "
            "use OAuthClientCredentials, FederatedToken or StaticHeaders of beam_zerobus"
        )
    with about_table(table):
        resolved_schema = parse_schema(schema)
    if dry_run:
        if resolved_schema == UNITY_CATALOG:
            raise ConfigurationError(
                'dry_run=True touches no network, so schema="unity_catalog" cannot be fetched: give the schema'
            )
    else:
        endpoint = _url(endpoint, "endpoint", "ZEROBUS_ENDPOINT", "https://<workspace-id>.zerobus.<region>...")
        if credentials.needs_workspace or resolved_schema == UNITY_CATALOG:
            workspace_url = _url(workspace_url, "workspace_url", "DATABRICKS_HOST", "https://<workspace>...")
    return WriterConfig(
        table=table,
        endpoint=endpoint,
        workspace_url=workspace_url.rstrip("/") if workspace_url else None,
        credentials=credentials,
        schema=resolved_schema,
        wire_format=wire_format,
        arrow_compression=arrow_compression,
        retry=retry,
        ignore_unknown_fields=bool(ignore_unknown_fields),
        streams_per_worker=streams_per_worker,
        debug_files=debug_files,
        telemetry=telemetry,
        dry_run=bool(dry_run),
    )


def check_table_name(table: object) -> None:
    """Raise ConfigurationError unless `table` is ``catalog.schema.table`` in letters, digits and underscores.

    >>> check_table_name("main.iot.air_quality")
    >>> check_table_name("iot.air_quality")
    Traceback (most recent call last):
    beam_zerobus.errors.ConfigurationError: table='iot.air_quality' has 2 parts: write it as 'catalog.schema.table'
    """
    if not isinstance(table, str):
        raise ConfigurationError(f"table is a {type(table).__name__}: write it as 'catalog.schema.table'")
    parts = table.split(".")
    if len(parts) != 3:
        raise ConfigurationError(
            f"table={table!r} has {len(parts)} part{'s' * (len(parts) != 1)}: write it as 'catalog.schema.table'"
        )
    for part, role in zip(parts, ("catalog", "schema", "table"), strict=True):
        if not _NAME.fullmatch(part):
            raise ConfigurationError(
                f"table={table!r}: the {role} name {part!r} is not one that Zerobus accepts: "
                "use ASCII letters, digits and underscores only"
            )


def parse_schema(schema: SchemaSource) -> TableSchema | Literal["unity_catalog"] | None:
    """Turn what users give as `schema` into a `TableSchema`, or leave it for the worker.

    Raises:
        ConfigurationError: It is none of the accepted kinds, or its DDL cannot be read.
    """
    if schema is None or isinstance(schema, TableSchema):
        return schema
    if isinstance(schema, pa.Schema):
        return TableSchema.from_arrow(schema)
    if isinstance(schema, str):
        return UNITY_CATALOG if schema == UNITY_CATALOG else TableSchema.from_ddl(schema)
    raise ConfigurationError(
        f"schema is a {type(schema).__name__}: give a pyarrow.Schema, a DDL string such as "
        '"id BIGINT NOT NULL, name STRING", "unity_catalog", or None'
    )


def _check_kinds(
    *,
    wire_format: object,
    arrow_compression: object,
    retry: object,
    streams_per_worker: object,
    debug_files: object,
    telemetry: object,
) -> None:
    if wire_format not in get_args(WireFormat):
        raise ConfigurationError(f'wire_format={wire_format!r}: use "proto", "arrow" or "json"')
    if arrow_compression not in get_args(ArrowCompression):
        raise ConfigurationError(f'arrow_compression={arrow_compression!r}: use "none", "lz4" or "zstd"')
    if arrow_compression != "none" and wire_format != "arrow":
        raise ConfigurationError(
            f'arrow_compression={arrow_compression!r} needs wire_format="arrow"; it is {wire_format!r}'
        )
    if (
        not isinstance(streams_per_worker, int)
        or isinstance(streams_per_worker, bool)
        or not (1 <= streams_per_worker <= _MAX_STREAMS)
    ):
        raise ConfigurationError(
            f"streams_per_worker={streams_per_worker!r}: set a whole number from 1 to {_MAX_STREAMS}"
        )
    for name, value, kind in (
        ("retry", retry, Retry),
        ("debug_files", debug_files, DebugFiles),
        ("telemetry", telemetry, Telemetry),
    ):
        if not isinstance(value, kind) and not (value is None and kind is not Retry):
            raise ConfigurationError(f"{name} is a {type(value).__name__}: give beam_zerobus.{kind.__name__}(...)")


def _url(value: str | None, option: str, variable: str, example: str) -> str:
    source = option
    if value is None:
        value = os.environ.get(variable) or None
        source = f"${variable}"
    if value is None:
        raise ConfigurationError(f"{option} is not set: pass {option}=... or set {variable}, such as {example}")
    if not isinstance(value, str):
        raise ConfigurationError(f"{option} is a {type(value).__name__}: give a URL such as {example}")
    problem, shown = _problem_of_url(value), repr(redact_url(value))
    if problem is None:
        return value.rstrip("/")
    del value  # a traceback with locals would show it
    if problem == "user":
        raise ConfigurationError(f"{option} holds a user name or password: pass them as credentials instead")
    raise ConfigurationError(f"{source}={shown}{problem}: write it as {example}")


def _problem_of_url(value: str) -> str | None:
    """Return what is wrong with a URL; nothing is raised here, because the parts may hold a secret."""
    try:
        parts = urlsplit(value)
        port_is_valid = parts.port is None or parts.port >= 0
    except ValueError:
        return "user" if "@" in value else " is not a URL"
    if parts.username or parts.password:
        return "user"
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_valid:
        return " is not an http(s) URL"
    if parts.query or parts.fragment or any(c.isspace() for c in value):
        return ": a URL without query, fragment or white space is needed"
    return None

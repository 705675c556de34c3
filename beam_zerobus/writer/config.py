"""`WriterConfig`: every option of a writer, declared once, checked, and in one value that pickles."""

from __future__ import annotations

import hashlib
import os
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from beam_zerobus.batching import RowOptions
from beam_zerobus.check import Report, check_table
from beam_zerobus.errors import ConfigurationError, about_table
from beam_zerobus.options import (
    ArrowCompression,
    CreateTable,
    DebugFiles,
    OnUnknownFields,
    Retry,
    Telemetry,
    WireFormat,
)
from beam_zerobus.options.fields import check_options, limits, options_of
from beam_zerobus.options.urls import check_url
from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.rescue import RescueColumn
from beam_zerobus.schema.source import ELEMENTS, UNITY_CATALOG, SchemaSource, parse_schema
from beam_zerobus.schema.table_name import check_table_name
from beam_zerobus.schema.time_rules import EpochUnit, TimeRules, check_timezone
from beam_zerobus.workspace.addresses import ENDPOINT_EXAMPLE, WORKSPACE_EXAMPLE, check_addresses
from beam_zerobus.workspace.credentials import Credentials, OAuthClientCredentials

__all__ = ["WriterConfig", "make_base_config", "make_config", "options_among"]

_ENDPOINT = ("endpoint", "ZEROBUS_ENDPOINT", ENDPOINT_EXAMPLE)
_WORKSPACE = ("workspace_url", "DATABRICKS_HOST", WORKSPACE_EXAMPLE)
_CHECKED = (
    "endpoint",
    "workspace_url",
    "credentials",
    "wire_format",
    "on_unknown_fields",
    "rescue_column",
    "create_table",
    "warehouse_id",
    "assume_timezone",
    "epoch_unit",
)


@dataclass(frozen=True, kw_only=True)
class WriterConfig:
    """The options of a writer, checked and complete; equal configurations share one writer in a process.

    Each field is the one declaration of its option. `WriteToZerobus` and `ZerobusWriter` repeat names, types, defaults
    and texts in their signatures, and a test compares them.

    Attributes:
        table: ``"catalog.schema.table"``; it must exist, unless `create_table` makes it.
        endpoint: URL of the Zerobus service, else ``ZEROBUS_ENDPOINT``.
        workspace_url: URL of the workspace, else ``DATABRICKS_HOST``.
        credentials: `OAuthClientCredentials`, `DatabricksProfile`, `FederatedToken` or `StaticHeaders`; else
            ``DATABRICKS_CLIENT_ID`` and ``DATABRICKS_CLIENT_SECRET``.
        schema: The table's schema: ``"unity_catalog"`` to fetch it; ``"elements"`` for that of the rows themselves; or
            DDL such as ``"id BIGINT NOT NULL, name STRING"``. Without it the table's own is fetched wherever a
            workspace is known, and a dry run uses that of the rows.
        wire_format: Format of the rows in a call: ``"proto"``, ``"arrow"`` or ``"json"``.
        retry: How long the writer retries while the service fails.
        on_unknown_fields: What becomes of fields that the table does not have: ``"reject"`` rejects their rows,
            ``"ignore"`` drops them, ``"add"`` adds columns for them in a SQL warehouse, ``"rescue"`` writes them into
            `rescue_column`, with values that do not fit.
        rescue_column: The VARIANT or STRING column for ``"rescue"``; it receives one JSON object a row.
        ignore_unknown_fields: Deprecated: set `on_unknown_fields` to ``"ignore"``.
        create_table: ``"if_needed"`` creates a missing table before the first row, with the columns of `schema` or the
            rows' own, in a SQL warehouse; ``"never"`` does not.
        warehouse_id: The SQL warehouse's id, else ``DATABRICKS_WAREHOUSE_ID``.
        assume_timezone: Time zone of timestamps that have none, such as ``"UTC"`` or ``"Europe/Berlin"``, in columns of
            type TIMESTAMP; without it such rows are rejected.
        epoch_unit: Unit of whole numbers in timestamp columns, counted from 1970: ``"s"``, ``"ms"`` or ``"us"``.
            Without it, Python's integers are microseconds, and Arrow's are rejected.
        streams_per_worker: Streams of each worker process; more than one gives up the order of rows.
        debug_files: Write what is sent to files.
        telemetry: Where OpenTelemetry metrics and spans go; None for the application's own OpenTelemetry.
        dry_run: Convert and check everything, send nothing. It needs neither network nor credentials, unless ``schema``
            is ``"unity_catalog"``: then rows are checked against the table.
        arrow_compression: ``"none"``, ``"lz4"`` or ``"zstd"``, for the wire format ``"arrow"``.
        max_in_flight_bytes: Encoded bytes in flight of all writers of a process together, before callers wait; the
            smallest limit of an open writer applies. A stream has at most 20 MiB of them.
        key: Stands for the whole configuration among the writers that a process shares; holds no secret.
    """

    table: str = field(metadata=limits(flat="table", checked=False))
    endpoint: str | None = field(default=None, metadata=limits(flat="endpoint", checked=False))
    workspace_url: str | None = field(default=None, metadata=limits(flat="workspace_url", checked=False))
    credentials: Credentials = field(default_factory=OAuthClientCredentials, repr=False, metadata=limits(checked=False))
    schema: TableSchema | Literal["unity_catalog", "elements"] | None = field(
        default=None, metadata=limits(flat="schema", checked=False)
    )
    wire_format: WireFormat = field(default="proto", metadata=limits(flat="wire_format"))
    retry: Retry = Retry()  # noqa: RUF009 - frozen
    on_unknown_fields: OnUnknownFields = field(default="reject", metadata=limits(flat="on_unknown_fields"))
    rescue_column: str = field(default="_rescued_data", metadata=limits(flat="rescue_column"))
    ignore_unknown_fields: bool = field(default=False, metadata=limits(flat="ignore_unknown_fields"))
    create_table: CreateTable = field(default="never", metadata=limits(flat="create_table"))
    warehouse_id: str | None = field(default=None, metadata=limits(flat="warehouse_id"))
    assume_timezone: str | None = field(default=None, metadata=limits(flat="assume_timezone"))
    epoch_unit: EpochUnit | None = field(default=None, metadata=limits(flat="epoch_unit"))
    streams_per_worker: int = field(default=1, metadata=limits(at_most=64, flat="streams_per_worker"))
    debug_files: DebugFiles | None = None
    telemetry: Telemetry | None = None
    dry_run: bool = field(default=False, metadata=limits(flat="dry_run"))
    arrow_compression: ArrowCompression = field(default="none", metadata=limits(flat="arrow_compression"))
    max_in_flight_bytes: int = field(default=64 << 20, metadata=limits(flat="max_in_flight_bytes"))
    key: str = field(default="", compare=False, metadata=limits(checked=False))

    def __post_init__(self) -> None:
        if self.on_unknown_fields == "rescue" and isinstance(self.schema, TableSchema):
            with about_table(self.table):
                RescueColumn.of(self.schema, self.rescue_column)
        if not self.key:
            object.__setattr__(self, "key", self._fingerprint())

    @property
    def times(self) -> TimeRules:
        """How timestamps without a time zone or a unit are read."""
        return TimeRules(assume_timezone=self.assume_timezone, epoch_unit=self.epoch_unit)

    @property
    def ignores_unknown_fields(self) -> bool:
        """Drop fields that the table does not have."""
        return self.on_unknown_fields == "ignore"

    @property
    def row_options(self) -> RowOptions:
        """How elements become rows of the table."""
        return RowOptions(
            ignore_unknown_fields=self.ignores_unknown_fields,
            rescue_column=self.rescues_into,
            add_fields=self.adds_fields,
            times=self.times,
        )

    @property
    def rescues_into(self) -> str | None:
        """The column for what the others cannot hold; None if such rows are rejected."""
        return self.rescue_column if self.on_unknown_fields == "rescue" else None

    @property
    def adds_fields(self) -> bool:
        """Add columns for fields that the table does not have."""
        return self.on_unknown_fields == "add"

    @property
    def signs_in(self) -> bool:
        """Requests need credentials; a dry run sends none, unless it fetches the schema."""
        return not self.dry_run or self.fetches_schema

    @property
    def creates_table(self) -> bool:
        """Create the table before the first row, if there is none."""
        return self.create_table == "if_needed" and not self.dry_run

    @property
    def fetches_schema(self) -> bool:
        """The table's own schema applies, which Unity Catalog has."""
        return self.schema == UNITY_CATALOG or self.creates_table

    def check(self, schema: SchemaSource = None, *, python_values: bool = False) -> Report:
        """Check what keeps rows from the table, without sending one; see `check_table`.

        Args:
            schema: That of the rows, to compare with the table's; None for `schema`.
            python_values: The rows are Python values.
        """
        return check_table(
            self.table,
            schema=self.schema if schema is None else schema,
            writer_schema=self.schema,
            python_values=python_values,
            **{name: getattr(self, name) for name in _CHECKED},
        )

    def _fingerprint(self) -> str:
        """Hash all settings; a callable has no value to compare, so it makes the configuration unique."""
        parts = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.name not in ("key", "credentials")]
        if self.telemetry is not None:
            parts.append(repr(sorted(self.telemetry.headers.items())))  # secrets, so their repr leaves them out
        identity = self.credentials.identity()
        parts.append(uuid.uuid4().hex if identity is None else identity)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def make_config(table: str, **options: Any) -> WriterConfig:
    """Check every option of a writer and fill in what is missing from the environment.

    Args:
        table: The table.
        options: Options of `WriterConfig`, as users give them; `schema` may be any `SchemaSource`.

    Raises:
        ConfigurationError: An option is wrong; the message names it and the remedy.

    Example:
        >>> make_config("main.iot.air", schema="id BIGINT", dry_run=True).wire_format
        'proto'
    """
    check_table_name(table)
    return make_base_config(table, **options)


def make_base_config(label: str, **options: Any) -> WriterConfig:
    """Return what `make_config` does, for several tables; `label` stands for their names, and is not checked."""
    check_options(WriterConfig, options)
    _replace_deprecated(options)
    _check_compression(options)
    check_timezone(options.get("assume_timezone"))
    options["credentials"] = credentials = _checked_credentials(options.get("credentials"))
    with about_table(label):
        schema = parse_schema(options.get("schema"))
    sends = not options.get("dry_run")
    creates = options.get("create_table", "never") != "never"
    _check_created_table(schema, creates=creates)
    adds = options.get("on_unknown_fields") == "add"
    if adds and not creates and schema not in (None, UNITY_CATALOG):
        raise ConfigurationError(
            'on_unknown_fields="add" changes the table, and schema=... says that its columns are fixed: leave it '
            'out, or set create_table="if_needed"'
        )
    needs_warehouse = sends and (creates or adds)
    needs_workspace = (sends and credentials.needs_workspace) or schema == UNITY_CATALOG or needs_warehouse
    options["warehouse_id"] = _warehouse_id(options.get("warehouse_id"), needed=needs_warehouse)
    names = {
        "endpoint_name": _name_of(options.get("endpoint"), *_ENDPOINT),
        "workspace_name": _name_of(options.get("workspace_url"), *_WORKSPACE),
    }
    faults: list[str] = []
    no_workspace = options.get("workspace_url") is None and not os.environ.get("DATABRICKS_HOST")
    if needs_workspace and no_workspace:
        options["workspace_url"] = credentials.workspace_url()
    for name, where, needed in (("endpoint", _ENDPOINT, sends), ("workspace_url", _WORKSPACE, needs_workspace)):
        try:
            options[name] = _url(options.get(name), *where, needed=needed)
        except ConfigurationError as error:
            faults.append(str(error))
    if faults:
        raise ConfigurationError("; ".join(faults), {"faults": tuple(faults)})
    check_addresses(options["endpoint"], options["workspace_url"], **names)
    if schema is None:
        schema = UNITY_CATALOG if sends and not creates and options["workspace_url"] is not None else ELEMENTS
    return WriterConfig(table=label, **{**options, "schema": schema})


def options_among(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a writer, without its table, among the arguments of a function that takes them all.

    Example:
        >>> options_among({"self": None, "table": "main.iot.air", "wire_format": "json"})
        {'wire_format': 'json'}
    """
    names = {option.name for option in options_of(WriterConfig)} - {"table", "key"}
    return {name: value for name, value in given.items() if name in names}


def _replace_deprecated(options: dict[str, Any]) -> None:
    if options.pop("ignore_unknown_fields", False):
        if options.get("on_unknown_fields", "reject") != "reject":
            raise ConfigurationError(
                "ignore_unknown_fields is deprecated, and on_unknown_fields is set: drop the former"
            )
        warnings.warn(
            'ignore_unknown_fields is deprecated: set on_unknown_fields="ignore"', DeprecationWarning, stacklevel=5
        )
        options["on_unknown_fields"] = "ignore"


def _check_created_table(schema: object, *, creates: bool) -> None:
    """Raise ConfigurationError where a table is to be created with the columns that it has already."""
    if creates and schema == UNITY_CATALOG:
        raise ConfigurationError(
            'schema="unity_catalog" is that of a table that exists: with create_table="if_needed" give the columns, '
            'such as schema="id BIGINT NOT NULL, name STRING", or schema="elements"'
        )


def _check_compression(options: Mapping[str, Any]) -> None:
    compression, wire_format = options.get("arrow_compression", "none"), options.get("wire_format", "proto")
    if compression != "none" and wire_format != "arrow":
        raise ConfigurationError(f'arrow_compression={compression!r} needs wire_format="arrow"; it is {wire_format!r}')


def _checked_credentials(credentials: object) -> Credentials:
    if credentials is None:
        return OAuthClientCredentials()
    if not isinstance(credentials, Credentials):
        raise ConfigurationError(
            f"credentials has the type {type(credentials).__name__}: "
            "use OAuthClientCredentials, DatabricksProfile, FederatedToken or StaticHeaders of beam_zerobus"
        )
    return credentials


def _warehouse_id(value: str | None, *, needed: bool) -> str | None:
    found = value or os.environ.get("DATABRICKS_WAREHOUSE_ID", "").strip() or None
    if needed and found is None:
        raise ConfigurationError(
            "warehouse_id is not set: pass warehouse_id=... or set DATABRICKS_WAREHOUSE_ID, to the id of a SQL "
            "warehouse that creates tables and adds columns"
        )
    return found if needed else value


def _name_of(value: object, option: str, variable: str, _example: str) -> str:
    """Return where a URL is from, for messages; a variable counts where the option is not given."""
    return f"${variable}" if value is None and os.environ.get(variable) else option


def _url(value: object, option: str, variable: str, example: str, *, needed: bool) -> str | None:
    if value is not None:
        return check_url(value, name=option, example=example, credentials="credentials").rstrip("/")
    if not needed:
        return None
    if not os.environ.get(variable):
        raise ConfigurationError(
            f"{option} is not set: pass {option}=... or set {variable}, such as {example}, or to what beam-zerobus "
            "emulator prints"
        )
    # No variable holds the URL here: a traceback with locals would show what it holds.
    return check_url(os.environ[variable], name=f"${variable}", example=example, credentials="credentials").rstrip("/")

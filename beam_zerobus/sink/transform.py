"""`WriteToZerobus`: a PCollection into a Delta table."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.metrics.metric import Metrics
from apache_beam.options.pipeline_options import GoogleCloudOptions
from apache_beam.pvalue import PCollection
from apache_beam.transforms.display import DisplayDataItem
from apache_beam.transforms.error_handling import ErrorHandler
from apache_beam.transforms.window import GlobalWindows
from apache_beam.typehints.batch import BatchConverter

from beam_zerobus.check import Report
from beam_zerobus.destinations import KeptFields, TableOption, destination_of
from beam_zerobus.errors import ConfigurationError
from beam_zerobus.options import (
    ArrowCompression,
    Batching,
    CreateTable,
    DebugFiles,
    OnBadRows,
    OnUnknownFields,
    Retry,
    Telemetry,
    WireFormat,
)
from beam_zerobus.options.fields import check_options, options_of
from beam_zerobus.options.wording import Wording
from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.time_rules import EpochUnit
from beam_zerobus.sink.across_bundles import CollectAcrossBundles
from beam_zerobus.sink.dofns import (
    WriteRows,
    WriteRowsInWindows,
    WriteRowsWithTimestamps,
    WriteTables,
    WriteTablesWithTimestamps,
)
from beam_zerobus.sink.failed_rows import FAILED_ROW_TYPE, FAILED_ROWS, FailedRows
from beam_zerobus.sink.result import ACKNOWLEDGED, ACKNOWLEDGED_TYPE, WriteResult
from beam_zerobus.sink.schema_choice import check_columns, has_python_values, schema_of, with_schema_of_type
from beam_zerobus.sink.settings import SinkOptions, SinkSettings
from beam_zerobus.workspace.credentials import Credentials
from beam_zerobus.writer.config import WriterConfig, make_config, options_among
from beam_zerobus.writer.writers_config import SchemaOfTables, WritersConfig, WritersOptions, make_writers_config
from beam_zerobus.writer.zerobus_writer import ZerobusWriter

__all__ = ["WriteToZerobus", "failing_together", "noting_written", "worded"]


class WriteToZerobus(beam.PTransform[PCollection[Any], WriteResult]):
    """Writes elements to a Delta table through Databricks Zerobus; a bundle succeeds when its rows are durable.

    Elements are dicts, `beam.Row`, NamedTuples, dataclasses, pyarrow RecordBatches or Tables, or JSON objects as str or
    bytes. Delivery is at least once: a bundle that the runner tries again may write rows twice.

    Args:
        table: ``"catalog.schema.table"``; it must exist, unless `create_table` makes it. Or a template with
            fields of the element, such as ``"main.{region}.events_{device.kind}"``, or a function of the element that
            returns the name: see `docs/many-tables.md`.
        endpoint: URL of the Zerobus service, else ``ZEROBUS_ENDPOINT``.
        workspace_url: URL of the workspace, else ``DATABRICKS_HOST``.
        credentials: `OAuthClientCredentials`, `DatabricksProfile`, `FederatedToken` or `StaticHeaders`; else
            ``DATABRICKS_CLIENT_ID`` and ``DATABRICKS_CLIENT_SECRET``, read on the worker.
        schema: The table's schema: ``"unity_catalog"`` to fetch it; ``"elements"`` for that of the rows themselves; or
            DDL such as ``"id BIGINT NOT NULL, name STRING"``. Without it the table's own is fetched wherever a
            workspace is known, and a dry run uses that of the rows. A `pyarrow.Schema` is accepted too; for many tables
            also a mapping from the table's name to its schema, or a function of the name that returns it.
        wire_format: Format of the rows in a call: ``"proto"``, ``"arrow"`` or ``"json"``.
        batching: How many rows go out together, and how long they may wait for each other.
        retry: How long the writer retries while the service fails. After that the bundle fails.
        on_bad_rows: ``"raise"`` fails the bundle with the count of rejected rows and the first reasons;
            ``"dead_letter"`` writes all other rows and sends the rejected ones to the output `failed_rows`.
            RecordBatches and Tables are hardly slower with it. For single elements Beam uses a slower call that
            provides each element's timestamp, 0.7 µs an element even with a sink that does nothing, so that dicts
            reach some 0.6 of the rate (`python -m tests.benchmarks.sink --only dead-letters`).
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
        keep: Fields of an element that are written; None for all. The case of a name does not matter.
        drop: Fields of an element that are not written, such as those that only choose its table.
        max_open_tables: Tables that a worker process has open at once, each with its own stream; the one that was used
            least recently is flushed and closed when another is needed.
        max_in_flight_bytes: Encoded bytes in flight of all writers of a process together, before callers wait; the
            smallest limit of an open writer applies. A stream has at most 20 MiB of them.
        max_tables_in_metrics: Tables of a worker process that have metrics of their own; all others are counted under
            ``"other"``.

    Raises:
        ConfigurationError: An option is wrong; or, when the sink is applied, the schema is to be that of the elements,
            and their type declares none.

    Example:
        >>> with beam.Pipeline() as pipeline:
        ...     result = (
        ...         pipeline
        ...         | beam.Create([{"device": "attic", "co2": 417}])
        ...         | WriteToZerobus("main.iot.air_quality", schema="device STRING, co2 INT", dry_run=True)
        ...     )
        >>> sorted(result)
        ['acknowledged', 'failed_rows']
    """

    def __init__(
        self,
        table: TableOption,
        *,
        endpoint: str | None = None,
        workspace_url: str | None = None,
        credentials: Credentials | None = None,
        schema: SchemaOfTables = None,
        wire_format: WireFormat = "proto",
        batching: Batching = Batching(),  # noqa: B008 - frozen
        retry: Retry = Retry(),  # noqa: B008 - frozen
        on_bad_rows: OnBadRows = "raise",
        on_unknown_fields: OnUnknownFields = "reject",
        rescue_column: str = "_rescued_data",
        ignore_unknown_fields: bool = False,
        create_table: CreateTable = "never",
        warehouse_id: str | None = None,
        assume_timezone: str | None = None,
        epoch_unit: EpochUnit | None = None,
        streams_per_worker: int = 1,
        debug_files: DebugFiles | None = None,
        telemetry: Telemetry | None = None,
        dry_run: bool = False,
        arrow_compression: ArrowCompression = "none",
        keep: Sequence[str] | None = None,
        drop: Sequence[str] | None = None,
        max_open_tables: int = 50,
        max_in_flight_bytes: int = 64 << 20,
        max_tables_in_metrics: int = 100,
    ) -> None:
        given = locals()
        super().__init__()
        check_options(SinkOptions, given)
        check_options(WritersOptions, given)
        self._writer_options = options_among(given)
        self._kept = KeptFields.of(keep, drop)
        self._sink_options = SinkOptions(batching=batching, on_bad_rows=on_bad_rows, keep=keep, drop=drop)
        self._writers_options = WritersOptions(
            max_open_tables=max_open_tables, max_tables_in_metrics=max_tables_in_metrics
        )
        self._destination = destination_of(table)
        self._tables: WritersConfig | None = None
        if self._destination is None:
            self._config = make_config(str(table), **self._writer_options)
        else:
            label = self._destination.label
            self._tables = make_writers_config(label, **self._writer_options, **asdict(self._writers_options))
            self._config = self._tables.base
        self._batching = batching
        self._on_bad_rows = on_bad_rows
        self._error_handler: ErrorHandler | None = None
        self._note_written: Callable[[np.ndarray], None] | None = None
        self._failures_together = False
        self._wording: Wording | None = None

    def with_error_handler(self, error_handler: ErrorHandler | None) -> WriteToZerobus:
        """Return this transform with its rejected rows sent to a handler; with None they fail the bundle.

        Args:
            error_handler: Beam's `ErrorHandler`; it receives the elements of `failed_rows`.
        """
        handled = copy.copy(self)
        handled._error_handler = error_handler
        handled._on_bad_rows = "raise" if error_handler is None else "dead_letter"
        return handled

    def expand(self, elements: PCollection[Any]) -> WriteResult:
        """Apply the sink.

        Raises:
            ConfigurationError: The schema is to be that of the elements, and their type declares none.
        """
        config, tables = self._config, self._tables
        if tables is None:
            config = with_schema_of_type(config, elements.element_type, self._writer_options, self._kept)
        elif tables.schemas is None:
            check_columns(config, elements.element_type)
        config = _naming_the_step(config, self.label, elements)
        settings = SinkSettings(
            config=config,
            tables=None if tables is None else replace(tables, base=config),
            destination=self._destination,
            kept=self._kept,
            batching=self._batching,
            dead_letters=self._on_bad_rows == "dead_letter",
            failures_together=self._failures_together,
            namespace=Metrics.get_namespace(WriteToZerobus),
            note_written=self._note_written,
            wording=self._wording,
        )
        has_windows = not isinstance(elements.windowing.windowfn, GlobalWindows)
        if self._batching.across_bundles:
            if self._batching.max_delay is None and not elements.is_bounded:
                raise ConfigurationError(
                    "Batching.across_bundles on an unbounded PCollection would keep its last rows in state forever: "
                    "set Batching.max_delay too"
                )
            elements = elements | "AcrossBundles" >> CollectAcrossBundles(self._batching)
        outputs = elements | "Write" >> beam.ParDo(
            _dofn_for(elements, settings, has_windows=has_windows)
        ).with_output_types(
            ACKNOWLEDGED_TYPE, **{FAILED_ROWS: FailedRows if self._failures_together else FAILED_ROW_TYPE}
        ).with_outputs(FAILED_ROWS, main=ACKNOWLEDGED)
        result = WriteResult({FAILED_ROWS: outputs[FAILED_ROWS], ACKNOWLEDGED: outputs[ACKNOWLEDGED]})
        if self._error_handler is not None:
            self._error_handler.add_error_pcollection(result.failed_rows)
        return result

    def resolve_schema(self) -> TableSchema:
        """Return the schema; if it is to be fetched from Unity Catalog, it is fetched now, in this process.

        Raises:
            ConfigurationError: There is no such table; or the schema is that of the elements.
            ZerobusError: Unity Catalog could not be reached, or rejected the request.
        """
        if self._destination is not None:
            raise ConfigurationError(f"table={self._destination.label!r} has no single schema: name one table")
        config = replace(self._config, debug_files=None, telemetry=None, key="")
        with ZerobusWriter.from_config(config) as writer:
            return writer.resolve_schema()

    def check(self, elements: Any = None, *, table: str | None = None) -> Report:
        """Check everything that can be known before a row is sent, in this process; sends none. See `check_table`.

        Args:
            elements: What will be written, to compare its columns with the table's: a PCollection, the type of its
                elements (a NamedTuple, a dataclass, a Beam row type), or their schema, such as a `pyarrow.Schema`. None
                for the sink's own schema.
            table: The table to check, of many.

        Returns:
            The findings with their remedies; nothing is raised for what is wrong with table, network or service.

        Raises:
            ConfigurationError: Many tables, and none is named; or the elements' type does not determine columns.

        Example:
            >>> WriteToZerobus("main.iot.air_quality", schema="co2 INT", dry_run=True).check().exit_code
            2
        """
        if self._tables is None:
            config = self._config
        elif table is None:
            raise ConfigurationError(
                f"table={self._config.table!r} names many tables: give one of them, check(table=...)"
            )
        else:
            config = self._tables.of(table)
        return config.check(schema_of(elements, self._kept), python_values=has_python_values(elements))

    def display_data(self) -> dict[str, Any]:
        """Return the options that a runner may show: those that are flags, so never credentials."""
        sink = replace(self._sink_options, on_bad_rows=self._on_bad_rows)
        parts: tuple[Any, ...] = (self._config, sink, self._writers_options, sink.batching, self._config.retry)
        shown = {
            option.name: getattr(options, option.name)
            for options in parts
            for option in options_of(type(options))
            if option.flat_name is not None
        }
        if isinstance(shown["schema"], TableSchema):
            shown["schema"] = shown["schema"].to_ddl()
        for name in ("keep", "drop"):  # Beam shows no lists
            shown[name] = ", ".join(shown[name]) if shown[name] else None
        return {name: DisplayDataItem(value).drop_if_none() for name, value in shown.items()}


def failing_together(sink: WriteToZerobus) -> WriteToZerobus:
    """Return a sink with all the rejected rows of a batch as one element of `failed_rows`.

    `KeepDeadLetters` takes such elements, too. Many rejected rows then cost far less than an element for each.
    """
    together = copy.copy(sink)
    together._failures_together = True
    return together


def noting_written(sink: WriteToZerobus, note: Callable[[np.ndarray], None]) -> WriteToZerobus:
    """Return a sink with dead letters that reports which rows are written, for a source that numbers its rows.

    Args:
        sink: The sink.
        note: Called as `SinkSettings` says; it is sent to the workers.
    """
    noting = copy.copy(sink)
    noting._note_written = note
    return noting


def worded(sink: WriteToZerobus, wording: Wording) -> WriteToZerobus:
    """Return a sink whose errors on workers name options as its user gives them."""
    reworded = copy.copy(sink)
    reworded._wording = wording
    return reworded


def _naming_the_step(config: WriterConfig, label: str, elements: PCollection[Any]) -> WriterConfig:
    """Add the names of job and step to exported telemetry, unless the user set them."""
    if config.telemetry is None:
        return config
    job = elements.pipeline.options.view_as(GoogleCloudOptions).job_name
    named = {"beam.step.name": label, **({"beam.job.name": job} if job else {}), **config.telemetry.resource_attributes}
    return replace(config, telemetry=replace(config.telemetry, resource_attributes=named), key="")


def _dofn_for(elements: PCollection[Any], settings: SinkSettings, *, has_windows: bool) -> beam.DoFn:
    if has_windows:
        return WriteRowsInWindows(settings)
    converter = _table_converter(elements)
    if converter is not None:
        return WriteTablesWithTimestamps(settings, converter) if settings.dead_letters else WriteTables(settings)
    return WriteRowsWithTimestamps(settings) if settings.dead_letters else WriteRows(settings)


def _table_converter(elements: PCollection[Any]) -> BatchConverter[Any, Any] | None:
    """Return Beam's converter between elements of this type and pyarrow Tables; None if Beam has none."""
    try:
        return BatchConverter.from_typehints(element_type=elements.element_type, batch_type=pa.Table)
    except (TypeError, ValueError, NotImplementedError):
        return None

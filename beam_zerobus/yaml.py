# ruff: noqa: UP045 - Beam derives a schema from the signature, and reads `Optional[int]` there but not `int | None`.
"""The sink for pipelines that are not written in Python: Beam YAML, and Java, Go and others over an expansion service.

`WriteToZerobus` here is the one of `beam_zerobus` with flat options of types that a Beam schema has. A YAML
pipeline names it as a provider:

    providers:
      - type: python
        config: {}
        transforms:
          WriteToZerobus: beam_zerobus.yaml.WriteToZerobus

and Java calls it by the name ``beam_zerobus.yaml.WriteToZerobus`` with ``PythonExternalTransform``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import apache_beam as beam
from apache_beam.pvalue import PCollection, Row
from apache_beam.typehints.row_type import RowTypeConstraint

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.options.wording import reason_in, reworded
from beam_zerobus.sink.flat_options import flat_among, flat_sink, in_yaml
from beam_zerobus.sink.transform import worded
from beam_zerobus.workspace.remedies import credentials_with

__all__ = ["WriteToZerobus"]


_credentials = credentials_with(
    "in the worker's environment, or name other variables with client_id_env and client_secret_env"
)


class WriteToZerobus(beam.PTransform[PCollection[Any], dict[str, PCollection[Any]]]):
    """Writes rows into a Databricks Delta table through Zerobus Ingest.

    Every row is acknowledged by the service before its bundle succeeds; a retried bundle can write a row twice.
    Secrets are never given here: the worker reads them from its environment.

    Outputs: ``acknowledged``, how many rows were written; and, if requested, the rejected rows as
    ``element``, with ``message``, ``error_type``, ``stage``, ``table``, ``attempts`` and ``timestamp`` (RFC 3339).

    Args:
        table: ``catalog.schema.table``; it must exist, unless `create_table` makes it. Or a template with
            fields of the row, such as ``main.{region}.events_{device.kind}``.
        endpoint: URL of the Zerobus service, else ``ZEROBUS_ENDPOINT``.
        workspace_url: URL of the workspace, else ``DATABRICKS_HOST``.
        client_id_env: Environment variable of the worker that holds the OAuth client id, else ``DATABRICKS_CLIENT_ID``.
        client_secret_env: Environment variable of the worker that holds the client secret, else
            ``DATABRICKS_CLIENT_SECRET``.
        client_id_gcp_secret: The client id's version in Google's Secret Manager instead, as
            ``projects/P/secrets/S/versions/V``.
        client_secret_gcp_secret: The client secret's version there likewise.
        schema: The table's schema: ``unity_catalog`` to fetch it; ``elements`` for that of the rows themselves; or
            DDL such as ``id BIGINT NOT NULL, name STRING``. Without it the table's own is fetched wherever a
            workspace is known, and a dry run uses that of the rows.
        wire_format: Format of the rows in a call: ``proto``, ``arrow`` or ``json``.
        arrow_compression: ``none``, ``lz4`` or ``zstd``, for the wire format ``arrow``.
        error_handling: ``{output: name}`` sends rejected rows to the output of this name, in Beam YAML's form: it has
            ``msg`` and ``stack`` in place of ``message``. Without it one rejected row fails the bundle.
        on_bad_rows: ``raise`` fails the bundle with the count of rejected rows and the first reasons; ``dead_letter``
            writes all other rows and sends the rejected ones to the output `failed_rows`.
        on_unknown_fields: What becomes of fields that the table does not have: ``reject`` rejects their rows,
            ``ignore`` drops them, ``add`` adds columns for them in a SQL warehouse, ``rescue`` writes them into
            ``rescue_column``, with values that do not fit.
        rescue_column: The VARIANT or STRING column for ``rescue``; it receives one JSON object a row.
        ignore_unknown_fields: Deprecated: set ``on_unknown_fields`` to ``ignore``.
        create_table: ``if_needed`` creates a missing table before the first row, with the columns of ``schema`` or the
            rows' own, in a SQL warehouse; ``never`` does not.
        warehouse_id: The SQL warehouse's id, else ``DATABRICKS_WAREHOUSE_ID``.
        assume_timezone: Time zone of timestamps that have none, such as ``UTC`` or ``Europe/Berlin``, in columns of
            type TIMESTAMP; without it such rows are rejected.
        epoch_unit: Unit of whole numbers in timestamp columns, counted from 1970: ``s``, ``ms`` or ``us``.
            Without it, Python's integers are microseconds, and Arrow's are rejected.
        streams_per_worker: Streams of each worker process; more than one gives up the order of rows.
        keep: Fields of an element that are written; None for all. The case of a name does not matter.
        drop: Fields of an element that are not written, such as those that only choose its table.
        max_open_tables: Tables that a worker process has open at once, each with its own stream; the one that was used
            least recently is flushed and closed when another is needed.
        max_in_flight_bytes: Encoded bytes in flight of all writers of a process together, before callers wait; the
            smallest limit of an open writer applies. A stream has at most 20 MiB of them.
        max_tables_in_metrics: Tables of a worker process that have metrics of their own; all others are counted under
            ``"other"``.
        batch_max_rows: Rows in a batch at most.
        batch_max_bytes: Bytes of a batch in Arrow memory at most, approximately.
        batch_max_delay: Seconds that a row of an open bundle waits for its batch to fill at most; without it, until the
            end of the bundle.
        batch_across_bundles: Collect rows across bundles with Beam's stateful batching, for streaming runners whose
            bundles hold a few rows each; the limit of the delay applies there too. It costs a shuffle of every element.
        max_retries: Retries after the first failure; 0 gives up at once.
        initial_backoff: Upper limit of the first wait between retries, in seconds.
        max_backoff: Upper limit of any wait between retries, in seconds.
        debug_dir: Directory for debug files, which go to ``zerobus/arrow`` and ``zerobus/proto`` in it; a local path on
            the worker or any Beam filesystem.
        debug_write_every: Write only every n-th batch to debug files.
        telemetry_endpoint: Base URL of an OTLP receiver for metrics and spans, such as ``http://collector:4317``, else
            ``OTEL_EXPORTER_OTLP_ENDPOINT`` of the worker. Needs the extra ``beam-zerobus[otlp]``.
        telemetry_protocol: ``grpc`` or ``http/protobuf``, else ``OTEL_EXPORTER_OTLP_PROTOCOL``, else ``grpc``.
        telemetry_service_name: The resource's ``service.name``, else ``OTEL_SERVICE_NAME``, else ``beam_zerobus``.
        telemetry_attributes: Further attributes of the OpenTelemetry resource.
        dry_run: Convert and check everything, send nothing. It needs neither network nor credentials, unless ``schema``
            is ``unity_catalog``: then rows are checked against the table.

    Raises:
        ConfigurationError: An option is wrong; the message names it.
    """

    def __init__(
        self,
        table: str,
        *,
        endpoint: Optional[str] = None,
        workspace_url: Optional[str] = None,
        client_id_env: Optional[str] = None,
        client_secret_env: Optional[str] = None,
        client_id_gcp_secret: Optional[str] = None,
        client_secret_gcp_secret: Optional[str] = None,
        schema: Optional[str] = None,
        wire_format: Optional[str] = None,
        arrow_compression: Optional[str] = None,
        error_handling: Optional[Mapping[str, str]] = None,
        on_bad_rows: Optional[str] = None,
        on_unknown_fields: Optional[str] = None,
        rescue_column: Optional[str] = None,
        ignore_unknown_fields: Optional[bool] = None,
        create_table: Optional[str] = None,
        warehouse_id: Optional[str] = None,
        assume_timezone: Optional[str] = None,
        epoch_unit: Optional[str] = None,
        streams_per_worker: Optional[int] = None,
        keep: Optional[Sequence[str]] = None,
        drop: Optional[Sequence[str]] = None,
        max_open_tables: Optional[int] = None,
        max_in_flight_bytes: Optional[int] = None,
        max_tables_in_metrics: Optional[int] = None,
        batch_max_rows: Optional[int] = None,
        batch_max_bytes: Optional[int] = None,
        batch_max_delay: Optional[float] = None,
        batch_across_bundles: Optional[bool] = None,
        max_retries: Optional[int] = None,
        initial_backoff: Optional[float] = None,
        max_backoff: Optional[float] = None,
        debug_dir: Optional[str] = None,
        debug_write_every: Optional[int] = None,
        telemetry_endpoint: Optional[str] = None,
        telemetry_protocol: Optional[str] = None,
        telemetry_service_name: Optional[str] = None,
        telemetry_attributes: Optional[Mapping[str, str]] = None,
        dry_run: Optional[bool] = None,
    ) -> None:
        options = flat_among(locals())
        super().__init__()
        self._errors_output = _errors_output(error_handling)
        if self._errors_output is not None:
            options["on_bad_rows"] = "dead_letter"
        with reworded(in_yaml):
            self._write = worded(flat_sink(_credentials, **options), in_yaml)
        self._dead_letters = options["on_bad_rows"] == "dead_letter"

    def expand(self, rows: Any) -> Any:  # a dict of PCollections, of which Beam warns that it cannot check it
        """Write the rows; return the outputs by name."""
        with reworded(in_yaml):
            result = rows | "Write" >> self._write
        # Java decodes the coder of every PCollection in here; it cannot decode a row with a field of type Any.
        result.failed_rows.element_type = Any
        outputs = {"acknowledged": result.acknowledged}
        if self._errors_output is not None:
            outputs[self._errors_output] = result.failed_rows | "Errors" >> beam.Map(_as_yaml_error).with_output_types(
                _row_type(rows.element_type, msg=str, stack=str)
            )
        elif self._dead_letters:
            outputs["failed_rows"] = result.failed_rows | "Failed rows" >> beam.Map(_as_failed_row).with_output_types(
                _row_type(rows.element_type, message=str)
            )
        return outputs


def _errors_output(error_handling: Optional[Mapping[str, str]]) -> Optional[str]:
    """Return the name in ``{output: name}``; Beam's YAML loader adds keys that begin with underscores."""
    if error_handling is None:
        return None
    if not isinstance(error_handling, Mapping):
        raise ConfigurationError('error_handling is for Beam YAML: elsewhere set on_bad_rows="dead_letter"')
    named = {key: value for key, value in error_handling.items() if not key.startswith("__")}
    output = named.get("output")
    if set(named) != {"output"} or not isinstance(output, str) or not output or output == "acknowledged":
        raise ConfigurationError(
            "error_handling: write it as {output: name}, with a name other than acknowledged for the rejected rows"
        )
    return output


def _row_type(element_type: Any, **first: type) -> RowTypeConstraint:
    """Return the type of a rejected row; `element` has the type of the input, so that other SDKs can read it."""
    rest = {"error_type": str, "stage": str, "table": str, "attempts": int, "timestamp": str}
    return RowTypeConstraint.from_fields([("element", element_type), *first.items(), *rest.items()])


def _as_failed_row(row: Any) -> Row:
    return Row(element=row.element, message=reason_in(in_yaml, row), **_rest(row))


def _as_yaml_error(row: Any) -> Row:
    return Row(element=row.element, msg=reason_in(in_yaml, row), stack="", **_rest(row))


def _rest(row: Any) -> dict[str, Any]:
    return {
        "error_type": row.error_type,
        "stage": row.stage,
        "table": row.table,
        "attempts": row.attempts,
        "timestamp": row.timestamp.to_rfc3339(),
    }

# ruff: noqa: UP045 - Beam derives a schema from the signature, and reads `Optional[int]` there but not `int | None`.
"""The sink for pipelines that are not written in Python: Beam YAML, and Java, Go and others over an expansion service.

`WriteToZerobus` here is the one of `beam_zerobus` with every option flat and of a type that a Beam schema has. A YAML
pipeline names it as a provider:

    providers:
      - type: python
        config: {}
        transforms:
          WriteToZerobus: beam_zerobus.yaml.WriteToZerobus

and Java calls it by the name ``beam_zerobus.yaml.WriteToZerobus`` with ``PythonExternalTransform``.
"""

from collections.abc import Mapping
from typing import Any, Optional

import apache_beam as beam
from apache_beam.pvalue import PCollection, Row
from apache_beam.typehints.row_type import RowTypeConstraint

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.sink.flat_options import flat_sink

__all__ = ["WriteToZerobus"]


class WriteToZerobus(beam.PTransform[PCollection[Any], dict[str, PCollection[Any]]]):
    """Writes rows into a Databricks Delta table through Zerobus Ingest.

    Every row is acknowledged by the service before its bundle succeeds; a retried bundle can write a row twice.
    Secrets are never given here: the worker reads them from its environment.

    Outputs: ``acknowledged``, how many rows were written; and, where rejected rows are asked for, those rows as
    ``element``, with ``message``, ``error_type``, ``stage``, ``table``, ``attempts`` and ``timestamp`` (RFC 3339).

    Args:
        table: The table, ``catalog.schema.table``. It must exist.
        endpoint: URL of the Zerobus service; else the environment's ``ZEROBUS_ENDPOINT``.
        workspace_url: URL of the workspace; else the environment's ``DATABRICKS_HOST``.
        client_id_env: Environment variable of the worker that holds the OAuth client id; ``DATABRICKS_CLIENT_ID``
            unless given.
        client_secret_env: The client secret's likewise; ``DATABRICKS_CLIENT_SECRET`` unless given.
        client_id_gcp_secret: The client id in Google's Secret Manager instead: ``projects/P/secrets/S/versions/V``.
        client_secret_gcp_secret: The client secret there likewise.
        schema: The table's schema as DDL, such as ``id BIGINT NOT NULL, name STRING``, or ``unity_catalog`` to fetch
            it; else the rows' own schema.
        wire_format: ``proto``, ``arrow`` or ``json``.
        arrow_compression: ``none``, ``lz4`` or ``zstd``, for the wire format ``arrow``.
        error_handling: ``{output: name}`` sends rejected rows to the output of this name, in Beam YAML's form: it has
            ``msg`` and ``stack`` in place of ``message``. Without it one rejected row fails the bundle.
        on_bad_rows: ``raise``, or ``dead_letter`` to send rejected rows to the output ``failed_rows``.
        ignore_unknown_fields: Drop fields that the table does not have, in place of rejecting the row.
        streams_per_worker: Streams that each worker process opens.
        batch_max_rows: Rows of a batch at most.
        batch_max_bytes: Bytes of a batch at most, approximately.
        batch_max_delay: Seconds that a row waits for its batch to fill at most.
        batch_across_bundles: Collect rows over bundles, for streams of tiny bundles; costs a shuffle.
        max_retries: Retries of a failing service before the bundle fails.
        initial_backoff: Upper bound of the first wait between retries, in seconds.
        max_backoff: Upper bound of any wait between retries, in seconds.
        debug_dir: Directory on the worker, or of a Beam filesystem, for debug files of all that is sent.
        debug_write_every: Write every n-th batch to the debug files.
        telemetry_endpoint: OTLP endpoint for metrics and traces.
        telemetry_protocol: ``grpc`` or ``http/protobuf``.
        telemetry_service_name: The ``service.name`` of metrics and traces.
        telemetry_attributes: Further attributes of metrics and traces.
        dry_run: Do everything but send; needs a schema, but no credentials.

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
        ignore_unknown_fields: Optional[bool] = None,
        streams_per_worker: Optional[int] = None,
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
        super().__init__()
        self._errors_output = _errors_output(error_handling)
        self._write = flat_sink(
            table,
            endpoint=endpoint,
            workspace_url=workspace_url,
            client_id_env=client_id_env,
            client_secret_env=client_secret_env,
            client_id_gcp_secret=client_id_gcp_secret,
            client_secret_gcp_secret=client_secret_gcp_secret,
            schema=schema,
            wire_format=wire_format,
            arrow_compression=arrow_compression,
            on_bad_rows="dead_letter" if self._errors_output else on_bad_rows,
            ignore_unknown_fields=ignore_unknown_fields,
            streams_per_worker=streams_per_worker,
            batch_max_rows=batch_max_rows,
            batch_max_bytes=batch_max_bytes,
            batch_max_delay=batch_max_delay,
            batch_across_bundles=batch_across_bundles,
            max_retries=max_retries,
            initial_backoff=initial_backoff,
            max_backoff=max_backoff,
            debug_dir=debug_dir,
            debug_write_every=debug_write_every,
            telemetry_endpoint=telemetry_endpoint,
            telemetry_protocol=telemetry_protocol,
            telemetry_service_name=telemetry_service_name,
            telemetry_attributes=telemetry_attributes,
            dry_run=dry_run,
        )
        self._dead_letters = self._errors_output is not None or on_bad_rows == "dead_letter"

    def expand(self, rows: Any) -> Any:  # a dict of PCollections, of which Beam warns that it cannot check it
        """Write the rows; return the outputs by name."""
        result = rows | "Write" >> self._write
        # Java decodes the coder of every PCollection in here; it fails at a row that holds Any, not at Any alone.
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
            f"error_handling={named!r}: write it as {{output: name}}, with a name for rejected rows"
        )
    return output


def _row_type(element_type: Any, **first: type) -> RowTypeConstraint:
    """Return the type of a rejected row; `element` keeps the type it came in with, so that other SDKs can read it."""
    rest = {"error_type": str, "stage": str, "table": str, "attempts": int, "timestamp": str}
    return RowTypeConstraint.from_fields([("element", element_type), *first.items(), *rest.items()])


def _as_failed_row(row: Any) -> Row:
    return Row(element=row.element, message=row.message, **_rest(row))


def _as_yaml_error(row: Any) -> Row:
    return Row(element=row.element, msg=row.message, stack="", **_rest(row))


def _rest(row: Any) -> dict[str, Any]:
    return {
        "error_type": row.error_type,
        "stage": row.stage,
        "table": row.table,
        "attempts": row.attempts,
        "timestamp": row.timestamp.to_rfc3339(),
    }

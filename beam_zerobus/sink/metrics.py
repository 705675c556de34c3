"""What a bundle did, as Beam metrics and lineage; every call is made in the bundle's own thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from apache_beam.metrics.metric import Lineage, Metrics

from beam_zerobus.errors import RowError, RowErrors
from beam_zerobus.schema import RowErrorType
from beam_zerobus.schema.table_name import is_table_name
from beam_zerobus.telemetry.table_names import OTHER_TABLES, name_in_metrics
from beam_zerobus.writer.result import TransmissionResult

__all__ = ["SinkMetrics"]


class SinkMetrics:
    """Beam metrics of one transform; counted per batch and per bundle, never per row.

    Args:
        namespace: The namespace of the metrics, which is the transform's.
        max_tables: How many tables of the process have counters of their own; None where there is only one.
    """

    def __init__(self, namespace: str, *, max_tables: int | None = None) -> None:
        self._namespace = namespace
        self._max_tables = max_tables
        self._of_tables: dict[str, Metrics.DelegatingCounter] = {}
        self._rows_written = Metrics.counter(namespace, "rows_written")
        self._rows_failed = Metrics.counter(namespace, "rows_failed")
        self._rows_replayed = Metrics.counter(namespace, "rows_replayed")
        self._batches_sent = Metrics.counter(namespace, "batches_sent")
        self._bytes_sent = Metrics.counter(namespace, "bytes_sent")
        self._retries = Metrics.counter(namespace, "retries")
        self._streams_opened = Metrics.counter(namespace, "streams_opened")
        self._throttling_seconds = Metrics.counter(namespace, "cumulativeThrottlingSeconds")
        self._debug_file_failures = Metrics.counter(namespace, "debug_file_failures")
        self._batch_rows = Metrics.distribution(namespace, "batch_rows")
        self._batch_bytes = Metrics.distribution(namespace, "batch_bytes")
        self._encode_ms = Metrics.distribution(namespace, "encode_ms")
        self._ack_latency_ms = Metrics.distribution(namespace, "ack_latency_ms")
        self._error_types = Metrics.string_set(namespace, "error_types")
        self._unreported_seconds = 0.0

    def batch_done(self, table: str, result: TransmissionResult, *, encode_ms: float) -> None:
        """Count a batch that has an outcome."""
        if self._max_tables is not None:
            name = name_in_metrics(table, self._max_tables)
            self._of_table("rows_written", name).inc(result.successful_count)
            self._of_table("bytes_sent", name).inc(result.batch_size_bytes)
        self._rows_written.inc(result.successful_count)
        self._batches_sent.inc()
        self._bytes_sent.inc(result.batch_size_bytes)
        self._batch_rows.update(result.total_rows)
        self._batch_bytes.update(result.batch_size_bytes)
        self._encode_ms.update(round(encode_ms))
        self._ack_latency_ms.update(round(result.latency_ms))

    def rows_rejected(self, table: str, errors: Sequence[RowError]) -> None:
        """Count rejected rows of a table, or of what was to choose their table, and their kinds."""
        kinds = RowErrors.of(errors).by_type()
        self._rows_failed.inc(len(errors))
        if self._max_tables is not None:
            exists = is_table_name(table) and RowErrorType.UNKNOWN_TABLE not in kinds
            name = name_in_metrics(table, self._max_tables) if exists else OTHER_TABLES
            self._of_table("rows_failed", name).inc(len(errors))
        for kind in kinds:
            self._error_types.add(kind)

    def writer_counted(self, counts: Mapping[str, float]) -> None:
        """Add what the shared writer counted in its own threads since any bundle did so."""
        self._rows_replayed.inc(int(counts["rows_replayed"]))
        self._retries.inc(int(counts["retries"]))
        self._streams_opened.inc(int(counts["streams_opened"]))
        self._debug_file_failures.inc(int(counts["debug_file_failures"]))
        self._unreported_seconds += counts["throttled_seconds"]
        whole = int(self._unreported_seconds)
        self._unreported_seconds -= whole
        self._throttling_seconds.inc(whole)

    def _of_table(self, counter: str, table: str) -> Metrics.DelegatingCounter:
        name = f"{counter}:{table}"
        if name not in self._of_tables:
            self._of_tables[name] = Metrics.counter(self._namespace, name)
        return self._of_tables[name]

    def table_written(self, table: str) -> None:
        """Report the table as a sink of the pipeline's lineage."""
        Lineage.sinks().add("databricks", *map(Lineage.wrap_segment, table.split(".")))

"""The tables that the service's documentation prescribes for each signal."""

from __future__ import annotations

from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.schema import TableSchema

__all__ = ["OTLP_COLUMNS", "check_columns", "table_names"]

_FIRST = "record_id STRING, time TIMESTAMP, date DATE, service_name STRING"
_RESOURCE = """
resource STRUCT<attributes: VARIANT, dropped_attributes_count: INT>,
resource_schema_url STRING,
instrumentation_scope STRUCT<
    name: STRING, version: STRING, attributes: VARIANT, dropped_attributes_count: INT
>"""
_EXEMPLARS = """
exemplars: ARRAY<STRUCT<
    time_unix_nano: LONG, value: DOUBLE, span_id: STRING, trace_id: STRING, filtered_attributes: VARIANT
>>"""
_BUCKETS = "STRUCT<offset: INT, bucket_counts: ARRAY<LONG>>"

OTLP_COLUMNS = {
    "traces": f"""
{_FIRST}, trace_id STRING, span_id STRING, trace_state STRING, parent_span_id STRING, flags INT, name STRING,
kind STRING, start_time_unix_nano LONG, end_time_unix_nano LONG, attributes VARIANT, dropped_attributes_count INT,
events ARRAY<STRUCT<time_unix_nano: LONG, name: STRING, attributes: VARIANT, dropped_attributes_count: INT>>,
dropped_events_count INT,
links ARRAY<STRUCT<
    trace_id: STRING, span_id: STRING, trace_state: STRING, attributes: VARIANT, dropped_attributes_count: INT,
    flags: INT
>>,
dropped_links_count INT, status STRUCT<message: STRING, code: STRING>, {_RESOURCE}, span_schema_url STRING""",
    "logs": f"""
{_FIRST}, event_name STRING, trace_id STRING, span_id STRING, time_unix_nano LONG, observed_time_unix_nano LONG,
severity_number STRING, severity_text STRING, body VARIANT, attributes VARIANT, dropped_attributes_count INT, flags INT,
{_RESOURCE}, log_schema_url STRING""",
    "metrics": f"""
{_FIRST}, start_time_unix_nano LONG, time_unix_nano LONG, name STRING, description STRING, unit STRING,
metric_type STRING,
gauge STRUCT<value: DOUBLE, {_EXEMPLARS}, attributes: VARIANT, flags: INT>,
sum STRUCT<
    value: DOUBLE, {_EXEMPLARS}, attributes: VARIANT, flags: INT, aggregation_temporality: STRING, is_monotonic: BOOLEAN
>,
histogram STRUCT<
    count: LONG, sum: DOUBLE, bucket_counts: ARRAY<LONG>, explicit_bounds: ARRAY<DOUBLE>, {_EXEMPLARS},
    attributes: VARIANT, flags: INT, min: DOUBLE, max: DOUBLE, aggregation_temporality: STRING
>,
exponential_histogram STRUCT<
    attributes: VARIANT, count: LONG, sum: DOUBLE, scale: INT, zero_count: LONG, positive_bucket: {_BUCKETS},
    negative_bucket: {_BUCKETS}, flags: INT, {_EXEMPLARS}, min: DOUBLE, max: DOUBLE, zero_threshold: DOUBLE,
    aggregation_temporality: STRING
>,
summary STRUCT<
    count: LONG, sum: DOUBLE, quantile_values: ARRAY<STRUCT<quantile: DOUBLE, value: DOUBLE>>, attributes: VARIANT,
    flags: INT
>,
metadata VARIANT, {_RESOURCE}, metric_schema_url STRING""",
}
"""The columns of each signal's table, as DDL."""

_SUFFIXES = {"traces": "spans", "logs": "logs", "metrics": "metrics"}
_TYPES = {
    signal: {column.name: str(column.type) for column in TableSchema.from_ddl(ddl).columns}
    for signal, ddl in OTLP_COLUMNS.items()
}


def table_names(prefix: str) -> dict[str, str]:
    """Return the documented name of each signal's table.

    Example:
        >>> table_names("main.otel.shop")["traces"]
        'main.otel.shop_otel_spans'
    """
    return {signal: f"{prefix}_otel_{suffix}" for signal, suffix in _SUFFIXES.items()}


def check_columns(signal: str, name: str, schema: TableSchema) -> None:
    """Reject a table that has other columns than those of a signal; their order and NOT NULL do not matter.

    Raises:
        Rejection: INVALID_ARGUMENT; names the column.
    """
    found = {column.name: str(column.type).replace(" NOT NULL", "") for column in schema.columns}
    for column, kind in _TYPES[signal].items():
        if found.get(column) != kind:
            given = f"is {found[column]}" if column in found else "is missing"
            raise _misfit(signal, name, f"column '{column}' {given}; it must be {kind}")
    unknown = sorted(set(found) - set(_TYPES[signal]))
    if unknown:
        raise _misfit(signal, name, f"column '{unknown[0]}' is not one of them")


def _misfit(signal: str, name: str, what: str) -> Rejection:
    return Rejection.invalid(f"table {name} does not have the columns of OTLP {signal}: {what}", number=8001)

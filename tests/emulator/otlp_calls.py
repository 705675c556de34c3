"""Calls with OTLP: OpenTelemetry's own exporters, and requests that no exporter sends."""

from __future__ import annotations

from typing import Any

import grpc
import requests

from beam_zerobus.emulator import OTLP_COLUMNS, Emulator, Table

HEADER = "x-databricks-zerobus-table-name"
TRACE_ID, SPAN_ID = bytes(range(16)), bytes(range(1, 9))
NANOSECONDS = 1_700_000_000_123_456_789


def table_for(emulator: Emulator, signal: str) -> Table:
    return emulator.create_table(f"main.otel.shop_{signal}", OTLP_COLUMNS[signal])


def headers(emulator: Emulator, table: str) -> dict[str, str]:
    return {"authorization": f"Bearer {emulator.issue_token(table)}", HEADER: table}


def exporter(emulator: Emulator, signal: str, protocol: str) -> Any:
    """OpenTelemetry's exporter of a signal."""
    names = {"traces": ("trace_exporter", "OTLPSpanExporter"), "logs": ("_log_exporter", "OTLPLogExporter")}
    module, name = names.get(signal, ("metric_exporter", "OTLPMetricExporter"))
    found = getattr(__import__(f"opentelemetry.exporter.otlp.proto.{protocol}.{module}", fromlist=[name]), name)
    given: dict[str, Any] = {"headers": headers(emulator, table_for(emulator, signal).name), "timeout": 20}
    if protocol == "http":
        from opentelemetry.exporter.otlp.proto.http import Compression

        ca_file = {} if emulator.ca_file is None else {"certificate_file": str(emulator.ca_file)}
        return found(endpoint=f"{emulator.workspace_url}/v1/{signal}", compression=Compression.Gzip, **ca_file, **given)
    if emulator.ca_file is not None:
        given["credentials"] = grpc.ssl_channel_credentials(emulator.ca_file.read_bytes())
    return found(endpoint=emulator.endpoint, compression=grpc.Compression.Gzip, **given)


def messages(signal: str) -> tuple[Any, Any]:
    from beam_zerobus.emulator.otlp.exports import SIGNALS

    return next(one for one in SIGNALS if one.name == signal).messages()


def request_of(
    signal: str,
    *records: dict[str, Any],
    scope: dict[str, Any] | None = None,
    resource: dict[str, Any] | None = None,
) -> Any:
    """A request with records of one scope: spans, log records or metrics."""
    resources, scopes, name = {
        "traces": ("resource_spans", "scope_spans", "spans"),
        "logs": ("resource_logs", "scope_logs", "log_records"),
        "metrics": ("resource_metrics", "scope_metrics", "metrics"),
    }[signal]
    part = {name: list(records)} | ({"scope": scope} if scope else {})
    group = {scopes: [part]} | ({"resource": resource} if resource else {})
    return messages(signal)[0](**{resources: [group]})


def span(**fields: Any) -> dict[str, Any]:
    return {"trace_id": TRACE_ID, "span_id": SPAN_ID, "name": "a", "start_time_unix_nano": NANOSECONDS} | fields


def call_grpc(emulator: Emulator, signal: str, request: Any, metadata: dict[str, str] | None = None) -> Any:
    """Export over gRPC; the response, or `grpc.RpcError`."""
    package = {"traces": "trace"}.get(signal, signal)
    method = f"/opentelemetry.proto.collector.{package}.v1.{package.capitalize()}Service/Export"
    sent = headers(emulator, f"main.otel.shop_{signal}") if metadata is None else metadata
    data = request if isinstance(request, bytes) else request.SerializeToString()
    with grpc.insecure_channel(emulator.endpoint.removeprefix("http://")) as channel:
        answer = channel.unary_unary(method)(data, metadata=list(sent.items()), timeout=20)
    return messages(signal)[1].FromString(answer)


def call_http(emulator: Emulator, signal: str, body: Any, **changes: str) -> requests.Response:
    """Export over HTTP; headers may be changed."""
    data = body if isinstance(body, bytes) else body.SerializeToString()
    sent = headers(emulator, f"main.otel.shop_{signal}") | {"Content-Type": "application/x-protobuf"} | changes
    return requests.post(f"{emulator.workspace_url}/v1/{signal}", data=data, headers=sent, timeout=20)

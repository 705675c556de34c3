"""OTLP: partial success, every kind of metric, JSON by curl, and what is rejected whole."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import requests
from google.protobuf import json_format

from beam_zerobus.emulator import OTLP_COLUMNS, Emulator, Faults, RejectRows, ScriptedFault

from .otlp_calls import (
    HEADER,
    NANOSECONDS,
    SPAN_ID,
    TRACE_ID,
    call_grpc,
    call_http,
    headers,
    messages,
    request_of,
    span,
    table_for,
)

BAD_SPANS = {
    "trace_id has 3 bytes; it must have 16": {"trace_id": b"abc"},
    "span_id is zero": {"span_id": bytes(8)},
    "parent_span_id has 1 byte; it must have 8": {"parent_span_id": b"a"},
    "end_time_unix_nano is larger than 9223372036854775807": {"end_time_unix_nano": 2**63},
    "dropped_links_count is larger than 2147483647": {"dropped_links_count": 2**31},
    "flags is larger than 2147483647": {"flags": 2**32 - 1},
}


@pytest.fixture(scope="module")
def running() -> Iterator[Emulator]:
    with Emulator(memory=True) as emulator:
        yield emulator


@pytest.fixture
def emulator(running: Emulator) -> Emulator:
    """One emulator for all tests, as new, with a table of spans."""
    running.reset()
    table_for(running, "traces")
    return running


def names(emulator: Emulator) -> list[str]:
    return sorted(table_for(emulator, "traces").to_arrow()["name"].to_pylist())


@pytest.mark.parametrize(("reason", "bad"), BAD_SPANS.items())
def test_records_that_are_not_valid_are_rejected_and_the_others_stored(
    emulator: Emulator, reason: str, bad: dict[str, Any]
) -> None:
    request = request_of("traces", span(name="a"), span(name="bad", **bad), span(name="c"), span(**bad))
    response = call_grpc(emulator, "traces", request)
    assert (response.partial_success.rejected_spans, response.partial_success.error_message) == (2, reason)
    assert names(emulator) == ["a", "c"]
    stats = emulator.stats.tables["main.otel.shop_traces"]
    assert (stats.calls, stats.rows_received, stats.rows_acknowledged, stats.streams_opened) == (1, 4, 2, 0)


TOO_MANY = {"dropped_attributes_count": 2**32 - 1}


@pytest.mark.parametrize(("place", "column"), [("resource", "resource"), ("scope", "instrumentation_scope")])
@pytest.mark.parametrize("signal", ["traces", "logs", "metrics"])
def test_a_resource_that_its_column_cannot_hold_rejects_its_own_records_alone(
    emulator: Emulator, signal: str, place: str, column: str
) -> None:
    table = table_for(emulator, signal)
    records = {"traces": span(), "logs": {"event_name": "a"}, "metrics": {"gauge": {"data_points": [POINT] * 2}}}
    request = request_of(signal, records[signal], **{place: TOO_MANY})
    request.MergeFrom(request_of(signal, records[signal], **{place: {"dropped_attributes_count": 2**31 - 1}}))
    partial = call_grpc(emulator, signal, request).partial_success
    rejected = {"traces": 1, "logs": 1, "metrics": 2}[signal]
    assert [value for _, value in partial.ListFields()] == [
        rejected,
        f"{column}.dropped_attributes_count is larger than 2147483647",
    ]
    assert table.count_rows() == rejected


def test_partial_success_over_http_has_the_form_of_the_request(emulator: Emulator) -> None:
    request = request_of("traces", span(name="a"), span(trace_id=b""))
    answer = call_http(emulator, "traces", request)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/x-protobuf")
    assert messages("traces")[1].FromString(answer.content).partial_success.rejected_spans == 1
    body = json_format.MessageToDict(request)
    for one in body["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        one |= {"traceId": TRACE_ID.hex() if "traceId" in one else "", "spanId": SPAN_ID.hex()}
    answer = call_http(emulator, "traces", json.dumps(body).encode(), **{"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json() == {
        "partialSuccess": {"rejectedSpans": "1", "errorMessage": "trace_id has 0 bytes; it must have 16"}
    }
    assert names(emulator) == ["a", "a"]


def test_rows_that_only_the_table_rejects_are_found_among_the_others(emulator: Emulator) -> None:
    emulator.faults = Faults(reject_rows=(RejectRows(column="name", value="7"),))
    response = call_grpc(emulator, "traces", request_of("traces", *(span(name=str(number)) for number in range(20))))
    assert response.partial_success.rejected_spans == 1
    assert len(names(emulator)) == 19
    assert "7" not in names(emulator)


def test_a_request_without_a_valid_record_is_rejected_whole(emulator: Emulator) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        call_grpc(emulator, "traces", request_of("traces", span(trace_id=b"")))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert call_http(emulator, "traces", request_of("traces", span(trace_id=b""))).status_code == 400
    assert call_grpc(emulator, "traces", request_of("traces")) == messages("traces")[1](), "no record is no error"
    assert names(emulator) == []


def test_curl_exports_json(emulator: Emulator) -> None:
    record = {"traceId": TRACE_ID.hex().upper(), "spanId": SPAN_ID.hex(), "name": "curl", "kind": 2, "later": [1]}
    record["parentSpanId"] = None
    record |= {"startTimeUnixNano": str(NANOSECONDS), "attributes": [{"key": "traceId", "value": {"intValue": "5"}}]}
    body = gzip.compress(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [record]}]}]}).encode())
    command = ["curl", "-sS", "--noproxy", "*", f"{emulator.workspace_url}/v1/traces", "--data-binary", "@-"]
    sent = headers(emulator, "main.otel.shop_traces") | {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    command += [part for name, value in sent.items() for part in ("-H", f"{name}: {value}")]
    done = subprocess.run([*command, "-w", "%{http_code}"], input=body, capture_output=True, timeout=30, check=False)
    assert done.stdout == b"{}200", done.stderr
    (row,) = table_for(emulator, "traces").to_arrow().to_pylist()
    assert (row["trace_id"], row["span_id"], row["kind"]) == (TRACE_ID.hex(), SPAN_ID.hex(), "SPAN_KIND_SERVER")
    assert (row["start_time_unix_nano"], row["attributes"]) == (NANOSECONDS, '{"traceId":5}')
    assert (row["resource"], row["instrumentation_scope"], row["service_name"]) == (None, None, None)


POINT = {"start_time_unix_nano": 5, "time_unix_nano": NANOSECONDS, "flags": 1}
EXEMPLAR = {"time_unix_nano": 7, "as_int": 2, "span_id": SPAN_ID, "trace_id": TRACE_ID}
METRICS = {
    "gauge": ({"as_double": float("nan"), "exemplars": [EXEMPLAR]}, {}),
    "sum": ({"as_int": -(2**40)}, {"aggregation_temporality": 1, "is_monotonic": True}),
    "histogram": (
        {"count": 3, "sum": 1.5, "bucket_counts": [1, 2], "explicit_bounds": [0.5], "min": -1.0},
        {"aggregation_temporality": 2},
    ),
    "exponential_histogram": (
        {"count": 9, "scale": -2, "zero_count": 1, "positive": {"offset": -3, "bucket_counts": [8]}, "max": 2.0},
        {"aggregation_temporality": 9},
    ),
    "summary": ({"count": 2, "sum": 3.0, "quantile_values": [{"quantile": 0.5, "value": 1.0}]}, {}),
}


def test_every_kind_of_metric_is_a_row_for_each_data_point(emulator: Emulator) -> None:
    table = table_for(emulator, "metrics")
    kinds = [
        {"name": kind, "metadata": [{"key": "m", "value": {"bytes_value": b"\xff"}}]}
        | {kind: {"data_points": [POINT | point, POINT | point]} | data}
        for kind, (point, data) in METRICS.items()
    ]
    call_grpc(emulator, "metrics", request_of("metrics", *kinds, {"name": "without data"}))
    found = {row["name"]: row for row in table.to_arrow().to_pylist()}
    assert (table.count_rows(), set(found)) == (10, set(METRICS))
    for kind, row in found.items():
        assert (row["metric_type"], row["metadata"]) == (kind, '{"m":"/w=="}')
        assert [name for name in METRICS if row[name] is not None] == [kind]
        assert (row["start_time_unix_nano"], row["time_unix_nano"], row[kind]["flags"]) == (5, NANOSECONDS, 1)
    gauge, total, histogram, exponential, summary = (found[kind][kind] for kind in METRICS)
    assert gauge["value"] != gauge["value"], "not a number"
    assert gauge["exemplars"] == [
        {
            "time_unix_nano": 7,
            "value": 2.0,
            "span_id": SPAN_ID.hex(),
            "trace_id": TRACE_ID.hex(),
            "filtered_attributes": "{}",
        }
    ]
    assert (total["value"], total["is_monotonic"]) == (-(2.0**40), True)
    assert total["aggregation_temporality"] == "AGGREGATION_TEMPORALITY_DELTA"
    assert (histogram["count"], histogram["sum"], histogram["min"], histogram["max"]) == (3, 1.5, -1.0, None)
    assert (histogram["bucket_counts"], histogram["explicit_bounds"]) == ([1, 2], [0.5])
    assert exponential["positive_bucket"] == {"offset": -3, "bucket_counts": [8]}
    assert (exponential["negative_bucket"], exponential["scale"], exponential["max"]) == (None, -2, 2.0)
    assert exponential["aggregation_temporality"] == "9", "a value that this version does not know"
    assert summary["quantile_values"] == [{"quantile": 0.5, "value": 1.0}]


def reason_of(emulator: Emulator, metadata: dict[str, str], request: Any = None) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as raised:
        call_grpc(emulator, "traces", request or request_of("traces", span()), metadata)
    return raised.value.code().name, raised.value.details()


def test_headers_table_and_grants_are_checked(emulator: Emulator) -> None:
    name = "main.otel.shop_traces"
    right = headers(emulator, name)
    assert reason_of(emulator, {HEADER: name})[0] == "UNAUTHENTICATED"
    assert reason_of(emulator, right | {"authorization": "Bearer guess"})[0] == "UNAUTHENTICATED"
    assert reason_of(emulator, {"authorization": right["authorization"]}) == (
        "INVALID_ARGUMENT",
        f"the header {HEADER} is missing",
    )
    assert reason_of(emulator, right | {HEADER: "main.otel.other"})[0] == "PERMISSION_DENIED"
    assert reason_of(emulator, headers(emulator, "main.otel.none"))[0] == "NOT_FOUND"
    assert reason_of(emulator, right, b"\xff\xff") == ("INVALID_ARGUMENT", "the request cannot be parsed")
    for columns, why in (
        ("name STRING", "column 'record_id' is missing; it must be STRING"),
        (OTLP_COLUMNS["logs"], "column 'trace_state' is missing"),
        (OTLP_COLUMNS["traces"].replace("kind STRING", "kind INT"), "column 'kind' is INT; it must be STRING"),
        (OTLP_COLUMNS["traces"] + ", extra INT", "column 'extra' is not one of them"),
    ):
        emulator.drop_table(name)
        emulator.create_table(name, columns)
        code, message = reason_of(emulator, headers(emulator, name))
        assert code == "INVALID_ARGUMENT"
        assert why in message
    assert emulator.table(name).count_rows() == 0


def test_a_small_request_cannot_become_very_many_bytes(emulator: Emulator) -> None:
    for scope in ({"name": "x" * (1 << 20)}, {"attributes": [{"key": "k" * (1 << 20)}]}):
        request = request_of("traces", *[span()] * 70, scope=scope)
        code, message = reason_of(emulator, headers(emulator, "main.otel.shop_traces"), request)
        assert (code, "in smaller batches" in message) == ("RESOURCE_EXHAUSTED", True)
    assert names(emulator) == []


def test_faults_strike_exports(emulator: Emulator) -> None:
    emulator.faults = Faults(
        script=(
            ScriptedFault("status", at_call=1),
            ScriptedFault("status", at_call=2, code="RESOURCE_EXHAUSTED", after_storing=True),
            ScriptedFault("drop", at_call=3),
            ScriptedFault("status", at_call=4),
            ScriptedFault("drop", at_call=5),
        )
    )
    one = [request_of("traces", span(name=str(number))) for number in range(1, 7)]
    sent = headers(emulator, "main.otel.shop_traces")
    assert [reason_of(emulator, sent, one[number])[0] for number in range(3)] == [
        "UNAVAILABLE",
        "RESOURCE_EXHAUSTED",
        "UNAVAILABLE",
    ]
    assert call_http(emulator, "traces", one[3]).status_code == 503
    with pytest.raises(requests.ConnectionError):
        call_http(emulator, "traces", one[4])
    assert call_http(emulator, "traces", one[5]).status_code == 200
    assert names(emulator) == ["2", "6"]


def test_faults_strike_an_export_without_records(emulator: Emulator) -> None:
    emulator.faults = Faults(script=(ScriptedFault("status", at_call=1, after_storing=True),))
    sent = headers(emulator, "main.otel.shop_traces")
    assert reason_of(emulator, sent, request_of("traces"))[0] == "UNAVAILABLE"
    assert call_http(emulator, "traces", request_of("traces")).status_code == 200
    assert names(emulator) == []


def test_without_the_package_of_opentelemetry_the_answer_says_what_to_install(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_of("traces", span()).SerializeToString()
    monkeypatch.setitem(sys.modules, "opentelemetry.proto.collector.trace.v1.trace_service_pb2", None)
    code, message = reason_of(emulator, headers(emulator, "main.otel.shop_traces"), request)
    assert (code, "pip install '.[emulator,otlp]' in a clone of beam_zerobus" in message) == ("UNIMPLEMENTED", True)
    assert call_http(emulator, "traces", request).status_code == 501

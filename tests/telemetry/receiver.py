"""A real OTLP receiver for gRPC and HTTP, written with the published protobufs, that can also misbehave."""

from __future__ import annotations

import gzip
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler, ThreadingTCPServer
from types import TracebackType
from typing import Any, Self

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

_REJECTIONS = {
    "unavailable": (grpc.StatusCode.UNAVAILABLE, 503),
    "reject": (grpc.StatusCode.INVALID_ARGUMENT, 400),
    "unauthenticated": (grpc.StatusCode.UNAUTHENTICATED, 401),
}
_PART_OF_A_REQUEST = 500  # bytes: more than opens the connection, less than an export


@dataclass
class SpanSeen:
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    status: int
    status_message: str
    start: int
    end: int
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    resource: dict[str, Any]


@dataclass
class PointSeen:
    value: float
    count: int
    sum: float
    bounds: list[float]
    buckets: list[int]
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class Seen:
    """Everything that arrived; metrics are cumulative, so the latest point of each series counts."""

    spans: list[SpanSeen] = field(default_factory=list)
    points: dict[str, dict[Any, PointSeen]] = field(default_factory=lambda: defaultdict(dict))
    units: dict[str, str] = field(default_factory=dict)
    monotonic: dict[str, bool] = field(default_factory=dict)
    headers: list[dict[str, str]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    raw_metrics: list[bytes] = field(default_factory=list)
    requests: int = 0

    def named(self, name: str) -> list[SpanSeen]:
        return [span for span in self.spans if span.name == name]

    def children(self, parent: SpanSeen) -> list[SpanSeen]:
        return sorted((s for s in self.spans if s.parent_id == parent.span_id), key=lambda span: span.start)

    def total(self, metric: str, **attributes: str) -> float:
        """Sum a metric over all series that carry the attributes (dots of names written as double underscores)."""
        wanted = {name.replace("__", "."): value for name, value in attributes.items()}
        return sum(
            point.value
            for point in self._points(metric)
            if wanted.items() <= {k: str(v) for k, v in point.attributes.items()}.items()
        )

    def count(self, metric: str) -> int:
        return sum(point.count for point in self._points(metric))

    def seconds(self, metric: str) -> float:
        return sum(point.sum for point in self._points(metric))

    def _points(self, metric: str) -> list[PointSeen]:
        return list(self.points[metric].values())  # a copy: more may arrive meanwhile


class Receiver:
    """Receives OTLP on a port of the system's choice.

    Args:
        protocol: ``"grpc"`` or ``"http/protobuf"``.
        mode: ``"ok"``; ``"hang"`` never answers; ``"unavailable"``; ``"reject"`` calls requests invalid;
            ``"unauthenticated"``; ``"close"`` drops the connection in the middle of a request (gRPC) or answer (HTTP).
        reason: What it says when it rejects.
    """

    def __init__(self, protocol: str = "grpc", mode: str = "ok", port: int = 0, reason: str = "no") -> None:
        self.mode = mode
        self._reason = reason
        self.protocol = protocol
        self.seen = Seen()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        if protocol == "grpc" and mode == "close":
            self._serve_breaking(port)
        elif protocol == "grpc":
            self._serve_grpc(port)
        else:
            self._serve_http(port)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._closing.set()
        if hasattr(self, "_grpc"):
            self._grpc.stop(None).wait()
            self._pool.shutdown()
        else:
            self._server.shutdown()
            self._server.server_close()
            self._server_thread.join()

    def _serve_grpc(self, port: int) -> None:
        receiver = self

        class Traces(trace_service_pb2_grpc.TraceServiceServicer):
            def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
                receiver._answer_grpc(context)
                receiver.take(request, dict(context.invocation_metadata()))
                return trace_service_pb2.ExportTraceServiceResponse()

        class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
            def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
                receiver._answer_grpc(context)
                receiver.take(request, dict(context.invocation_metadata()))
                return metrics_service_pb2.ExportMetricsServiceResponse()

        self._pool = ThreadPoolExecutor(8)
        self._grpc = grpc.server(self._pool)
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), self._grpc)
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), self._grpc)
        self.port = self._grpc.add_insecure_port(f"127.0.0.1:{port}")
        self._grpc.start()

    def _answer_grpc(self, context: grpc.ServicerContext) -> None:
        with self._lock:
            self.seen.requests += 1
        if self.mode == "hang":
            self._closing.wait()
        if self.mode in _REJECTIONS:
            context.abort(_REJECTIONS[self.mode][0], self._reason)

    def _serve_breaking(self, port: int) -> None:
        """Serve as much of HTTP/2 as lets a client begin its request, and then be gone."""
        receiver = self

        class Handler(BaseRequestHandler):
            def handle(self) -> None:
                self.request.sendall(b"\0\0\0\4\0\0\0\0\0")  # an empty SETTINGS frame
                received = 0
                while received < _PART_OF_A_REQUEST and (chunk := self.request.recv(1024)):
                    received += len(chunk)
                with receiver._lock:
                    receiver.seen.requests += 1

        self._serve(ThreadingTCPServer(("127.0.0.1", port), Handler))

    def _serve_http(self, port: int) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                with receiver._lock:
                    receiver.seen.requests += 1
                body = self.rfile.read(int(self.headers["content-length"]))
                if receiver.mode == "hang":
                    receiver._closing.wait()
                if receiver.mode in ("hang", "close"):
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
                    self.close_connection = True
                    return
                status = _REJECTIONS[receiver.mode][1] if receiver.mode in _REJECTIONS else 200
                if status == 200:
                    if self.headers.get("content-encoding") == "gzip":
                        body = gzip.decompress(body)
                    kind = {
                        "/v1/traces": trace_service_pb2.ExportTraceServiceRequest,
                        "/v1/metrics": metrics_service_pb2.ExportMetricsServiceRequest,
                    }[self.path]
                    receiver.take(kind.FromString(body), {k.lower(): v for k, v in self.headers.items()})
                self.send_response(status, receiver._reason if status != 200 else None)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self._serve(ThreadingHTTPServer(("127.0.0.1", port), Handler))

    def _serve(self, server: ThreadingTCPServer) -> None:
        server.daemon_threads = True
        self.port = server.server_address[1]
        self._server = server
        self._server_thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        self._server_thread.start()

    def take(self, request: Any, headers: dict[str, str]) -> None:
        with self._lock:
            self.seen.headers.append(headers)
            self.seen.raw.append(request.SerializeToString())
            if isinstance(request, trace_service_pb2.ExportTraceServiceRequest):
                self._take_spans(request)
            else:
                self.seen.raw_metrics.append(self.seen.raw[-1])
                self._take_metrics(request)

    def _take_spans(self, request: Any) -> None:
        self.seen.spans += [  # at once: a test may look meanwhile
            _span_seen(span, _plain(of_resource.resource.attributes))
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]

    def _take_metrics(self, request: Any) -> None:
        for of_resource in request.resource_metrics:
            resource = _plain(of_resource.resource.attributes)
            for of_scope in of_resource.scope_metrics:
                for metric in of_scope.metrics:
                    self.seen.units[metric.name] = metric.unit
                    data = getattr(metric, metric.WhichOneof("data"))
                    self.seen.monotonic[metric.name] = getattr(data, "is_monotonic", False)
                    for point in data.data_points:
                        is_histogram = metric.WhichOneof("data") == "histogram"
                        attributes = _plain(point.attributes)
                        series = (*sorted(attributes.items()), *sorted(resource.items()))
                        self.seen.points[metric.name][series] = PointSeen(
                            value=0.0 if is_histogram else point.as_int or point.as_double,
                            count=point.count if is_histogram else 0,
                            sum=point.sum if is_histogram else 0.0,
                            bounds=list(point.explicit_bounds) if is_histogram else [],
                            buckets=list(point.bucket_counts) if is_histogram else [],
                            attributes=attributes,
                            resource=resource,
                        )


def _span_seen(span: Any, resource: dict[str, Any]) -> SpanSeen:
    return SpanSeen(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=span.kind,
        status=span.status.code,
        status_message=span.status.message,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=_plain(span.attributes),
        events=[(event.name, _plain(event.attributes)) for event in span.events],
        resource=resource,
    )


def _plain(attributes: Any) -> dict[str, Any]:
    return {pair.key: _value(pair) for pair in attributes}


def _value(pair: KeyValue) -> Any:
    return getattr(pair.value, pair.value.WhichOneof("value") or "string_value")

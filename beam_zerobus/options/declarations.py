"""The options that belong together: frozen dataclasses, keyword only, checked when they are made.

Each field is the one declaration of its option, with type, default and limits; the docstring has the text. See
`fields.py` for what is derived from them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

from beam_zerobus.options.fields import check_options, limits, reject
from beam_zerobus.options.urls import check_url

__all__ = [
    "ArrowCompression",
    "Batching",
    "CreateTable",
    "DebugFiles",
    "OnBadRows",
    "OnUnknownFields",
    "Retry",
    "Telemetry",
    "WireFormat",
]

WireFormat: TypeAlias = Literal["proto", "arrow", "json"]
ArrowCompression: TypeAlias = Literal["none", "lz4", "zstd"]
CreateTable: TypeAlias = Literal["never", "if_needed"]
OnBadRows: TypeAlias = Literal["raise", "dead_letter"]
OnUnknownFields: TypeAlias = Literal["reject", "ignore", "add", "rescue"]


def _check(options: Any) -> None:
    kind = type(options)
    values = {declared.name: getattr(options, declared.name) for declared in fields(kind)}
    check_options(kind, values, prefix=f"{kind.__name__}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """How elements become RecordBatches.

    Attributes:
        max_rows: Rows in a batch at most.
        max_bytes: Bytes of a batch in Arrow memory at most, approximately.
        max_delay: Seconds that a row of an open bundle waits for its batch to fill at most; without it, until the end
            of the bundle.
        across_bundles: Collect rows across bundles with Beam's stateful batching, for streaming runners whose bundles
            hold a few rows each; the limit of the delay applies there too. It costs a shuffle of every element.

    Raises:
        ConfigurationError: A limit is not a positive number.

    Example:
        >>> Batching(max_rows=500).max_rows
        500
    """

    max_rows: int = field(default=10_000, metadata=limits(flat="batch_max_rows"))
    max_bytes: int = field(default=8 << 20, metadata=limits(flat="batch_max_bytes"))
    max_delay: float | None = field(default=None, metadata=limits(flat="batch_max_delay"))
    across_bundles: bool = field(default=False, metadata=limits(flat="batch_across_bundles"))

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How long the writer retries while the service fails.

    The wait before retry n is drawn evenly from 0 to ``min(max_backoff, initial_backoff * 2 ** n)`` seconds
    (full jitter). The count starts anew whenever the service acknowledges something.

    Attributes:
        max_retries: Retries after the first failure; 0 gives up at once.
        initial_backoff: Upper limit of the first wait between retries, in seconds.
        max_backoff: Upper limit of any wait between retries, in seconds.

    Raises:
        ConfigurationError: A number is negative or too large, or `initial_backoff` is above `max_backoff`.
    """

    max_retries: int = field(default=5, metadata=limits(at_least=0, flat="max_retries"))
    initial_backoff: float = field(default=0.1, metadata=limits(may_be_zero=True, flat="initial_backoff"))
    max_backoff: float = field(default=30.0, metadata=limits(may_be_zero=True, flat="max_backoff"))

    def __post_init__(self) -> None:
        _check(self)
        if self.initial_backoff > self.max_backoff:
            reject("Retry.initial_backoff", self.initial_backoff, f"must not be above max_backoff={self.max_backoff}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DebugFiles:
    """Files that hold exactly what was sent, for debugging; off unless given.

    Attributes:
        output_dir: Directory for debug files, which go to ``zerobus/arrow`` and ``zerobus/proto`` in it; a local path
            on the worker or any Beam filesystem.
        arrow: Write the RecordBatches that were sent, as Arrow IPC streams.
        proto: Write the protobuf rows that were sent.
        flush_interval: Seconds after which written data is on disk, even if no more data follows.
        max_file_bytes: A file is rotated before it exceeds this size.
        write_every: Write only every n-th batch to debug files.
        max_files_retained: Rotated files kept per format and shard; 0 keeps only the current one, None keeps all.
        fsync: Force each flush to the disk itself, not only to the operating system.

    Raises:
        ConfigurationError: A number is out of range, or both formats are off.
    """

    output_dir: str | os.PathLike[str] = field(metadata=limits(flat="debug_dir"))
    arrow: bool = True
    proto: bool = True
    flush_interval: float = 5.0
    max_file_bytes: int = 64 << 20
    write_every: int = field(default=1, metadata=limits(flat="debug_write_every"))
    max_files_retained: int | None = field(default=10, metadata=limits(at_least=0))
    fsync: bool = False

    def __post_init__(self) -> None:
        _check(self)
        if not (self.arrow or self.proto):
            reject("DebugFiles.arrow", self.arrow, "set arrow or proto to True, or leave debug_files out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """Where OpenTelemetry metrics and spans of the workers go; `docs/telemetry.md` lists them.

    Without `endpoint` and `output_dir`, and without ``OTEL_EXPORTER_OTLP_ENDPOINT`` in the worker's environment, the
    application's own global providers are used, as with ``telemetry=None``.

    Attributes:
        endpoint: Base URL of an OTLP receiver for metrics and spans, such as ``http://collector:4317``, else
            ``OTEL_EXPORTER_OTLP_ENDPOINT`` of the worker. Needs the extra ``beam-zerobus[otlp]``.
        protocol: ``"grpc"`` or ``"http/protobuf"``, else ``OTEL_EXPORTER_OTLP_PROTOCOL``, else ``"grpc"``.
        headers: Headers of each export, for example an API key. Never shown in a repr.
        export_interval: Seconds between two exports of metrics, else ``OTEL_METRIC_EXPORT_INTERVAL``, else 10.
        output_dir: Write spans and metrics to Arrow IPC files in ``{output_dir}/otlp``, with or without OTLP.
        service_name: The resource's ``service.name``, else ``OTEL_SERVICE_NAME``, else ``"beam_zerobus"``.
        resource_attributes: Further attributes of the OpenTelemetry resource.
        flush_timeout: Seconds that the end of a bundle, or of the process, waits for an export at most.

    Raises:
        ConfigurationError: An unknown protocol, a number out of range, or an endpoint that is not a plain URL.

    Example:
        >>> Telemetry(endpoint="http://collector:4317", headers={"api-key": "s3cret"}).endpoint
        'http://collector:4317'
    """

    endpoint: str | None = field(default=None, metadata=limits(checked=False, flat="telemetry_endpoint"))
    protocol: Literal["grpc", "http/protobuf"] | None = field(default=None, metadata=limits(flat="telemetry_protocol"))
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    export_interval: float | None = None
    output_dir: str | os.PathLike[str] | None = None
    service_name: str | None = field(default=None, metadata=limits(flat="telemetry_service_name"))
    resource_attributes: Mapping[str, str] = field(default_factory=dict, metadata=limits(flat="telemetry_attributes"))
    flush_timeout: float = 1.0

    def __post_init__(self) -> None:
        _check(self)
        if self.endpoint is not None:
            check_url(
                self.endpoint,
                name="Telemetry.endpoint",
                example="http://collector:4317",
                credentials="Telemetry.headers",
            )

    def __hash__(self) -> int:
        return hash((self.endpoint, self.protocol, self.output_dir, self.service_name))

"""The options of sink and writer: frozen, keyword only, validated when made."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from beam_zerobus.errors import ConfigurationError

__all__ = ["ArrowCompression", "Batching", "DebugFiles", "OnBadRows", "Retry", "Telemetry", "WireFormat"]

WireFormat: TypeAlias = Literal["proto", "arrow", "json"]
ArrowCompression: TypeAlias = Literal["none", "lz4", "zstd"]
OnBadRows: TypeAlias = Literal["raise", "dead_letter"]


def _require(condition: bool, option: str, value: object, remedy: str) -> None:
    if not condition:
        raise ConfigurationError(f"{option}={value!r}: {remedy}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """How elements become RecordBatches.

    Attributes:
        max_rows: Rows of a batch at most.
        max_bytes: Bytes of a batch in Arrow memory, approximately at most.
        max_delay: Seconds that rows of an open bundle may wait for a full batch; None waits for the bundle's end.
        across_bundles: Collect rows over bundles with Beam's stateful batching, for streaming runners whose
            bundles hold a few rows each; `max_delay` bounds the wait there. It costs a shuffle of every element.

    Raises:
        ConfigurationError: A limit is not a positive number.

    Example:
        >>> Batching(max_rows=500).max_rows
        500
    """

    max_rows: int = 10_000
    max_bytes: int = 8 << 20
    max_delay: float | None = None
    across_bundles: bool = False

    def __post_init__(self) -> None:
        for name in ("max_rows", "max_bytes"):
            value = getattr(self, name)
            _require(
                isinstance(value, int) and not isinstance(value, bool) and value >= 1,
                f"Batching.{name}",
                value,
                "set a whole number of at least 1",
            )
        _require(
            self.max_delay is None or (_is_number(self.max_delay) and self.max_delay > 0),
            "Batching.max_delay",
            self.max_delay,
            "set seconds above 0, or None to wait for the end of the bundle",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How long a failing service is tried again.

    The wait before retry n is drawn evenly from 0 to ``min(max_backoff, initial_backoff * 2 ** n)`` seconds
    (full jitter). The count starts anew whenever the service acknowledges something.

    Attributes:
        max_retries: Retries after the first failure; 0 gives up at once.
        initial_backoff: Upper bound of the first wait, in seconds.
        max_backoff: Upper bound of any wait, in seconds.

    Raises:
        ConfigurationError: A number is negative, or `initial_backoff` is above `max_backoff`.
    """

    max_retries: int = 5
    initial_backoff: float = 0.1
    max_backoff: float = 30.0

    def __post_init__(self) -> None:
        _require(
            isinstance(self.max_retries, int) and not isinstance(self.max_retries, bool) and self.max_retries >= 0,
            "Retry.max_retries",
            self.max_retries,
            "set a whole number of at least 0",
        )
        for name in ("initial_backoff", "max_backoff"):
            value = getattr(self, name)
            _require(_is_number(value) and value >= 0, f"Retry.{name}", value, "set seconds of at least 0")
        _require(
            self.initial_backoff <= self.max_backoff,
            "Retry.initial_backoff",
            self.initial_backoff,
            f"must not be above max_backoff={self.max_backoff}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DebugFiles:
    """Files that hold exactly what was sent, for debugging; off unless given.

    Attributes:
        output_dir: The directory above ``zerobus/arrow`` and ``zerobus/proto``; a local path or any Beam filesystem.
        arrow: Write the RecordBatches that came in, as Arrow IPC streams.
        proto: Write the protobuf rows that went out.
        flush_interval: Seconds after which what was written is on disk, also when nothing follows.
        max_file_bytes: A file is rotated before it would pass this size.
        write_every: Write every n-th batch only.
        max_files_retained: Rotated files kept per format and shard; 0 keeps only the current one, None keeps all.
        fsync: Force each flush to the disk itself, not only to the operating system.

    Raises:
        ConfigurationError: A number is out of range, or both formats are off.
    """

    output_dir: str | os.PathLike[str]
    arrow: bool = True
    proto: bool = True
    flush_interval: float = 5.0
    max_file_bytes: int = 64 << 20
    write_every: int = 1
    max_files_retained: int | None = 10
    fsync: bool = False

    def __post_init__(self) -> None:
        _require(
            isinstance(self.output_dir, str | os.PathLike) and bool(os.fspath(self.output_dir)),
            "DebugFiles.output_dir",
            self.output_dir,
            "name a directory",
        )
        _require(
            self.arrow or self.proto,
            "DebugFiles.arrow",
            self.arrow,
            "switch arrow or proto on, or leave debug_files=None for no files at all",
        )
        _require(
            _is_number(self.flush_interval) and self.flush_interval > 0,
            "DebugFiles.flush_interval",
            self.flush_interval,
            "set seconds above 0",
        )
        for name in ("max_file_bytes", "write_every"):
            value = getattr(self, name)
            _require(
                isinstance(value, int) and not isinstance(value, bool) and value >= 1,
                f"DebugFiles.{name}",
                value,
                "set a whole number of at least 1",
            )
        _require(
            self.max_files_retained is None
            or (
                isinstance(self.max_files_retained, int)
                and not isinstance(self.max_files_retained, bool)
                and self.max_files_retained >= 0
            ),
            "DebugFiles.max_files_retained",
            self.max_files_retained,
            "set a whole number of at least 0, or None to keep all",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """Where OpenTelemetry metrics and spans of the workers go; `docs/telemetry.md` lists them.

    Without `endpoint` and `output_dir`, and without ``OTEL_EXPORTER_OTLP_ENDPOINT`` in the worker's environment, the
    application's own global providers are used, as with ``telemetry=None``.

    Attributes:
        endpoint: Base URL of an OTLP receiver, such as ``http://collector:4317``; None reads
            ``OTEL_EXPORTER_OTLP_ENDPOINT`` on the worker. Needs the extra ``beam-zerobus[otlp]``.
        protocol: ``"grpc"`` or ``"http/protobuf"``; None reads ``OTEL_EXPORTER_OTLP_PROTOCOL``, else ``"grpc"``.
        headers: Headers of each export, for example an API key. Never shown in a repr.
        export_interval: Seconds between two exports of metrics; None reads ``OTEL_METRIC_EXPORT_INTERVAL``, else 10.
        output_dir: Write spans and metrics to Arrow IPC files under ``{output_dir}/otlp``, beside OTLP or without it.
        service_name: The resource's ``service.name``; None reads ``OTEL_SERVICE_NAME``, else ``"beam_zerobus"``.
        resource_attributes: Further attributes of the resource.
        flush_timeout: Seconds that the end of a bundle, or of the process, waits for an export at most.

    Raises:
        ConfigurationError: An unknown protocol, a number out of range, or an endpoint that is no plain URL.

    Example:
        >>> Telemetry(endpoint="http://collector:4317", headers={"api-key": "s3cret"}).endpoint
        'http://collector:4317'
    """

    endpoint: str | None = None
    protocol: Literal["grpc", "http/protobuf"] | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    export_interval: float | None = None
    output_dir: str | os.PathLike[str] | None = None
    service_name: str | None = None
    resource_attributes: Mapping[str, str] = field(default_factory=dict)
    flush_timeout: float = 1.0

    def __post_init__(self) -> None:
        self._check_endpoint()
        _require(
            self.protocol in (None, "grpc", "http/protobuf"),
            "Telemetry.protocol",
            self.protocol,
            'use "grpc" or "http/protobuf"',
        )
        _require(
            self.output_dir is None
            or (isinstance(self.output_dir, str | os.PathLike) and bool(os.fspath(self.output_dir))),
            "Telemetry.output_dir",
            self.output_dir,
            "name a directory",
        )
        for name in ("export_interval", "flush_timeout"):
            value = getattr(self, name)
            _require(
                (value is None and name == "export_interval") or (_is_number(value) and 0 < value < math.inf),
                f"Telemetry.{name}",
                value,
                "set seconds above 0",
            )
        for name in ("headers", "resource_attributes"):
            value = getattr(self, name)
            if not isinstance(value, Mapping) or not all(
                isinstance(key, str) and isinstance(text, str) for key, text in value.items()
            ):
                raise ConfigurationError(f"Telemetry.{name}: give a mapping of text to text")

    def _check_endpoint(self) -> None:
        """Check the URL; one that may hold a password is not repeated in the message."""
        if self.endpoint is None:
            return
        try:
            url = urlsplit(self.endpoint) if isinstance(self.endpoint, str) else None
        except ValueError:
            url = None
        if url is not None and url.username is not None:
            raise ConfigurationError("Telemetry.endpoint holds a user name: put credentials into Telemetry.headers")
        _require(
            url is not None and url.scheme in ("http", "https") and bool(url.hostname),
            "Telemetry.endpoint",
            self.endpoint,
            'give a URL such as "http://collector:4317"',
        )

    def __hash__(self) -> int:
        return hash((self.endpoint, self.protocol, self.output_dir, self.service_name))

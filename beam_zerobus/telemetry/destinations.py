"""Where providers of our own export to: an OTLP receiver, files, or both."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Final
from urllib.parse import urlsplit

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.options import Telemetry
from beam_zerobus.options.extras import install_extra

__all__ = ["Destination", "check_destinations", "describe_destinations", "has_destination"]

_EXPORTERS: Final[Mapping[str, str]] = {
    "grpc": "opentelemetry.exporter.otlp.proto.grpc",
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http",
}
_SIGNALS: Final[Mapping[str, str]] = {"traces": "trace_exporter", "metrics": "metric_exporter"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A place that receives spans, metrics or both.

    Attributes:
        name: What a warning calls it; holds no credentials.
        spans: The exporter's class with its arguments; None where spans do not go there.
        metrics: The same for metrics.
    """

    name: str
    spans: partial[Any] | None
    metrics: partial[Any] | None


def has_destination(options: Telemetry | None) -> bool:
    """Whether options or environment name a place to export to."""
    options = options or Telemetry()
    return options.output_dir is not None or any(_uses_otlp(options, signal) for signal in _SIGNALS)


def check_destinations(options: Telemetry) -> None:
    """Check, before anything is made, that everything the destinations need is available.

    Raises:
        ConfigurationError: The extra ``otlp`` is not installed, the protocol of the environment is unknown, or the
            directory cannot be written.
    """
    for signal in _SIGNALS:
        if _uses_otlp(options, signal):
            _exporter_module(options, signal)
    if options.output_dir is not None:
        from beam_zerobus.telemetry.arrow_exporter import check_directory  # noqa: PLC0415  only needed where files are written

        check_directory(options.output_dir)


def describe_destinations(options: Telemetry) -> list[Destination]:
    """Describe every destination and its exporters."""
    destinations = []
    if any(_uses_otlp(options, signal) for signal in _SIGNALS):
        destinations.append(
            Destination(
                name=f"the OTLP receiver at {_shown_endpoint(options)}",
                spans=_otlp_exporter(options, "traces", "OTLPSpanExporter"),
                metrics=_otlp_exporter(options, "metrics", "OTLPMetricExporter"),
            )
        )
    if options.output_dir is not None:
        from beam_zerobus.telemetry.arrow_exporter import MetricFiles, SpanFiles  # noqa: PLC0415

        destinations.append(
            Destination(
                name=f"the files below {os.fspath(options.output_dir)}",
                spans=partial(SpanFiles, options.output_dir),
                metrics=partial(MetricFiles, options.output_dir),
            )
        )
    return destinations


def _uses_otlp(options: Telemetry, signal: str) -> bool:
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip().lower() == "none":
        return False
    return options.endpoint is not None or _environment(signal, "ENDPOINT") is not None


def _environment(signal: str, setting: str) -> str | None:
    """Return a setting of a signal, or the one for all signals."""
    return (
        os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{setting}")
        or os.environ.get(f"OTEL_EXPORTER_OTLP_{setting}")
        or None
    )


def _protocol(options: Telemetry, signal: str) -> str:
    return options.protocol or _environment(signal, "PROTOCOL") or "grpc"


def _exporter_module(options: Telemetry, signal: str) -> Any:
    protocol = _protocol(options, signal)
    package = _EXPORTERS.get(protocol)
    if package is None:
        raise ConfigurationError(
            f'OTEL_EXPORTER_OTLP_PROTOCOL={protocol!r} is not supported: use "grpc" or "http/protobuf"'
        )
    try:
        return import_module(f"{package}.{_SIGNALS[signal]}")
    except ImportError as error:
        raise ConfigurationError(
            f"Telemetry over OTLP ({protocol}) needs more packages on the worker: {install_extra('otlp')}"
        ) from error


def _otlp_exporter(options: Telemetry, signal: str, name: str) -> Any:
    """Describe an exporter; what the options leave open it reads from the environment."""
    if not _uses_otlp(options, signal):
        return None
    settings: dict[str, Any] = {}
    if options.endpoint is not None:
        settings["endpoint"] = (
            options.endpoint
            if _protocol(options, signal) == "grpc"
            else f"{options.endpoint.rstrip('/')}/v1/{signal}"  # the exporter takes a full URL here
        )
    if options.headers:
        settings["headers"] = {key.lower(): value for key, value in options.headers.items()}  # as gRPC demands
    return partial(getattr(_exporter_module(options, signal), name), **settings)


def _shown_endpoint(options: Telemetry) -> str:
    endpoint = options.endpoint or _environment("traces", "ENDPOINT") or _environment("metrics", "ENDPOINT") or ""
    try:
        url = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}")
        return f"{url.hostname}:{url.port}" if url.port else str(url.hostname)
    except ValueError:
        return "the given address"

"""OpenTelemetry metrics, spans and log correlation; see `docs/telemetry.md`.

Telemetry never disturbs a batch: no method of `Recorder` or `BatchSpan` raises, and only `Recorder.flush` and `close`
wait, with a limit.
"""

from __future__ import annotations

from beam_zerobus.logs import TraceContextFilter, get_logger
from beam_zerobus.options import Telemetry
from beam_zerobus.telemetry.batch import BatchSpan
from beam_zerobus.telemetry.counts import InFlight
from beam_zerobus.telemetry.providers import find_source
from beam_zerobus.telemetry.recorder import Recorder

__all__ = ["BatchSpan", "InFlight", "Recorder", "TraceContextFilter", "get_logger", "open_recorder"]


def open_recorder(options: Telemetry | None, *, table: str, wire_format: str, name_in_metrics: str = "") -> Recorder:
    """Return a recorder for one writer.

    It writes to the application's global providers, also when they are installed later. Where `options` or the
    environment name a place to export to, it writes to providers of our own, one set for a process and configuration.

    Args:
        options: The user's options, or None.
        table: ``catalog.schema.table``.
        wire_format: ``"proto"``, ``"arrow"`` or ``"json"``.
        name_in_metrics: What metrics call the table; empty for its name.

    Raises:
        ConfigurationError: The options need the extra ``beam-zerobus[otlp]``, or name a directory that cannot
            be written.

    Example:
        >>> recorder = open_recorder(None, table="main.iot.air_quality", wire_format="proto")
        >>> span = recorder.batch(rows=10, arrow_bytes=80)
        >>> with span.encoding():
        ...     pass
        >>> span.sent(payloads=1, wire_bytes=60)
        >>> span.finish(acknowledged_rows=10)
    """
    source = find_source(options)
    return Recorder(source, table=table, wire_format=wire_format, name_in_metrics=name_in_metrics)

"""Scripts that run in a process of their own, as global providers can be set only once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from typing import Any

PRELUDE = """
import json, logging, os, sys, threading, time
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from beam_zerobus.errors import ConfigurationError
from beam_zerobus.options import Telemetry
from beam_zerobus.telemetry import open_recorder

def send(recorder, rows=10):
    batch = recorder.batch(rows, 80)
    with batch.encoding():
        pass
    batch.finish(rows)

def install():
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([reader]))
    return spans, reader

def total(reader, name):
    data = reader.get_metrics_data()
    return sum(
        getattr(point, "value", getattr(point, "count", 0))
        for r in (data.resource_metrics if data else ()) for s in r.scope_metrics for m in s.metrics if m.name == name
        for point in m.data.data_points
    )
"""


def run(script: str, *arguments: str, **environment: str) -> Any:
    """Run a script in a process of its own, as global providers can be set only once; return what it prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)

"""The page and the dashboard show every metric, and no other."""

from __future__ import annotations

import json
import re
from pathlib import Path

from apache_beam.metrics import Metrics

from beam_zerobus.sink.metrics import SinkMetrics
from beam_zerobus.telemetry.arrow_exporter import METRIC_SCHEMA, SPAN_SCHEMA
from beam_zerobus.telemetry.instruments import COUNTED, DURATIONS, Instrument

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "telemetry.md").read_text()
INSTRUMENTS = (*COUNTED, *DURATIONS)


def prometheus_name(instrument: Instrument) -> str:
    """Translate as Prometheus does when it receives OTLP."""
    name = instrument.name.replace(".", "_")
    suffix = {"By": "_bytes", "s": "_seconds"}.get(instrument.unit, "")
    name += "" if name.endswith(suffix) else suffix
    return name + {"sum": "_total", "level": "", "duration": "_bucket"}[instrument.kind]


def test_page_lists_every_metric_with_kind_and_unit() -> None:
    listed = dict(re.findall(r"^\| `([\w.]+)` \| (\w+ \| `[^`]+`) \|", PAGE, re.MULTILINE))
    kinds = {"sum": "sum", "level": "level", "duration": "histogram"}
    assert listed == {i.name: f"{kinds[i.kind]} | `{i.unit}`" for i in INSTRUMENTS}


def test_page_lists_every_beam_metric_with_its_kind() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \| (counter|distribution|string set) \|", PAGE, re.MULTILINE))
    kinds = {
        Metrics.DelegatingCounter: "counter",
        Metrics.DelegatingDistribution: "distribution",
        Metrics.DelegatingStringSet: "string set",
    }
    metrics = vars(SinkMetrics("namespace")).values()
    assert listed == {(metric.metric_name.name, kinds[type(metric)]) for metric in metrics if type(metric) in kinds}
    assert len(listed) == 14


def test_page_lists_every_column_of_the_files() -> None:
    for column in (*SPAN_SCHEMA.names, *METRIC_SCHEMA.names):
        assert f"`{column}`" in PAGE


def test_dashboard_shows_every_metric_and_no_other() -> None:
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    shown = {name for text in expressions for name in re.findall(r"\b(?:beam_zerobus|messaging)_\w+(?=\{)", text)}
    assert shown == {prometheus_name(instrument) for instrument in INSTRUMENTS}
    attributes = {name.replace(".", "_") for name in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)`", PAGE)}
    labels = {name for text in expressions for name in re.findall(r"(\w+)(?:=~?|!=)\"", text)}
    labels |= {
        name for text in expressions for names in re.findall(r"by \(([^)]*)\)", text) for name in names.split(", ")
    }
    assert labels - {"le", "instance"} <= attributes  # those two are of Prometheus itself
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))

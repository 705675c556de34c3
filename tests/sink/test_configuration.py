"""Options are checked when the transform is made; no secret is shown or pickled."""

from __future__ import annotations

import logging
import pickle
import socket
import threading
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.internal import pickler
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.display import DisplayData

from beam_zerobus import (
    AuthenticationError,
    Batching,
    ConfigurationError,
    DebugFiles,
    OAuthClientCredentials,
    StaticHeaders,
    WriteToZerobus,
)
from beam_zerobus.writer.shared import close_all

URLS = {"endpoint": "https://123.zerobus.eu.cloud.databricks.com", "workspace_url": "https://w.cloud.databricks.com"}
SECRET = "does-not-leak"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"table": "iot.air"}, r"has 2 parts: write it as 'catalog\.schema\.table'"),
        ({"table": "main.iot.air-quality"}, "table name 'air-quality' .* use ASCII letters, digits and underscores"),
        ({"table": None}, "table has the type NoneType"),
        ({"endpoint": "123.zerobus.databricks.com"}, "endpoint is not an http"),
        ({"endpoint": "ftp://x"}, "is not an http"),
        ({"workspace_url": "w.cloud.databricks.com"}, "workspace_url is not an http"),
        ({"wire_format": "avro"}, 'use "proto", "arrow" or "json"'),
        ({"batching": 500}, r"give beam_zerobus\.Batching"),
        ({"on_bad_rows": "ignore"}, 'use "raise" or "dead_letter"'),
        ({"streams_per_worker": 0}, "whole number from 1"),
        ({"retry": None}, r"give beam_zerobus\.Retry"),
        ({"schema": "id NONSENSE"}, "NONSENSE"),
        ({"schema": 5}, "schema has the type int"),
        ({"credentials": "token"}, "use OAuthClientCredentials"),
        ({"schema": "unity-catalog"}, 'write it as "unity_catalog"'),
        ({"schema": "Unity Catalog"}, 'write it as "unity_catalog"'),
        ({"schema": "element"}, 'write it as "elements"'),
        ({"dry_run": True, "schema": "unity_catalog", "workspace_url": None}, "workspace_url is not set"),
        ({"endpoint": None}, "or to what beam-zerobus emulator prints"),
    ],
)
def test_wrong_settings_are_rejected_when_the_transform_is_made(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        WriteToZerobus(**{"table": "main.iot.air", **URLS, **settings})


@pytest.mark.parametrize("limits", [{"max_rows": 0}, {"max_bytes": -1}, {"max_delay": 0}, {"max_rows": 1.5}])
def test_wrong_batching_is_rejected(limits):
    with pytest.raises(ConfigurationError, match=f"Batching.{next(iter(limits))}"):
        Batching(**limits)


def test_a_row_type_without_a_column_type_is_rejected_when_the_sink_is_applied():
    sink = WriteToZerobus(
        "main.iot.air", endpoint=URLS["endpoint"], credentials=StaticHeaders(headers={"authorization": "x"})
    )
    rows = beam.Pipeline() | beam.Create([beam.Row(id=1, extra=object)]).with_output_types(
        beam.typehints.row_type.RowTypeConstraint.from_fields([("id", int), ("extra", Any)])
    )
    with pytest.raises(ConfigurationError, match="Field extra has the type .*Any.* give WriteToZerobus"):
        rows | sink


def test_an_endless_wait_across_bundles_is_rejected():
    from apache_beam.testing.test_stream import TestStream as Stream

    sink = WriteToZerobus("main.iot.air", schema="id BIGINT", batching=Batching(across_bundles=True), dry_run=True)
    elements = beam.Pipeline() | Stream().add_elements([{"id": 1}]).advance_watermark_to_infinity()
    elements.is_bounded = False
    with pytest.raises(ConfigurationError, match="max_delay"):
        elements | sink


def test_no_secret_in_display_data_repr_or_logs(caplog):
    caplog.set_level(logging.DEBUG)
    credentials = OAuthClientCredentials(client_id="me", client_secret=SECRET)
    sink = WriteToZerobus("main.iot.air", **URLS, schema=pa.schema([("id", pa.int64())]), credentials=credentials)
    shown = {item.key: item.value for item in DisplayData.create_from(sink).items}
    assert shown["table"] == "main.iot.air"
    assert shown["schema"] == "id BIGINT"
    assert SECRET not in f"{shown} {sink!r} {sink} {credentials!r} {vars(sink)} {caplog.text}"


def read_secret():
    return SECRET


@pytest.mark.parametrize(
    "credentials",
    [None, OAuthClientCredentials(), OAuthClientCredentials(client_id="me", client_secret=read_secret)],
    ids=["default", "environment", "callable"],
)
def test_a_pickle_holds_no_secret_that_the_worker_can_read_itself(monkeypatch, credentials):
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", "me")
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", SECRET)
    sink = WriteToZerobus("main.iot.air", **URLS, schema="id BIGINT", credentials=credentials)
    pickled = pickle.dumps(sink)
    assert SECRET.encode() not in pickled
    assert pickle.loads(pickled)._config == sink._config
    assert pickler.loads(pickler.dumps(sink))._config.key == sink._config.key


def test_missing_credentials_are_an_authentication_error_on_the_worker(emulator, sink, run, monkeypatch):
    monkeypatch.delenv("DATABRICKS_CLIENT_ID", raising=False)
    monkeypatch.delenv("DATABRICKS_CLIENT_SECRET", raising=False)
    emulator.create_table("main.iot.air", "id BIGINT")
    with pytest.raises(AuthenticationError, match="No client_id: set DATABRICKS_CLIENT_ID in the worker's environment"):
        run(lambda pipeline: pipeline | beam.Create([{"id": 1}]) | sink(credentials=None))


def test_the_environment_of_the_worker_is_enough(emulator, sink, run, monkeypatch):
    monkeypatch.setenv("ZEROBUS_ENDPOINT", emulator.endpoint)
    monkeypatch.setenv("DATABRICKS_HOST", emulator.workspace_url)
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", emulator.client_id)
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", emulator.client_secret)
    table = emulator.create_table("main.iot.air", "id BIGINT")
    run(lambda pipeline: pipeline | beam.Create([{"id": 1}]) | WriteToZerobus("main.iot.air"))
    assert table.to_arrow()["id"].to_pylist() == [1]


def test_the_callables_of_equal_sinks_share_one_stream(emulator, sink, run):
    emulator.create_table("main.iot.air", "id BIGINT")
    secret = emulator.client_secret
    credentials = OAuthClientCredentials(client_id=emulator.client_id, client_secret=lambda: secret)
    write = sink(credentials=credentials)
    run(lambda pipeline: pipeline | beam.Create([{"id": i} for i in range(100)]) | beam.Reshuffle() | write)
    assert emulator.stats.streams_opened == 1


@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
def test_a_dry_run_touches_no_network_and_needs_no_credentials(run, tmp_path, monkeypatch, wire_format):
    for name in ("ZEROBUS_ENDPOINT", "DATABRICKS_HOST", "DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    touched = []
    strangers = {*threading.enumerate()} - {threading.current_thread()}  # of earlier tests, such as an export

    def touch(*address, **_):
        if threading.current_thread() not in strangers:
            touched.append(address)

    monkeypatch.setattr(socket.socket, "connect", touch)
    monkeypatch.setattr(socket, "getaddrinfo", touch)
    monkeypatch.setattr("beam_zerobus.delivery.stream.ZerobusSdk", touch)
    write = WriteToZerobus(
        "main.iot.air",
        schema="id BIGINT NOT NULL",
        wire_format=wire_format,
        dry_run=True,
        on_bad_rows="dead_letter",
        debug_files=DebugFiles(output_dir=str(tmp_path)),
    )

    def build(pipeline):
        result = pipeline | beam.Create([{"id": 1}, {"id": None}, {"id": "x"}], reshuffle=False) | write
        kinds = result.failed_rows | beam.Map(lambda row: row.error_type)
        assert_that(kinds, equal_to(["null_in_not_null_column", "wrong_type"]))

    run(build)
    close_all()
    assert touched == []
    (written,) = (tmp_path / "zerobus" / "arrow").glob("*.arrow")
    with pa.ipc.open_stream(written) as stream:
        assert stream.read_all()["id"].to_pylist() == [
            1,
            None,
        ]  # rows that could be read; rejected ones are marked
    (rejects,) = (tmp_path / "zerobus" / "arrow").glob("*.rejects.jsonl")
    assert "null_in_not_null_column" in rejects.read_text()

"""Messages about options are in the words of whoever gave them, and a failure's reason is its first and last line."""

import subprocess
import sys

import pytest

from beam_zerobus import ConfigurationError
from beam_zerobus import yaml as beam_yaml
from beam_zerobus.sink.flat_options import FLAT_NAMES, FLAT_OPTIONS, flat_sink
from beam_zerobus.sink.wording import as_flags, as_yaml

FOR_FLAGS = [
    (
        "endpoint is not set: pass endpoint=... or set Z",
        "--zerobus_endpoint is not set: pass --zerobus_endpoint=... or",
    ),
    ("Batching.max_rows=0: set a whole number", "--zerobus_batch_max_rows=0: set a whole number"),
    ("DebugFiles.output_dir (of type int): name a", "--zerobus_debug_dir (of type int): name a"),
    ("arrow_compression='lz4' needs wire_format=\"arrow\"", "--zerobus_arrow_compression='lz4' needs --zerobus_wire_"),
    ("endpoint and workspace_url are swapped", "--zerobus_endpoint and --zerobus_workspace_url are swapped"),
    ("$ZEROBUS_ENDPOINT holds white space", "$ZEROBUS_ENDPOINT holds white space"),
    ("schema DDL, line 1, column 4: 'table' is not", "schema DDL, line 1, column 4: 'table' is not"),
    ("--zerobus_table is not set", "--zerobus_table is not set"),
]


@pytest.mark.parametrize(("message", "expected"), FOR_FLAGS)
def test_parameters_become_flags(message, expected):
    assert as_flags(message, FLAT_NAMES).startswith(expected)


def test_parameters_become_keys_of_yaml():
    assert as_yaml("Batching.max_rows=0: set", FLAT_NAMES) == "batch_max_rows: 0: set"
    assert as_yaml("endpoint is not set: pass endpoint=...", FLAT_NAMES) == "endpoint is not set: pass endpoint: ..."


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"batch_max_rows": 0}, "batch_max_rows: 0: set a whole number"),
        ({"wire_format": "avro"}, "wire_format: 'avro': use"),
        ({"debug_write_every": 3}, "debug_write_every is set without debug_dir: ...: name"),
        ({"schema": "unity-catalog"}, "schema: 'unity-catalog': write it as \"unity_catalog\""),
        ({"assume_timezone": "CEST"}, "assume_timezone is not a time zone"),
        ({"endpoint": "https://dbc-1-2.cloud.databricks.com"}, "endpoint looks like the workspace's address"),
    ],
)
def test_what_yaml_says(wrong, says):
    with pytest.raises(ConfigurationError) as raised:
        beam_yaml.WriteToZerobus("main.iot.air", **{"schema": "id BIGINT", "dry_run": True, **wrong})
    assert says in str(raised.value)


def test_an_unknown_option_has_the_nearest_name():
    with pytest.raises(ConfigurationError, match="no option wire_fromat: did you mean wire_format"):
        flat_sink(table="main.iot.air", wire_fromat="json")
    assert {*FLAT_NAMES.values()} == {*FLAT_OPTIONS}


def test_the_reason_of_a_failed_pipeline_is_its_first_and_its_last_line(emulator):
    emulator.create_table("main.iot.air", "id BIGINT")
    program = f"""
from beam_zerobus import OAuthClientCredentials, WriteToZerobus
import apache_beam as beam
with beam.Pipeline("FnApiRunner") as pipeline:
    pipeline | beam.Create([{{"id": 1}}]) | WriteToZerobus(
        "main.iot.air", endpoint="{emulator.endpoint}", workspace_url="{emulator.workspace_url}",
        credentials=OAuthClientCredentials(client_id="{emulator.client_id}", client_secret="wrong"),
    )
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=120, capture_output=True, text=True)
    lines = done.stderr.splitlines()
    for line in (lines[0], lines[-1]):
        assert "rejected the credentials (401, invalid_client): check client id and secret" in line

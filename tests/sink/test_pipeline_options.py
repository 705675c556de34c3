"""The sink from a pipeline's flags: every option arrives, wrong ones are rejected at once, none is a secret."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to

from beam_zerobus import AuthenticationError, ConfigurationError, WriteToZerobus, ZerobusOptions
from beam_zerobus import yaml as beam_yaml
from beam_zerobus.workspace.credentials import EnvironmentVariable
from beam_zerobus.writer.shared import close_all

TABLE = "main.iot.air"
FLAGS = [f"--zerobus_table={TABLE}", "--zerobus_schema=co2 INT NOT NULL", "--zerobus_dry_run"]


def sink(*flags: str, **defaults) -> WriteToZerobus:
    return PipelineOptions([*flags, "--runner=FnApiRunner"]).view_as(ZerobusOptions).sink(**defaults)


def shown(made: WriteToZerobus) -> dict:
    return {name: item.value for name, item in made.display_data().items()}


def test_every_setting_arrives(tmp_path):
    made = sink(
        *FLAGS,
        "--zerobus_endpoint=https://1.zerobus.eu.cloud.databricks.com",
        "--zerobus_workspace_url=https://w.cloud.databricks.com",
        "--zerobus_wire_format=arrow",
        "--zerobus_arrow_compression=zstd",
        "--zerobus_on_bad_rows=dead_letter",
        "--zerobus_on_unknown_fields=ignore",
        "--zerobus_rescue_column=rest",
        "--zerobus_assume_timezone=UTC",
        "--zerobus_epoch_unit=ms",
        "--zerobus_streams_per_worker=3",
        "--zerobus_max_open_tables=5",
        "--zerobus_max_in_flight_bytes=55555",
        "--zerobus_max_tables_in_metrics=9",
        "--zerobus_batch_max_rows=77",
        "--zerobus_batch_max_bytes=7777",
        "--zerobus_batch_max_delay=0.25",
        "--zerobus_batch_across_bundles=true",
        "--zerobus_max_retries=2",
        "--zerobus_initial_backoff=0.5",
        "--zerobus_max_backoff=4",
        f"--zerobus_debug_dir={tmp_path}",
        "--zerobus_debug_write_every=9",
        "--zerobus_telemetry_endpoint=http://collector:4318",
        "--zerobus_telemetry_protocol=http/protobuf",
        "--zerobus_telemetry_service_name=air",
        "--zerobus_client_id_env=ID",
        "--zerobus_client_secret_gcp_secret=projects/p/secrets/s/versions/latest",
    )
    assert shown(made) == {
        "table": TABLE,
        "endpoint": "https://1.zerobus.eu.cloud.databricks.com",
        "workspace_url": "https://w.cloud.databricks.com",
        "schema": "co2 INT NOT NULL",
        "wire_format": "arrow",
        "on_bad_rows": "dead_letter",
        "max_rows": 77,
        "max_bytes": 7777,
        "max_delay": 0.25,
        "across_bundles": True,
        "max_retries": 2,
        "initial_backoff": 0.5,
        "max_backoff": 4.0,
        "arrow_compression": "zstd",
        "on_unknown_fields": "ignore",
        "rescue_column": "rest",
        "ignore_unknown_fields": False,
        "assume_timezone": "UTC",
        "epoch_unit": "ms",
        "streams_per_worker": 3,
        "max_open_tables": 5,
        "max_in_flight_bytes": 55555,
        "max_tables_in_metrics": 9,
        "create_table": "never",
        "warehouse_id": None,
        "keep": None,
        "drop": None,
        "dry_run": True,
    }
    config = made._config
    assert config.arrow_compression == "zstd"
    assert (config.on_unknown_fields, config.rescue_column) == ("ignore", "rest")
    assert (config.retry.initial_backoff, config.retry.max_backoff) == (0.5, 4.0)
    assert (config.debug_files.output_dir, config.debug_files.write_every) == (str(tmp_path), 9)
    telemetry = config.telemetry
    assert (telemetry.endpoint, telemetry.protocol, telemetry.service_name) == (
        "http://collector:4318",
        "http/protobuf",
        "air",
    )
    assert config.credentials.client_id == EnvironmentVariable("ID")
    assert config.credentials.client_secret._version_name == "projects/p/secrets/s/versions/latest"


def test_options_without_a_flag_have_the_default_of_the_pipeline_or_the_sink():
    plain = WriteToZerobus(TABLE, schema="co2 INT NOT NULL", dry_run=True)
    assert shown(sink(*FLAGS)) == shown(plain)
    assert sink(*FLAGS)._config == plain._config
    assert shown(sink(*FLAGS, on_bad_rows="dead_letter"))["on_bad_rows"] == "dead_letter"
    assert shown(sink(*FLAGS, "--zerobus_on_bad_rows=raise", on_bad_rows="dead_letter"))["on_bad_rows"] == "raise"
    assert shown(sink(*FLAGS, "--zerobus_batch_across_bundles=false"))["across_bundles"] is False


def test_options_may_be_set_in_a_program_too():
    options = ZerobusOptions([], zerobus_table=TABLE, zerobus_schema="co2 INT")
    options.zerobus_dry_run = True
    assert shown(options.sink())["schema"] == "co2 INT"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--zerobus_schema=co2 INT"], "--zerobus_table is not set: name the table as catalog.schema.table"),
        (["--zerobus_tabel=main.iot.air"], "no flag --zerobus_tabel: did you mean --zerobus_table?"),
        ([*FLAGS, "--zerobus-streams-per-worker", "2"], "did you mean --zerobus_streams_per_worker?"),
        ([*FLAGS, "--zerbus_wire_format=json"], "no flag --zerbus_wire_format: did you mean --zerobus_wire_format?"),
        ([*FLAGS, "--zerobus_table=air"], "--zerobus_table='air' has 1 part"),
        ([*FLAGS, "--zerobus_assume_timezone=CEST"], "--zerobus_assume_timezone is not a time zone"),
        ([*FLAGS, "--zerobus_schema=unity-catalog"], "--zerobus_schema='unity-catalog': write it as"),
        ([*FLAGS, "--zerobus_dry_run=false"], "--zerobus_endpoint is not set: pass --zerobus_endpoint=... or set ZERO"),
        ([*FLAGS, "--zerobus_schema=co2 NONSENSE"], "NONSENSE"),
        ([*FLAGS, "--zerobus_batch_max_rows=0"], "--zerobus_batch_max_rows=0: set a whole number of at least 1"),
        ([*FLAGS, "--zerobus_max_backoff=nan"], "--zerobus_max_backoff=nan"),
        (
            [*FLAGS, "--zerobus_debug_write_every=2"],
            "--zerobus_debug_write_every is set without --zerobus_debug_dir=...:",
        ),
        (
            [*FLAGS, "--zerobus_client_id_env=A", "--zerobus_client_id_gcp_secret=projects/p/secrets/s/versions/1"],
            "both",
        ),
    ],
)
def test_wrong_flags_are_rejected_when_the_sink_is_made(flags, message, monkeypatch):
    monkeypatch.delenv("ZEROBUS_ENDPOINT", raising=False)
    with pytest.raises(ConfigurationError) as rejected:
        sink(*flags)
    assert message in str(rejected.value)


@pytest.mark.parametrize(
    "flag", ["--zerobus_batch_max_rows=many", "--zerobus_wire_format=avro", "--zerobus_dry_run=perhaps"]
)
def test_wrong_values_are_rejected_by_the_parser(flag, capsys):
    with pytest.raises(SystemExit):
        sink(*FLAGS, flag)
    assert f"argument {flag.partition('=')[0]}" in capsys.readouterr().err


def test_a_secret_in_place_of_its_name_is_rejected_and_not_repeated():
    with pytest.raises(ConfigurationError, match="names a version of a secret") as rejected:
        sink(*FLAGS, "--zerobus_client_secret_gcp_secret=s3cret")
    assert "s3cret" not in str(rejected.value)


def test_secrets_are_read_on_the_worker_from_the_variables_that_the_flags_name(emulator, monkeypatch):
    table = emulator.create_table(TABLE, "co2 INT NOT NULL")
    flags = [
        f"--zerobus_table={TABLE}",
        f"--zerobus_endpoint={emulator.endpoint}",
        f"--zerobus_workspace_url={emulator.workspace_url}",
        "--zerobus_client_id_env=MY_ID",
        "--zerobus_client_secret_env=MY_SECRET",
        "--zerobus_schema=co2 INT NOT NULL",
    ]
    made = sink(*flags, on_bad_rows="dead_letter")
    monkeypatch.setenv("MY_ID", emulator.client_id)
    monkeypatch.setenv("MY_SECRET", emulator.client_secret)
    with beam.Pipeline("FnApiRunner") as pipeline:
        result = pipeline | beam.Create([{"co2": 417}, {"co2": None}]) | made
        assert_that(result.failed_rows | beam.Map(lambda row: row.element), equal_to([{"co2": None}]))
    close_all()
    assert table.to_arrow().to_pylist() == [{"co2": 417}]
    assert emulator.client_secret.encode() not in pickle.dumps(made._config)


def test_a_variable_that_is_missing_is_named(monkeypatch):
    monkeypatch.delenv("MY_ID", raising=False)
    with pytest.raises(AuthenticationError, match="MY_ID is not set where the rows are sent, such as on the worker"):
        EnvironmentVariable("MY_ID")()


def test_flags_are_named_as_in_beam_yaml():
    of_yaml = set(inspect.signature(beam_yaml.WriteToZerobus).parameters) - {
        "error_handling",
        "telemetry_attributes",
        "keep",
        "drop",
    }
    of_flags = {name.removeprefix("zerobus_") for name in ZerobusOptions([]).get_all_options(current_only=True)}
    assert of_yaml == of_flags


def test_flags_do_not_conflict_with_those_of_runners_and_pipelines():
    """In its own process, because Beam keeps every class of options that was ever made."""
    program = """
from apache_beam.options.pipeline_options import PipelineOptions
from beam_zerobus import ZerobusOptions

class Mine(PipelineOptions):
    @classmethod
    def _add_argparse_args(cls, parser):
        for name in ("table", "schema", "endpoint", "wire_format"):
            parser.add_argument(f"--{name}")

options = PipelineOptions(["--table=mine", "--zerobus_table=theirs", "--dry_run=true", "--streaming"])
given = options.get_all_options(drop_default=True)
assert given["table"] == "mine" and given["zerobus_table"] == "theirs", given
assert "zerobus_dry_run" not in given
assert PipelineOptions.from_dictionary(given).view_as(ZerobusOptions).zerobus_table == "theirs"
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_help_names_every_flag(capsys):
    with pytest.raises(SystemExit):
        ZerobusOptions(["--help"])
    text = capsys.readouterr().out
    for name in ZerobusOptions([]).get_all_options(current_only=True):
        assert f"--{name}" in text

"""Messages about options are in the words of whoever gave them, and a failure's reason is its first and last line."""

import json
import pickle
import subprocess
import sys

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that
from apache_beam.yaml.yaml_transform import expand_pipeline

from beam_zerobus import AuthenticationError, ConfigurationError, OAuthClientCredentials, TransientError, ZerobusError
from beam_zerobus import yaml as beam_yaml
from beam_zerobus.emulator.faults import Faults, ScriptedFault
from beam_zerobus.errors import RowError
from beam_zerobus.options.wording import reason_in
from beam_zerobus.programs.command import arguments_of, parser_of, sink_of
from beam_zerobus.sink.failed_rows import bundle_error
from beam_zerobus.sink.flat_options import FLAT_NAMES, FLAT_OPTIONS, flat_sink, in_flags, in_yaml
from beam_zerobus.sink.pipeline_options import ZerobusOptions
from beam_zerobus.workspace.profile_flag import credentials_of


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


YAML = """
providers:
  - type: python
    config: {{}}
    transforms:
      WriteToZerobus: beam_zerobus.yaml.WriteToZerobus
pipeline:
  type: chain
  transforms:
    - type: Create
      config: {{elements: [{{id: 1, colour: red}}]}}
    - type: WriteToZerobus
      config: {config}
"""


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (
            {"schema": "id BIGINT, colour STRING", "endpoint": "http://127.0.0.1:9", "max_retries": 0},
            "or allow more with max_retries and max_backoff",
        ),
        ({"schema": "id BIGINT", "dry_run": True}, 'set on_unknown_fields: "ignore", "add" or "rescue"'),
    ],
)
def test_what_fails_on_a_worker_names_the_keys_of_yaml(zerobus, config, says):
    pipeline = YAML.format(config=json.dumps({"table": "main.iot.air", **config}))
    with pytest.raises((RuntimeError, ZerobusError)) as raised, beam.Pipeline(runner=FnApiRunner()) as root:
        expand_pipeline(root, pipeline)
    assert says in str(raised.value)


@pytest.mark.parametrize("wording", [in_flags, in_yaml])
def test_a_wording_is_sent_to_workers(wording):
    message = "set on_unknown_fields=..., or allow more with Retry(max_retries=...)"
    assert pickle.loads(pickle.dumps(wording))(message) == wording(message) != message


def test_a_reworded_error_keeps_all_but_its_words():
    error = TransientError("main.a.b: down (schema=1): set schema=...", attempts=3, cause="UNAVAILABLE")
    error = error.quoting("schema=1").introduced_by("table main.a.b: ")
    reworded = pickle.loads(pickle.dumps(error.reworded(in_flags)))
    assert str(reworded) == "table main.a.b: main.a.b: down (schema=1): set --zerobus_schema=..."
    assert reworded.problem == "main.a.b: down (schema=1): set --zerobus_schema=..."
    assert (type(reworded), reworded.attempts, reworded.cause) == (TransientError, 3, "UNAVAILABLE")
    assert reworded.quoted == "schema=1"


@pytest.mark.parametrize("wording", [in_flags, in_yaml])
def test_what_the_service_says_of_rows_stays_as_it_is(wording):
    words = "Zerobus rejected the row: schema is outdated: set schema=v2; correct it"
    rows = [
        RowError(0, "rejected_by_service", words, "service"),
        RowError(1, "unknown_field", "set schema=...", "schema"),
    ]
    assert [reason_in(wording, row) for row in rows] == [words, wording("set schema=...")]
    error = bundle_error(rows, table="main.a.b", total_rows=2).reworded(wording)
    assert f"row 0: {words}; row 1: {wording('set schema=...')}" in str(error)


SAID = "schema is outdated: set schema=v2"


@pytest.mark.zerobus(tables={"main.iot.air": "id BIGINT"})
@pytest.mark.parametrize(
    ("options", "output", "field"),
    [
        ({}, None, None),
        ({"on_bad_rows": "dead_letter"}, "failed_rows", "message"),
        ({"error_handling": {"output": "errors"}}, "errors", "msg"),
    ],
    ids=["raise", "dead letters", "error handling"],
)
def test_what_the_service_says_stays_as_it_is_in_yaml(zerobus, options, output, field):
    fault = ScriptedFault("status", at_call=1, times=9, code="INVALID_ARGUMENT", message=SAID)
    zerobus.faults = Faults(script=(fault,))

    def check(messages):
        assert len(messages) == 1
        assert SAID in messages[0]

    pipeline = beam.Pipeline(runner=FnApiRunner())
    rows = pipeline | beam.Create([beam.Row(id=1)])
    outputs = rows | beam_yaml.WriteToZerobus("main.iot.air", **options)
    if output is None:
        with pytest.raises((RuntimeError, ZerobusError)) as raised:
            pipeline.run()
        check([str(raised.value)])
    else:
        assert_that(outputs[output] | beam.Map(lambda row: getattr(row, field)), check)
        pipeline.run().wait_until_finish()


def of_flags():
    return ZerobusOptions(["--zerobus_table=main.iot.air", "--zerobus_dry_run"]).sink()._config.credentials


def of_yaml():
    return beam_yaml.WriteToZerobus("main.iot.air", dry_run=True)._write._config.credentials


def of_program():
    _, options = arguments_of(parser_of("send", ""), ["--zerobus_table=main.iot.air", "--zerobus_dry_run"])
    return sink_of(options, dead_letters=None, profile=None)._config.credentials


@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (OAuthClientCredentials, "in the worker's environment, or pass credentials=OAuthClientCredentials(...)"),
        (of_flags, "or name other variables with --zerobus_client_id_env and --zerobus_client_secret_env"),
        (of_program, "with --zerobus_client_id_env and --zerobus_client_secret_env, or a profile with --profile"),
        (of_yaml, "or name other variables with client_id_env and client_secret_env"),
        (lambda: credentials_of(None), "in the environment, or name a profile with --profile"),
    ],
)
def test_missing_credentials_are_named_with_what_the_user_has(monkeypatch, make, remedy):
    monkeypatch.delenv("DATABRICKS_CLIENT_ID", raising=False)
    monkeypatch.delenv("DATABRICKS_TOKEN", raising=False)
    credentials = make()
    assert credentials == OAuthClientCredentials()
    for one in (credentials, pickle.loads(pickle.dumps(credentials))):  # a worker raises it
        with pytest.raises(AuthenticationError) as raised:
            one.principal()
        assert str(raised.value).startswith("No client_id: set DATABRICKS_CLIENT_ID in the ")
        assert str(raised.value).endswith(remedy)


def test_a_remedy_is_no_part_of_what_credentials_are():
    with_flags = of_flags()
    assert (with_flags, hash(with_flags), repr(with_flags)) == (
        OAuthClientCredentials(),
        hash(OAuthClientCredentials()),
        repr(OAuthClientCredentials()),
    )
    assert with_flags.identity() == OAuthClientCredentials().identity()
    assert type(with_flags) is OAuthClientCredentials


def test_credentials_in_a_pickle_of_an_older_version_have_a_remedy(monkeypatch):
    monkeypatch.delenv("DATABRICKS_CLIENT_ID", raising=False)
    older = object.__new__(OAuthClientCredentials)
    older.__setstate__([None, None])
    assert older == OAuthClientCredentials()
    with pytest.raises(AuthenticationError, match="or pass credentials=OAuthClientCredentials"):
        older.principal()

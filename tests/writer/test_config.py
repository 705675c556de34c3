import pickle

import pyarrow as pa
import pytest

from beam_zerobus import ConfigurationError, OAuthClientCredentials, Retry, StaticHeaders, Telemetry
from beam_zerobus.schema import TableSchema
from beam_zerobus.writer.config import make_config

GOOD = {
    "table": "main.iot.air_quality",
    "endpoint": "https://1234.zerobus.eu-west-1.cloud.databricks.com",
    "workspace_url": "https://dbc-1.cloud.databricks.com/",
    "credentials": OAuthClientCredentials(client_id="id", client_secret="s3cret"),
    "schema": "id BIGINT NOT NULL",
    "wire_format": "proto",
    "retry": Retry(),
    "on_unknown_fields": "reject",
    "streams_per_worker": 1,
    "debug_files": None,
    "telemetry": None,
    "dry_run": False,
}


def config(**changes):
    return make_config(**{**GOOD, **changes})


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch):
    for name in ("ZEROBUS_ENDPOINT", "DATABRICKS_HOST"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"table": "iot.air"}, "2 parts: write it as 'catalog.schema.table'"),
        ({"table": "a.b.c.d"}, "4 parts"),
        ({"table": "a.b."}, "table name ''"),
        ({"table": "a.b.c-d"}, "ASCII letters, digits and underscores"),
        ({"table": "a b.c.d"}, "ASCII letters, digits and underscores, or hyphens"),
        ({"table": "a.bü.c"}, "the schema name 'bü'"),
        ({"table": None}, "NoneType"),
        ({"endpoint": None}, "pass endpoint=... or set ZEROBUS_ENDPOINT"),
        ({"endpoint": "zerobus.example"}, "not an http"),
        ({"endpoint": "ftp://zerobus.example"}, "not an http"),
        ({"endpoint": "https://"}, "not an http"),
        ({"endpoint": "https://host:port"}, "is not a URL"),
        ({"endpoint": "https://host:99999"}, "is not a URL"),
        ({"endpoint": "https://u:p@host"}, "pass them as credentials"),
        ({"workspace_url": None}, "set DATABRICKS_HOST"),
        ({"wire_format": "avro"}, 'use "proto", "arrow" or "json"'),
        ({"arrow_compression": "gzip", "wire_format": "arrow"}, 'use "none", "lz4" or "zstd"'),
        ({"arrow_compression": "lz4"}, 'needs wire_format="arrow"'),
        ({"streams_per_worker": 0}, "from 1 to 64"),
        ({"streams_per_worker": True}, "from 1 to 64"),
        ({"retry": 5}, "retry=5: give beam_zerobus.Retry"),
        ({"debug_files": "/tmp/x"}, "beam_zerobus.DebugFiles"),
        ({"credentials": "token"}, "OAuthClientCredentials, DatabricksProfile, FederatedToken or StaticHeaders"),
        ({"schema": 7}, "give a pyarrow.Schema, a DDL string"),
        ({"schema": "unity-catalog"}, "schema='unity-catalog': write it as \"unity_catalog\""),
        ({"dry_run": True, "schema": "unity_catalog", "workspace_url": None}, "set DATABRICKS_HOST"),
        ({"assume_timezone": "CEST"}, 'use a name such as "UTC" or "Europe/Berlin"'),
        ({"epoch_unit": "seconds"}, 'use "s", "ms" or "us"'),
    ],
)
def test_a_wrong_setting_is_rejected_with_the_remedy(wrong, says):
    with pytest.raises(ConfigurationError) as raised:
        config(**wrong)
    assert says in str(raised.value)
    assert "p@" not in str(raised.value)


@pytest.mark.parametrize("ddl", ["elements INT", "element STRING", "unity_catalog STRING"])
def test_columns_may_have_the_names_of_sources(ddl):
    assert config(schema=ddl).schema.to_ddl() == ddl


def test_addresses_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("ZEROBUS_ENDPOINT", "http://localhost:1/")
    monkeypatch.setenv("DATABRICKS_HOST", "http://localhost:2/")
    made = config(endpoint=None, workspace_url=None)
    assert (made.endpoint, made.workspace_url) == ("http://localhost:1", "http://localhost:2")


def test_static_headers_need_no_workspace_and_a_dry_run_nothing_at_all():
    assert (
        config(workspace_url=None, credentials=StaticHeaders(headers={"Authorization": "Bearer x"})).workspace_url
        is None
    )
    assert config(endpoint=None, workspace_url=None, credentials=None, dry_run=True).endpoint is None


@pytest.mark.parametrize("schema", [pa.schema([pa.field("id", pa.int64(), nullable=False)]), "id BIGINT NOT NULL"])
def test_every_schema_source_becomes_a_table_schema(schema):
    assert config(schema=schema).schema == TableSchema.from_ddl("id BIGINT NOT NULL")


def test_equal_settings_share_a_key_across_processes_and_other_settings_do_not():
    assert config().key == config().key == pickle.loads(pickle.dumps(config())).key
    others = [
        config(table="main.iot.other"),
        config(wire_format="json"),
        config(credentials=OAuthClientCredentials(client_id="id", client_secret="other")),
        config(telemetry=Telemetry(endpoint="http://localhost:1", headers={"api-key": "one"})),
        config(telemetry=Telemetry(endpoint="http://localhost:1", headers={"api-key": "two"})),
    ]
    assert len({config().key, *(other.key for other in others)}) == 6


def test_a_configuration_with_a_callable_equals_only_its_copies():
    made = [config(credentials=OAuthClientCredentials(client_id=str, client_secret=str)) for _ in range(2)]
    assert made[0].key != made[1].key
    assert pickle.loads(pickle.dumps(made[0])).key == made[0].key


def test_neither_repr_nor_key_holds_the_secret():
    assert "s3cret" not in repr(config()) + config().key


def test_secrets_that_the_worker_reads_are_not_in_the_pickle(monkeypatch):
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", "s3cret-of-the-environment")
    assert b"s3cret-of" not in pickle.dumps(config(credentials=None))

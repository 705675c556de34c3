"""Settings: from file, environment and flags, checked as a whole."""

import sys

import pytest
import requests

from beam_zerobus import ConfigurationError, DatabricksProfile, OAuthClientCredentials, Retry
from beam_zerobus.gateway import Gateway, GatewaySettings, loading
from beam_zerobus.gateway.command import run
from beam_zerobus.gateway.loading import load_settings
from beam_zerobus.workspace.secret import Secret

DRY = {"dry_run": True, "schema": None}


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.setenv("ZEROBUS_ENDPOINT", "http://localhost:1")
    monkeypatch.setenv("DATABRICKS_HOST", "http://localhost:2")
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", "id")
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", "s3cret")
    monkeypatch.setenv("ID", "id")
    monkeypatch.setenv("SECRET", "s3cret")
    config = tmp_path / ".databrickscfg"
    config.write_text("[ingest]\nhost = http://localhost:2\n[prod]\nhost = http://localhost:2\n")
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(config))

    def load(text="", environment=None, **flags):
        file = tmp_path / "gateway.toml"
        file.write_text(text, "utf-8")
        return load_settings(str(file), environment or {}, flags)

    return load


def test_flags_before_environment_before_file(load):
    text = "[gateway]\nport = 1\nmax_calls = 2\nstop_timeout = 3"
    settings = load(text, {"ZEROBUS_GATEWAY_PORT": "4", "ZEROBUS_GATEWAY_MAX_CALLS": "5"}, port=6)
    assert (settings.port, settings.max_calls, settings.stop_timeout) == (6, 5, 3)


def test_options_of_tables_count_more_than_defaults(load):
    settings = load(
        """
        [defaults]
        wire_format = "arrow"
        retry = { max_retries = 9 }
        [tables."main.iot.air"]
        wire_format = "json"
        """
    )
    assert settings.writer_config("main.iot.air").wire_format == "json"
    assert settings.writer_config("main.iot.other").wire_format == "arrow"
    assert settings.writer_config("main.iot.air").retry == Retry(max_retries=9)
    assert settings.writer_config("main.iot.air").schema == "unity_catalog"


def test_every_fault_is_reported_at_once(load):
    text = """
        [gateway]
        prot = 1
        port = 70000
        [defaults]
        wire_fromat = "arrow"
        retry = { max_retries = -1 }
        [tables.air]
        [tables."main.iot.air"]
        wire_format = "avro"
        [others]
        """
    with pytest.raises(ConfigurationError) as raised:
        load(text, {"ZEROBUS_GATEWAY_MAX_CALLS": "many"}, host="0.0.0.0")
    for words in (
        "has no option 'others'",
        "[gateway] has no option 'prot': did you mean 'port'?",
        "port=70000: set a whole number from 0 to 65535",
        "$ZEROBUS_GATEWAY_MAX_CALLS: write a number",
        "[defaults] has no option 'wire_fromat': did you mean 'wire_format'?",
        "[defaults] retry.max_retries=-1: set a whole number of at least 0",
        "tables has 'air': write the whole name in quotes",
        "table main.iot.air: wire_format='avro'",
        "host='0.0.0.0' is not loopback: it needs tls_certificate and tls_key, and a token or tls_client_ca",
    ):
        assert words in str(raised.value), words
    assert len(str(raised.value).splitlines()) == 10


def test_a_file_that_is_not_toml(load):
    with pytest.raises(ConfigurationError, match=r"gateway\.toml cannot be read as TOML"):
        load("port")


def test_only_listed_tables():
    settings = GatewaySettings(defaults=DRY, tables={"main.iot.air": {}}, only_listed_tables=True)
    assert settings.writer_config("main.iot.air").table == "main.iot.air"
    with pytest.raises(ConfigurationError, match="does not write to table main.iot.other: list it"):
        settings.writer_config("main.iot.other")


def test_a_token_that_is_not_there(tmp_path):
    with pytest.raises(ConfigurationError, match="names the variable MY_TOKEN, which is not set"):
        load_settings(None, {}, {}, token_env="MY_TOKEN")


def test_the_token_is_a_secret(load):
    settings = load(environment={"ZEROBUS_GATEWAY_TOKEN": "canary"})
    assert settings.token == Secret("canary")
    assert "canary" not in repr(settings)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tls_certificate": "x.pem"}, "tls_certificate and tls_key belong together"),
        ({"tls_certificate": "x.pem", "tls_key": "x.key"}, "tls_certificate='x.pem' is not a file"),
        ({"tls_client_ca": "x.pem"}, "tls_client_ca needs tls_certificate"),
        ({"token": " "}, "token begins or ends with a blank"),
        ({"host": "10.0.0.1", "token": "x"}, "host='10.0.0.1' is not loopback: it needs tls_certificate"),
    ],
)
def test_unsafe_settings(given, words):
    with pytest.raises(ConfigurationError, match=words):
        GatewaySettings(**given, defaults=DRY)


@pytest.mark.parametrize("name", ["port", "health_port"])
def test_a_port_that_is_taken(name):
    why = "" if sys.platform == "win32" else "in use"  # Windows calls it a matter of access
    free = {"port": 0, "health_port": 0}
    with Gateway(GatewaySettings(**free, defaults=DRY)) as first:
        taken = first.health_port if name == "health_port" else int(first.location.rsplit(":", 1)[1])
        with pytest.raises(
            ConfigurationError, match=f"^{name}={taken} cannot be used on .*: .*{why}; choose another port$"
        ):
            Gateway(GatewaySettings(**{**free, name: taken}, defaults=DRY))


def test_ipv6():
    with Gateway(GatewaySettings(host="::1", port=0, health_port=0, defaults=DRY)) as gateway:
        assert gateway.location.startswith("grpc://[::1]:")
        health = requests.get(f"http://[::1]:{gateway.health_port}/health", timeout=20)
        assert health.json()["status"] == "serving"


def test_one_fault_is_introduced_once(load):
    with pytest.raises(ConfigurationError, match=r"^idle_timeout=0\.0: set seconds above 0"):
        load(idle_timeout=0.0)


def test_a_profile_signs_in(load, tmp_path):
    settings = load(
        """
        [defaults.credentials]
        profile = "ingest"
        [tables."main.iot.air"]
        credentials = { client_id_env = "ID", client_secret_env = "SECRET" }
        """
    )
    assert settings.writer_config("main.iot.other").credentials == DatabricksProfile(profile="ingest")
    assert isinstance(settings.writer_config("main.iot.air").credentials, OAuthClientCredentials)
    settings = load_settings(str(tmp_path / "gateway.toml"), {}, {}, profile="prod")
    assert settings.writer_config("main.iot.other").credentials == DatabricksProfile(profile="prod")
    for wrong in ('{ profile = "a", client_id_env = "ID" }', '{ client_id_env = "ID" }', "{}"):
        with pytest.raises(ConfigurationError, match="give client_id_env and client_secret_env, or profile alone"):
            load(f"[defaults]\ncredentials = {wrong}")


@pytest.fixture
def empty_environment(monkeypatch):
    for name in ("ZEROBUS_ENDPOINT", "DATABRICKS_HOST", "DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("empty_environment")
def test_all_that_is_missing_is_reported_at_the_start(capsys):
    assert run(["--port", "70000"]) == 2
    said = capsys.readouterr().err
    for words in (
        "5 of the gateway's settings are wrong:",
        "- port=70000: ",
        "- defaults: endpoint is not set: ",
        "- defaults: workspace_url is not set: ",
        "- defaults: No client_id: set DATABRICKS_CLIENT_ID in the gateway's environment, or name other variables",
        "- defaults: No client_secret: set DATABRICKS_CLIENT_SECRET in the gateway's environment, or name other",
    ):
        assert words in said, words
    assert len(said.splitlines()) == 6


@pytest.mark.usefixtures("empty_environment")
@pytest.mark.parametrize(
    ("credentials", "fault"),
    [
        (
            '{ client_id_env = "NO_ID", client_secret_env = "SECRET" }',
            "variable NO_ID is not set where the rows are sent",
        ),
        ('{ profile = "dev" }', "The profile 'dev' is not in "),
        ('{ client_id_env = "DAPI", client_secret_env = "DAPI" }', "client_secret is a personal access token"),
        ('{ client_id_env = "COLON", client_secret_env = "SECRET" }', "client_id holds a colon"),
    ],
)
def test_credentials_that_are_not_there_are_reported_at_the_start(load, monkeypatch, credentials, fault):
    monkeypatch.setenv("DAPI", "dapi123")
    monkeypatch.setenv("COLON", "id:s3cret")
    with pytest.raises(ConfigurationError, match="defaults: ") as raised:
        load(f"[defaults]\ncredentials = {credentials}")
    assert fault in str(raised.value)
    assert len(raised.value.faults) == 1


def test_a_file_of_profiles_that_cannot_be_read_is_not_quoted(load, tmp_path):
    (tmp_path / ".databrickscfg").write_text("[ingest\nclient_secret = s3cret")
    with pytest.raises(
        ConfigurationError, match=r"databrickscfg cannot be read \(MissingSectionHeaderError\)"
    ) as raised:
        load('[defaults]\ncredentials = { profile = "ingest" }')
    assert "s3cret" not in str(raised.value)


@pytest.mark.usefixtures("empty_environment")
def test_a_dry_run_needs_no_credentials():
    with Gateway(GatewaySettings(port=0, defaults=DRY)) as gateway:
        assert gateway.location


@pytest.mark.usefixtures("empty_environment")
def test_only_what_listed_tables_use_has_to_be_there():
    tables = {"main.iot.air": DRY, "main.iot.co2": DRY}
    assert GatewaySettings(tables=tables, only_listed_tables=True).writer_config("main.iot.air").dry_run
    with pytest.raises(ConfigurationError, match="defaults: endpoint is not set") as raised:
        GatewaySettings(tables=tables)
    assert "table main" not in str(raised.value)
    with pytest.raises(ConfigurationError, match="defaults: endpoint is not set") as raised:
        GatewaySettings(tables={**tables, "main.iot.no2": {}}, only_listed_tables=True)
    assert "table main" not in str(raised.value)


def test_every_fault_of_a_table_is_reported():
    with pytest.raises(ConfigurationError) as raised:
        GatewaySettings(defaults={**DRY, "wire_format": "avro", "streams_per_worker": 0})
    assert [fault.partition("=")[0] for fault in raised.value.faults] == [
        "defaults: wire_format",
        "defaults: streams_per_worker",
    ]


@pytest.mark.usefixtures("empty_environment")
def test_a_wrong_option_does_not_hide_what_is_missing():
    with pytest.raises(ConfigurationError) as raised:
        GatewaySettings(defaults={"wire_format": "avro"})
    assert len(raised.value.faults) == 5
    with pytest.raises(ConfigurationError) as raised:
        GatewaySettings(defaults={"arrow_compression": "lz4"})
    assert "arrow_compression" in raised.value.faults[0]
    assert [fault.partition(": set")[0] for fault in raised.value.faults[1:]] == [
        "defaults: No client_id",
        "defaults: No client_secret",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[defaults]\nretry = { max_retires = 1 }", "[defaults] retry has no option 'max_retires': did you mean"),
        ("[defaults]\ndebug_files = { arrow = true }", "[defaults] debug_files needs output_dir: add it"),
        ("[defaults]\ncredentials = { client_id = 'x' }", "[defaults] credentials has no option 'client_id': did you"),
    ],
)
def test_faults_of_nested_options_are_in_the_words_of_the_file(load, text, fault):
    with pytest.raises(ConfigurationError) as raised:
        load(text)
    assert fault in str(raised.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[gateway]\ntoken = 's3cret'", "[gateway] holds no secret: leave 'token' out, and set the variable"),
        ("[gateway]\nhost = ''", "host (of type str): give text that is not empty"),
        ("[gateway]\nonly_listed_tables = true", "only_listed_tables is set, and no table is listed"),
        ("[gateway]\ndead_letters = 's3://bucket/x'", "dead_letters='s3://bucket/x' is not a local directory"),
        ("[tables.main.iot.air]", """tables has 'main': write the whole name in quotes, such as [tables."main.iot"""),
        ("[tables]\nair = 5", "tables has 'air': write the whole name in quotes"),
        ('[tables."main.iot.air"]\n[tables."main.iot.AIR"]', "table main.iot.AIR is listed twice, as main.iot.air is"),
        ("[defaults]\nretry = 5", "[defaults] retry is not a table of TOML: write retry = { max_retries = ... }"),
        (
            "[defaults]\ncredentials = 's3cret'",
            "credentials is not a table of TOML: write credentials = { client_id_env",
        ),
        ("[defaults]\ncredentials = { profile = 5 }", "[defaults] credentials: profile is not text: give a name"),
    ],
)
def test_what_a_file_gets_wrong_has_its_remedy(load, text, fault):
    with pytest.raises(ConfigurationError) as raised:
        load(text)
    [found] = raised.value.faults
    assert fault in found
    assert "s3cret" not in found


def test_a_file_with_a_byte_order_mark(load):
    assert load("\ufeff[gateway]\nport = 5").port == 5


def test_a_variable_of_a_kubernetes_service_is_named(load):
    with pytest.raises(ConfigurationError, match=r"\$ZEROBUS_GATEWAY_PORT: .*enableServiceLinks: false"):
        load(environment={"ZEROBUS_GATEWAY_PORT": "tcp://10.96.0.11:8815"})


def test_a_misspelled_variable_is_logged_and_those_of_others_are_not(load, caplog):
    others = {"SERVICE_HOST": "10.96.0.11", "PORT_8815_TCP": "tcp://10.96.0.11:8815", "URL": "grpc://10.96.0.11:8815"}
    names = {"PROT": "5", **others}
    load(environment={f"ZEROBUS_GATEWAY_{name}": value for name, value in names.items()})
    [record] = [record for record in caplog.records if record.name == loading.__name__]
    assert record.getMessage() == "The variable ZEROBUS_GATEWAY_PROT is not used: did you mean ZEROBUS_GATEWAY_PORT?"


@pytest.mark.parametrize(
    ("token", "fault"),
    [("", "token is empty"), ("a\nb", "token holds a line break"), (" a", "token begins or ends with a blank")],
)
def test_a_token_that_no_client_can_send(load, token, fault):
    with pytest.raises(ConfigurationError, match=fault):
        load(environment={"ZEROBUS_GATEWAY_TOKEN": token})


def test_a_line_break_at_the_end_of_the_token_is_ignored(load):
    assert load(environment={"ZEROBUS_GATEWAY_TOKEN": "canary\n"}).token == Secret("canary")


def test_a_table_is_the_same_in_any_case():
    settings = GatewaySettings(defaults=DRY, tables={"main.iot.Air": {"wire_format": "arrow"}}, only_listed_tables=True)
    config = settings.writer_config("MAIN.iot.air")
    assert (config.table, config.wire_format) == ("main.iot.Air", "arrow")


def test_a_directory_with_a_nul_character_is_a_fault_of_the_settings():
    settings = GatewaySettings(port=0, dead_letters="a\0b", defaults={"dry_run": True, "schema": None})
    with pytest.raises(ConfigurationError, match="dead_letters=.* cannot be written: .*; name a directory"):
        Gateway(settings)


@pytest.mark.parametrize("given", [{"tables": {5: {}}}, {"tables": {"a.b.c": 5}}, {"tables": [1]}, {"defaults": 5}])
def test_options_that_are_not_a_dict_are_a_fault_of_the_settings(given):
    with pytest.raises(ConfigurationError, match="^(tables|defaults) .*: give a dict "):
        GatewaySettings(**{"defaults": {"dry_run": True, "schema": None}, **given})

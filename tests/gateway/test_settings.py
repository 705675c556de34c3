"""Settings: from file, environment and flags, checked as a whole."""

import pytest
import requests

from beam_zerobus import ConfigurationError, Retry
from beam_zerobus.gateway import Gateway, GatewaySettings
from beam_zerobus.gateway.loading import load_settings
from beam_zerobus.workspace.secret import Secret

DRY = {"dry_run": True, "schema": None}


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.setenv("ZEROBUS_ENDPOINT", "http://localhost:1")
    monkeypatch.setenv("DATABRICKS_HOST", "http://localhost:2")

    def load(text="", environment=None, **flags):
        file = tmp_path / "gateway.toml"
        file.write_text(text)
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
        "[defaults] retry: Retry.max_retries=-1",
        "table='air' has 1 part",
        "table main.iot.air: wire_format='avro'",
        "host='0.0.0.0' is not loopback: it needs tls_certificate and tls_key",
        "host='0.0.0.0' is not loopback: it needs a token, or tls_client_ca",
    ):
        assert words in str(raised.value), words
    assert len(str(raised.value).splitlines()) == 11


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
        ({"token": " "}, "token is empty"),
        ({"host": "10.0.0.1", "token": "x"}, "host='10.0.0.1' is not loopback: it needs tls_certificate"),
    ],
)
def test_unsafe_settings(given, words):
    with pytest.raises(ConfigurationError, match=words):
        GatewaySettings(**given, defaults=DRY)


@pytest.mark.parametrize("name", ["port", "health_port"])
def test_a_port_that_is_taken(name):
    free = {"port": 0, "health_port": 0}
    with Gateway(GatewaySettings(**free, defaults=DRY)) as first:
        taken = first.health_port if name == "health_port" else int(first.location.rsplit(":", 1)[1])
        with pytest.raises(ConfigurationError, match=f"cannot listen on .*{name}.*: .*choose another"):
            Gateway(GatewaySettings(**{**free, name: taken}, defaults=DRY))


def test_ipv6():
    with Gateway(GatewaySettings(host="::1", port=0, health_port=0, defaults=DRY)) as gateway:
        assert gateway.location.startswith("grpc://[::1]:")
        health = requests.get(f"http://[::1]:{gateway.health_port}/health", timeout=5)
        assert health.json()["status"] == "serving"

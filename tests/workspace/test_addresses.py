"""Wrong addresses and tokens are recognized before, or at, the first call, each with the sentence that helps."""

import pytest

from beam_zerobus import AuthenticationError, ConfigurationError, OAuthClientCredentials, Retry, TransientError
from beam_zerobus.workspace.addresses import check_addresses
from beam_zerobus.writer.config import make_config

AWS = ("https://1234567890.zerobus.us-west-2.cloud.databricks.com", "https://dbc-a1b2-c3d4.cloud.databricks.com")
AZURE = ("https://1234567890.zerobus.westeurope.azuredatabricks.net", "https://adb-1234567890.12.azuredatabricks.net")
GCP = ("https://1234567890.zerobus.us-central1.gcp.databricks.com", "https://1234567890.1.gcp.databricks.com")


@pytest.mark.parametrize(
    ("endpoint", "workspace"),
    [
        AWS,
        AZURE,
        GCP,
        ("http://localhost:7000", "http://localhost:7001"),
        ("https://zerobus.corp", "https://databricks.corp/prefix"),
        ("https://proxy.zerobus.corp:8443", "https://10.0.0.1"),
        (None, None),
        (AWS[0], "https://mycompany.cloud.databricks.com/"),
    ],
)
def test_right_addresses_pass(endpoint, workspace):
    check_addresses(endpoint, workspace)


@pytest.mark.parametrize(("endpoint", "workspace"), [AWS, AZURE, GCP])
def test_the_one_in_place_of_the_other(endpoint, workspace):
    with pytest.raises(ConfigurationError, match="endpoint and workspace_url are swapped"):
        check_addresses(workspace, endpoint)
    with pytest.raises(ConfigurationError, match=r"endpoint looks like the workspace.* has \.zerobus\. in it, such as"):
        check_addresses(workspace, workspace)
    with pytest.raises(ConfigurationError, match="workspace_url looks like the Zerobus endpoint: .* in the browser"):
        check_addresses(endpoint, endpoint)


@pytest.mark.parametrize(
    "host",
    [
        "1.zerobus",
        "1.zerobus.us-west-2",
        "1.zerobus.us-west-2.cloud",
        "1.zerobus.us-west-2.cloud.databricks",
        "1.zerobus.eu-west-1.azuredatabricks",
        "1.zerobus.us-central1.gcp.databricks",
    ],
)
def test_an_endpoint_that_is_cut_off(host):
    with pytest.raises(ConfigurationError, match="endpoint is cut off: write the whole host, such as https://<work"):
        check_addresses(f"https://{host}", AWS[1])
    with pytest.raises(ConfigurationError, match="workspace_url looks like the Zerobus endpoint"):
        check_addresses(AWS[0], f"https://{host}")


@pytest.mark.parametrize(
    "host", ["dbc-a1b2-c3d4", "dbc-a1b2-c3d4.cloud", "company.cloud.databricks", "adb-1", "adb-1.2", "1.1.gcp"]
)
def test_a_workspace_that_is_cut_off(host):
    with pytest.raises(ConfigurationError, match="workspace_url is cut off"):
        check_addresses(AWS[0], f"https://{host}")


@pytest.mark.parametrize(
    ("endpoint", "workspace", "says"),
    [
        (AWS[0].replace("https", "http"), AWS[1], "endpoint begins with http://: write https://"),
        (AWS[0], AWS[1].replace("https", "http"), "workspace_url begins with http://: write https://"),
        (AWS[0], f"{AWS[1]}/browse/folders/1", "workspace_url has a path: write the host only"),
        ("https://zerobus.us-west-2.cloud.databricks.com", AWS[1], "endpoint lacks the workspace's id"),
        (AWS[0], "https://accounts.cloud.databricks.com", "workspace_url is the account console"),
    ],
)
def test_other_mistakes(endpoint, workspace, says):
    with pytest.raises(ConfigurationError) as raised:
        make_config("main.iot.air", endpoint=endpoint, workspace_url=workspace)
    assert says in str(raised.value)


def test_an_address_of_the_browser_with_a_query():
    with pytest.raises(ConfigurationError, match="workspace_url has a query or fragment: write it as https://<works"):
        make_config("main.iot.air", endpoint=AWS[0], workspace_url=f"{AWS[1]}/?o=1234567890")


def no_retry(connect, **changes):
    return connect(retry=Retry(max_retries=0), **changes)


@pytest.fixture(autouse=True)
def table(emulator):
    emulator.create_table("main.iot.air", "id BIGINT")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda e: {"endpoint": e.endpoint.replace("http", "https")}, "does not speak TLS, so that its address begins"),
        (
            lambda e: {"workspace_url": e.workspace_url.replace("http", "https")},
            "local server without TLS begins with http://",
        ),
        (lambda e: {"endpoint": e.workspace_url}, "check that Zerobus answers at the endpoint, not the workspace"),
        (lambda _: {"endpoint": "https://nowhere.invalid"}, "the endpoint names a host that does not exist"),
        (
            lambda _: {"workspace_url": "https://nowhere.invalid"},
            "check the workspace's URL (workspace_url, or DATABRICKS_HOST), as its host cannot be found",
        ),
    ],
)
def test_what_the_first_call_finds(emulator, connect, change, says):
    with pytest.raises(TransientError) as raised:
        no_retry(connect, **change(emulator)).send([{"id": 1}])
    assert says in str(raised.value)


def test_a_personal_token_in_the_environment(monkeypatch, connect):
    for name in ("DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi0123")
    with pytest.raises(AuthenticationError, match=r"No client_id: .* \(DATABRICKS_TOKEN is set, but .* service princ"):
        connect(credentials=None).send([{"id": 1}])


def test_a_personal_token_as_the_secret(emulator, connect):
    credentials = OAuthClientCredentials(client_id=emulator.client_id, client_secret="dapi0123456789")
    with pytest.raises(AuthenticationError, match="client_secret is a personal access token") as raised:
        connect(credentials=credentials).send([{"id": 1}])
    assert "dapi" not in str(raised.value)


def test_a_secret_that_ends_in_a_newline(emulator, connect):
    credentials = OAuthClientCredentials(
        client_id=f"{emulator.client_id}\n", client_secret=f"{emulator.client_secret}\r\n"
    )
    assert connect(credentials=credentials).send([{"id": 1}]).success

"""Profiles of a real `.databrickscfg`: those that can write to Zerobus, and those that cannot."""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from beam_zerobus import AuthenticationError, ConfigurationError, DatabricksProfile, ZerobusError, ZerobusWriter
from beam_zerobus.cli import main
from beam_zerobus.emulator import Emulator

pytestmark = pytest.mark.hostile  # the import of databricks-sdk takes seconds

TABLE = "main.iot.air"
ROW = {"co2": 417}


@pytest.fixture
def profile(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., DatabricksProfile]:
    """Write a profile, the host among its lines; the environment has no other credentials."""
    emulator.create_table(TABLE, "co2 INT")
    for name in list(os.environ):
        if name.startswith(("DATABRICKS_", "ARM_", "GOOGLE_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    file = tmp_path / "databrickscfg"
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(file))
    monkeypatch.setenv("ZEROBUS_ENDPOINT", emulator.endpoint)

    def write(**fields: str) -> DatabricksProfile:
        lines = [f"{name} = {value}" for name, value in {"host": emulator.workspace_url, **fields}.items()]
        file.write_text("\n".join(["[DEFAULT]", "host = https://nowhere.invalid", "[ingest]", *lines]))
        return DatabricksProfile(profile="ingest")

    return write


def of_service_principal(emulator: Emulator) -> dict[str, str]:
    return {"client_id": emulator.client_id, "client_secret": emulator.client_secret}


def test_a_service_principal_writes_with_the_host_of_its_profile(emulator, profile):
    credentials = profile(**of_service_principal(emulator))
    with ZerobusWriter(TABLE, credentials=credentials) as writer:
        assert writer.send([ROW]).success
        report = writer.check()
    assert report.exit_code == 0, report.as_text()
    found = {finding.name: finding.status for finding in report.findings}
    assert found["profile"] == found["grant MODIFY"] == "pass"
    assert emulator.client_secret not in f"{credentials!r} {pickle.dumps(writer)!r}"
    assert pickle.loads(pickle.dumps(credentials)).identity() == credentials.identity()


def test_the_profile_that_the_environment_names(emulator, profile, monkeypatch):
    profile(**of_service_principal(emulator))
    monkeypatch.setenv("DATABRICKS_CONFIG_PROFILE", "ingest")
    with ZerobusWriter(TABLE, credentials=DatabricksProfile()) as writer:
        assert writer.send([ROW]).success


@pytest.mark.parametrize("variable", [True, False])
def test_a_host_with_a_password_is_rejected_before_databricks_sdk_logs_it(profile, monkeypatch, capfd, variable):
    host = "https://me:canary@localhost:1"
    credentials = profile(**({} if variable else {"host": host}), client_id="id", client_secret="secret")
    if variable:
        monkeypatch.setenv("DATABRICKS_HOST", host)
    with pytest.raises(ConfigurationError, match="has a host with a user name or password in it: write the host only"):
        credentials.workspace_url()
    assert "canary" not in "".join(capfd.readouterr())


def test_a_token_of_another_provider_is_exchanged(emulator, profile, tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.write_text("header.body.signature\n")
    monkeypatch.setenv("TOKEN_OF_CI", "header.body.signature")
    for fields in (
        {"auth_type": "file-oidc", "oidc_token_filepath": str(token)},
        {"auth_type": "env-oidc", "oidc_token_env": "TOKEN_OF_CI"},
    ):
        credentials = profile(client_id=emulator.client_id, **fields)
        with ZerobusWriter(TABLE, credentials=credentials) as writer:
            assert writer.send([ROW]).success
    token.unlink()
    with pytest.raises(AuthenticationError, match="token_supplier could not be read"):
        profile(auth_type="file-oidc", oidc_token_filepath=str(token)).request_headers(emulator.workspace_url, {})


class _Ci(BaseHTTPRequestHandler):
    """Supplies tokens to jobs, as GitHub does for GET and Azure DevOps for POST."""

    def do_GET(self) -> None:
        self._answer("value")

    def do_POST(self) -> None:
        self._answer("oidcToken")

    def _answer(self, name: str) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        content = json.dumps({name: "header.body.signature"}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def ci() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Ci) as server:
        server.asked = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_the_token_of_a_ci_job_is_exchanged(emulator, profile, ci, monkeypatch):
    url = f"http://127.0.0.1:{ci.server_port}/"
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{url}?a=b")
    monkeypatch.setenv("SYSTEM_TEAMFOUNDATIONCOLLECTIONURI", url)
    for name in ("ACCESSTOKEN", "TEAMPROJECTID", "PLANID", "JOBID", "HOSTTYPE"):
        monkeypatch.setenv(f"SYSTEM_{name}", "1")
    for fields in (
        {"auth_type": "github-oidc", "token_audience": "ours"},
        {"auth_type": "github-oidc"},
        {"auth_type": "azure-devops-oidc"},
    ):
        with ZerobusWriter(TABLE, credentials=profile(client_id=emulator.client_id, **fields)) as writer:
            assert writer.send([ROW]).success
    assert any(path.endswith("audience=ours") for path in ci.asked)
    assert any(path.endswith(f"audience={emulator.workspace_url}/oidc/v1/token") for path in ci.asked)
    assert any(path.startswith("/1/_apis/distributedtask") for path in ci.asked)


@pytest.mark.parametrize(
    ("method", "why"),
    [("github-oidc", "no token: run in a job"), ("azure-devops-oidc", "SYSTEM_ACCESSTOKEN env var not found")],
)
def test_outside_of_the_ci_there_is_no_token(emulator, profile, monkeypatch, method, why):
    for name in list(os.environ):
        if name.startswith(("ACTIONS_", "SYSTEM_")):
            monkeypatch.delenv(name)
    writer = ZerobusWriter(TABLE, credentials=profile(client_id=emulator.client_id, auth_type=method))
    with pytest.raises(AuthenticationError, match=f"{method} supplies .*{why}"):
        writer.send([ROW])
    with pytest.raises(AuthenticationError, match=f"signs in with {method} and has no client_id"):
        profile(auth_type=method).principal()


def test_an_sdk_that_does_not_know_the_ci_is_named(emulator, profile, monkeypatch):
    monkeypatch.delattr("databricks.sdk.oidc_token_supplier.AzureDevOpsOIDCTokenSupplier")  # as in databricks-sdk 0.60
    credentials = profile(client_id=emulator.client_id, auth_type="azure-devops-oidc")
    with pytest.raises(AuthenticationError, match="azure-devops-oidc needs a newer databricks-sdk: pip install -U"):
        credentials.request_headers(emulator.workspace_url, {})


@pytest.mark.parametrize("given", ["config_file", "DATABRICKS_CONFIG_FILE"])
def test_a_file_that_is_missing_is_named_with_what_names_another(given, monkeypatch, tmp_path):
    missing = str(tmp_path / "none")
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", missing)
    credentials = DatabricksProfile(profile="ingest", config_file=missing if given == "config_file" else None)
    with pytest.raises(ConfigurationError, match=f"no file {missing}: create it, or name it with {given}$"):
        credentials.principal()


def test_the_programs_sign_in_with_a_profile(emulator, profile, tmp_path, capsys):
    profile(**of_service_principal(emulator))
    (tmp_path / "in.jsonl").write_text('{"co2": 417}\n{"co2": "much"}\n')
    flags = ["--zerobus_table", TABLE, "--profile", "ingest"]
    letters = str(tmp_path / "dead")
    assert main(["send", "--input", str(tmp_path / "in.jsonl"), "--dead_letters", letters, *flags]) == 0
    assert emulator.table(TABLE).count_rows() == 1
    assert main(["replay", "--input", letters, *flags]) == 1
    assert "rejected for table" in capsys.readouterr().out


CANNOT = {
    "a personal access token": ({"token": "canary"}, "signs in with a personal access token"),
    "a password": ({"username": "me", "password": "canary"}, "signs in with a user name and password"),
    "Azure": (
        {"azure_client_id": "1", "azure_client_secret": "canary", "azure_tenant_id": "2"},
        "signs in with a secret of Microsoft Entra",
    ),
    "Azure's command line": ({"auth_type": "azure-cli"}, "signs in with Azure's command line"),
    "Google": ({"google_credentials": "canary"}, "signs in with a Google service account"),
    "a person": ({"auth_type": "databricks-cli"}, "signs in with a person's login"),
    "a method of later": ({"auth_type": "telepathy"}, "signs in with telepathy"),
    "nothing": ({}, "has no client_id and client_secret"),
    "no secret": ({"client_id": "1"}, "has no client_id and client_secret"),
}


@pytest.mark.parametrize("name", CANNOT)
def test_a_method_that_zerobus_takes_no_token_of(profile, name):
    fields, words = CANNOT[name]
    writer = ZerobusWriter(TABLE, credentials=profile(**fields), schema="co2 INT")
    with pytest.raises(AuthenticationError, match="the profile 'ingest' ") as raised:
        writer.send([ROW])
    [failed] = [finding for finding in writer.check().findings if finding.status == "fail"]
    for text in (str(raised.value), failed.message):
        assert words in text
        assert "put client_id and client_secret of a service principal into the profile" in text
        assert "canary" not in text
    assert failed.name == "profile"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[another]\nhost = http://localhost", "has no ingest profile configured; correct the profile"),
        ("client_secret = canary", r"cannot be read \(MissingSectionHeaderError\)"),
        ("[ingest]\ntoken = canary\nclient_id = 1\nclient_secret = canary", "more than one authorization method"),
        ("[ingest]\nrate_limit = canary", "cannot be used: invalid literal"),
        ("[ingest]\nhost = https://me:canary", "cannot be used: Port could not be cast"),
        ("", "profile"),
    ],
)
def test_a_file_that_cannot_be_used(emulator, profile, content, message):
    credentials = profile()
    Path(os.environ["DATABRICKS_CONFIG_FILE"]).write_text(content)
    with pytest.raises(ZerobusError, match=message) as raised:
        credentials.request_headers(emulator.workspace_url, {"scope": "all-apis", "authorization_details": ""})
    assert "canary" not in str(raised.value)


def test_a_table_is_created_with_a_persons_token(emulator, profile, capsys):
    profile(token=emulator.issue_token(admin=True))
    arguments = ["--schema", "id INT", "--principal", emulator.client_id, "--warehouse-id", emulator.warehouse_id]
    assert main(["create-table", "main.iot.new", *arguments, "--profile", "ingest"]) == 0
    assert emulator.table("main.iot.new").schema.to_ddl() == "id INT"
    assert main(["check", "main.iot.new", "--profile", "ingest"]) == 2
    profile(**of_service_principal(emulator))
    assert main(["check", "main.iot.new", "--profile", "ingest"]) == 0, capsys.readouterr().out


def test_without_databricks_sdk(profile, monkeypatch):
    credentials = profile()
    monkeypatch.setitem(sys.modules, "databricks.sdk.core", None)
    with pytest.raises(ConfigurationError, match="databricks.sdk.core, which is missing: pip install databricks-sdk"):
        credentials.principal()

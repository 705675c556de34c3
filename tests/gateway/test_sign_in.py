"""Credentials that Databricks rejects, or cannot be asked about yet, are named before the first call."""

from __future__ import annotations

import socket

import pytest
import requests

from beam_zerobus import DatabricksProfile, OAuthClientCredentials
from beam_zerobus.gateway import sign_in
from tests.emulator.sdk import eventually


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(sign_in, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(sign_in, "_LONGEST_PAUSE", 0.05)


def health(gateway):
    return requests.get(f"http://127.0.0.1:{gateway.health_port}/health", timeout=20)


def test_rejected_credentials_are_in_health_and_log_until_they_are_corrected(start, emulator, caplog):
    secrets = ["wr0ng-s3cret"]
    credentials = OAuthClientCredentials(client_id=emulator.client_id, client_secret=lambda: secrets[-1])
    gateway = start(health_port=0, defaults={"credentials": credentials})
    eventually(lambda: health(gateway).json()["credentials"] == "rejected")
    assert health(gateway).status_code == 200  # other tables may have credentials of their own
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    [line] = [record.getMessage() for record in errors if record.name == sign_in.__name__]
    assert line.startswith("The credentials for all tables do not work, so calls fail; they are tried again: ")
    assert "check client id and secret" in line
    assert "wr0ng" not in caplog.text
    secrets.append(emulator.client_secret)
    eventually(lambda: health(gateway).json()["credentials"] == "accepted")


def test_a_gateway_starts_before_its_network_is_there(start, caplog):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there, and nobody else can
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        gateway = start(health_port=0, defaults={"workspace_url": url})
        eventually(lambda: "cannot be tried yet" in caplog.text)
        assert health(gateway).json() == {"status": "serving", "calls": 0, "credentials": "unknown"}


def test_each_credentials_are_tried_once(start, emulator, caplog):
    other = OAuthClientCredentials(client_id=emulator.client_id, client_secret="wr0ng-s3cret")
    tables = {"main.iot.air": {}, "main.iot.no2": {"credentials": other}, "main.iot.co2": {"credentials": other}}
    caplog.set_level("INFO")
    gateway = start(health_port=0, tables=tables)
    eventually(lambda: health(gateway).json()["credentials"] == "rejected")
    eventually(lambda: "The credentials for main.iot.no2, main.iot.co2 do not work" in caplog.text)
    eventually(lambda: "The credentials for main.iot.air, all other tables are accepted" in caplog.text)


def test_a_dry_run_tries_none(start, emulator):
    gateway = start(health_port=0, defaults={"dry_run": True, "schema": "id BIGINT"})
    assert health(gateway).json()["credentials"] == "accepted"
    assert emulator.stats.tokens_issued == 0


@pytest.mark.hostile  # the import of databricks-sdk takes seconds
def test_a_profile_that_zerobus_does_not_accept_is_rejected(start, emulator, tmp_path, caplog):
    file = tmp_path / ".databrickscfg"
    file.write_text(f"[me]\nhost = {emulator.workspace_url}\ntoken = dapi-canary\n")
    credentials = DatabricksProfile(profile="me", config_file=str(file))
    gateway = start(health_port=0, defaults={"credentials": credentials})
    eventually(lambda: health(gateway).json()["credentials"] == "rejected")
    assert "signs in with a personal access token, whose tokens Zerobus does not accept" in caplog.text
    assert "canary" not in caplog.text

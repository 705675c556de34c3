"""TLS on both ports, with the emulator's own authority: the official client, curl and requests as witnesses."""

import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from zerobus.sdk.sync import ZerobusException

from beam_zerobus import OAuthClientCredentials, ZerobusWriter
from beam_zerobus.emulator import Emulator, EmulatorProcess, Faults, ScriptedFault
from beam_zerobus.errors import ConfigurationError

from .sdk import FORMATS, Stream, eventually

TABLE = "main.iot.air"
DDL = "id BIGINT NOT NULL, name STRING"
FORM = {"grant_type": "client_credentials", "scope": "all-apis"}


@pytest.fixture
def secure() -> Iterator[Emulator]:
    with Emulator(memory=True, tls=True) as emulator:
        emulator.create_table(TABLE, DDL)
        yield emulator


@pytest.fixture
def trusted(secure: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    monkeypatch.setenv("SSL_CERT_FILE", str(secure.ca_file))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(secure.ca_file))
    return secure


@pytest.mark.parametrize("wire_format", FORMATS)
def test_the_official_client_writes(trusted: Emulator, wire_format: str) -> None:
    with Stream(trusted, TABLE, DDL, wire_format) as stream:
        stream.wait(stream.send([{"id": 1}]))
    assert trusted.table(TABLE).to_arrow()["id"].to_pylist() == [1]


def test_a_client_that_does_not_know_the_authority_is_not_served(secure: Emulator) -> None:
    with pytest.raises(ZerobusException):
        Stream(secure, TABLE, DDL)
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(secure.workspace_url, timeout=20)
    assert secure.stats.tokens_issued == 0


def test_our_writer_writes_and_reads_the_schema(trusted: Emulator) -> None:
    credentials = OAuthClientCredentials(client_id=trusted.client_id, client_secret=trusted.client_secret)
    addresses = {"endpoint": trusted.endpoint, "workspace_url": trusted.workspace_url}
    with ZerobusWriter(TABLE, credentials=credentials, schema="unity_catalog", **addresses) as writer:
        assert writer.send([{"id": 1, "name": "a"}]).successful_count == 1
    assert trusted.table(TABLE).count_rows() == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_curl_gets_a_token(secure: Emulator, host: str) -> None:
    url = secure.workspace_url.replace("127.0.0.1", host) + "/oidc/v1/token"
    form = "&".join(f"{name}={value}" for name, value in FORM.items())
    command = ["curl", "-sS", "--fail", "--noproxy", "*", "--cacert", str(secure.ca_file), "--data", form]
    command += ["--user", f"{secure.client_id}:{secure.client_secret}", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert "access_token" in done.stdout


def test_a_dropped_connection_is_dropped(trusted: Emulator) -> None:
    trusted.faults = Faults(script=(ScriptedFault("drop", at_call=1),))
    stream = Stream(trusted, TABLE, DDL)
    offset = stream.send([{"id": 1}])
    with pytest.raises(ZerobusException):
        stream.wait(offset)
    eventually(lambda: trusted.stats.streams[-1].end == "gone")
    assert trusted.table(TABLE).count_rows() == 0


def test_clients_that_say_nothing_or_no_tls_hold_up_no_other(secure: Emulator) -> None:
    port = int(secure.workspace_url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        plain.settimeout(10)
        with suppress(ConnectionError):
            assert plain.recv(1 << 16)[:5] != b"HTTP/"
        url = f"{secure.workspace_url}/nothing"
        assert requests.get(url, timeout=10, verify=str(secure.ca_file)).status_code == 404


def test_the_authority_outlives_a_restart_with_its_storage(tmp_path: Path) -> None:
    with Emulator(tmp_path, tls=True) as emulator:
        ca_file = emulator.ca_file
        first = ca_file.read_bytes()
        emulator.restart()
        assert ca_file.read_bytes() == first
    assert b"PRIVATE KEY" not in first
    assert stat.S_IMODE((ca_file.parent / "server.pem").stat().st_mode) == 0o600
    with Emulator(tmp_path, tls=True, tls_names=["zerobus.test"]) as emulator:
        second = ca_file.read_bytes()
        assert second != first, "the certificate lacked a name"
    for damaged in ("ca.pem", "server.pem"):
        (ca_file.parent / damaged).write_bytes(b"damaged")
        with Emulator(tmp_path, tls=True) as emulator:
            url = f"{emulator.workspace_url}/nothing"
            assert requests.get(url, timeout=10, verify=str(ca_file)).status_code == 404


def test_without_a_storage_directory_nothing_is_left() -> None:
    with Emulator(memory=True, tls=True) as emulator:
        assert emulator.storage_dir is None
        assert emulator.ca_file.exists()
    assert not emulator.ca_file.exists()
    assert Emulator(memory=True).ca_file is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_other_addresses_than_loopback_need_tls(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is not loopback.*tls=True, --tls"):
        Emulator(memory=True, host=host)


def test_every_address_with_tls_and_another_name() -> None:
    with Emulator(memory=True, host="0.0.0.0", tls=True, tls_names=["10.1.2.3", "zerobus.test"]) as emulator:
        port = emulator.workspace_url.rpartition(":")[2]
        command = ["curl", "-sS", "--noproxy", "*", "--cacert", str(emulator.ca_file)]
        command += ["--resolve", f"zerobus.test:{port}:127.0.0.1", f"https://zerobus.test:{port}/nothing"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert "ENDPOINT_NOT_FOUND" in done.stdout, done.stderr


@pytest.mark.parametrize("name", ["zerobüs", "a\n"])
def test_a_wrong_name_is_reported(name: str) -> None:
    with (
        pytest.raises(ConfigurationError, match="is not a host name"),
        Emulator(memory=True, tls=True, tls_names=[name]),
    ):
        pass


@pytest.mark.hostile
def test_a_process_of_its_own(tmp_path: Path) -> None:
    with EmulatorProcess(tmp_path, {TABLE: DDL}, tls=True) as process:
        answer = requests.get(f"{process.workspace_url}/health", timeout=10, verify=str(process.ca_file))
        assert answer.json() == {"status": "ok"}


@pytest.mark.zerobus(tables={TABLE: DDL}, tls=True, memory=True)
def test_the_fixture_sets_what_clients_trust(zerobus: Emulator) -> None:
    with ZerobusWriter(TABLE) as writer:
        writer.send([{"id": 1, "name": "a"}])
    assert zerobus.table(TABLE).count_rows() == 1

"""Who may call: without the token, or with a wrong one, or without a certificate, a call is rejected."""

from __future__ import annotations

import datetime as dt
import ipaddress
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pyarrow import flight

from tests.gateway.conftest import TABLE, batch, path, put


def bearer(token: str) -> Any:
    return flight.FlightCallOptions(headers=[(b"authorization", f"Bearer {token}".encode())])


@pytest.mark.parametrize("options", [None, bearer("wrong"), bearer(""), bearer("s3cret-token2")])
def test_a_call_without_the_right_token_is_rejected_and_logged(start, table, caplog, options):
    with flight.connect(start(token="s3cret-token").location) as client:
        with caplog.at_level(logging.WARNING), pytest.raises(flight.FlightUnauthenticatedError) as raised:
            put(client, [batch(1)], options=options)
        with pytest.raises(OSError, match="does not know this token"):  # pyarrow's client maps this call's status so
            client.get_schema(path(), options)
        with pytest.raises(flight.FlightUnauthenticatedError):
            list(client.do_action("health", options))
    assert table.count_rows() == 0
    assert "its token is" in caplog.text
    assert "s3cret-token" not in caplog.text + str(raised.value)


def test_the_right_token(start, table):
    with flight.connect(start(token="s3cret-token").location) as client:
        assert put(client, [batch(1)], options=bearer("s3cret-token"))[0]["success"]


@pytest.mark.parametrize(("name", "rows"), [("main.iot.missing", batch(1)), (TABLE, pa.record_batch({"nr": [1]}))])
def test_no_secret_is_in_the_traceback_that_pyarrow_adds(start, emulator, table, name, rows):
    with flight.connect(start(token="canary-token").location) as client, pytest.raises(pa.ArrowException) as raised:
        put(client, [rows], name, bearer("canary-token"))
    assert "canary-token" not in str(raised.value)
    assert emulator.client_secret not in str(raised.value)


class Authority:
    """Signs certificates for the tests."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
        own = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(True, None), critical=True)
        self.path = self._write("ca.pem", own.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key: Any) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )

    def _write(self, name: str, content: bytes) -> str:
        (self._directory / name).write_bytes(content)
        return str(self._directory / name)

    def issue(self, name: str) -> tuple[str, str]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = self._builder(subject, key).add_extension(names, critical=False).sign(self._key, hashes.SHA256())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return (
            self._write(f"{name}.pem", certificate.public_bytes(serialization.Encoding.PEM)),
            self._write(f"{name}.key", pem),
        )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_tls(start, table, authority, host):
    certificate, key = authority.issue("gateway")
    gateway = start(host=host, tls_certificate=certificate, tls_key=key, token="s3cret-token")
    location = gateway.location.replace("0.0.0.0", "127.0.0.1")
    roots = Path(authority.path).read_bytes()
    with flight.connect(location, tls_root_certs=roots) as client:
        assert put(client, [batch(1)], options=bearer("s3cret-token"))[0]["success"]
        with pytest.raises(flight.FlightUnauthenticatedError):
            put(client, [batch(2)])
    with flight.connect(location.replace("+tls", "")) as plain, pytest.raises(flight.FlightUnavailableError):
        put(plain, [batch(2)], options=bearer("s3cret-token"))
    assert table.to_arrow()["id"].to_pylist() == [1]


def test_mutual_tls(start, table, authority):
    certificate, key = authority.issue("gateway")
    gateway = start(tls_certificate=certificate, tls_key=key, tls_client_ca=authority.path)
    roots = Path(authority.path).read_bytes()
    chain, own = (Path(file).read_bytes() for file in authority.issue("client"))
    with flight.connect(gateway.location, tls_root_certs=roots, cert_chain=chain, private_key=own) as client:
        assert put(client, [batch(1)])[0]["success"]
    with (
        flight.connect(gateway.location, tls_root_certs=roots) as nobody,
        pytest.raises(flight.FlightUnavailableError),
    ):
        put(nobody, [batch(2)])
    assert table.to_arrow()["id"].to_pylist() == [1]

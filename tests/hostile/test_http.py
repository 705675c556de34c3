"""The other side of a request misbehaves: the request ends within its limits, and sends what it should."""

from __future__ import annotations

import gzip
import itertools
import ssl
import threading
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from beam_zerobus import (
    ConfigurationError,
    TransientError,
)
from beam_zerobus.workspace import http
from tests.emulator.sdk import eventually
from tests.hostile.http_server import dripped, whole
from tests.hostile.workspace_calls import (
    COLUMNS,
    HEAD,
    TOKEN,
    both,
    endless,
    exchange_token,
    fetch_schema,
    fetch_token,
)

pytestmark = pytest.mark.hostile


DRIPS = {
    "nothing at all": (b"", endless(b"")),
    "the status line": (b"HTTP/1.1 2", endless(b"0")),
    "a header": (HEAD + b"X-Long: ", endless(b"x")),
    "many headers": (HEAD, lambda: (b"X-%d: 1\r\n" % n for n in itertools.count())),
    "100 Continue": (b"", endless(b"HTTP/1.1 100 Continue\r\n\r\n")),
    "a body with a length": (HEAD + b"Content-Length: 100000\r\n\r\n", endless(b" ")),
    "a body in chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", endless(b"1\r\n \r\n")),
    "a body until the connection ends": (b"HTTP/1.0 200 OK\r\n\r\n", endless(b" ")),
    "a redirect's body": (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 100000\r\n\r\n", endless(b" ")),
}


@both
@pytest.mark.parametrize("drip", DRIPS)
def test_an_answer_that_drips_ends_at_the_limit(fetch, drip, serve, short_limit):
    at_once, pieces = DRIPS[drip]
    server = serve(dripped(at_once, pieces, lambda: server))
    with pytest.raises(TransientError, match=r"could not be reached \((no answer within 0.5 s|ReadTimeout)") as raised:
        fetch(server.url)
    assert raised.value.cause.endswith("_UNREACHABLE")
    eventually(lambda: server.requests)  # on a busy machine the server may read the request later
    assert len(server.requests) == 1
    assert_no_thread_is_left()


@both
def test_a_tls_handshake_that_drips_ends_at_the_limit(fetch, serve, short_limit):
    server = serve(dripped(b"\x16\x03\x03\x3f\xff", endless(b"\x00"), lambda: server))
    with pytest.raises(TransientError, match="no answer within 0.5 s|Timeout"):
        fetch(server.url.replace("http:", "https:"))
    assert_no_thread_is_left()


@pytest.fixture
def tls(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for loopback, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")]), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    bundle, both_parts = tmp_path / "bundle.pem", tmp_path / "server.pem"
    encoding = serialization.Encoding.PEM
    bundle.write_bytes(certificate.public_bytes(encoding))
    both_parts.write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + bundle.read_bytes()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both_parts)
    return bundle, context


@both
def test_a_ca_bundle_of_the_environment_is_used(fetch, serve, tls, monkeypatch):
    bundle, context = tls
    server = serve(whole(200, {**TOKEN, **COLUMNS}), context)
    with pytest.raises(
        TransientError,
        match=r"\(SSLError\): check the workspace's URL \(.*\); check REQUESTS_CA_BUNDLE",
    ):
        fetch(server.url)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    bundle.rename(bundle.with_suffix(".away"))
    with pytest.raises(TransientError, match="is missing"):
        fetch(server.url)
    bundle.with_suffix(".away").rename(bundle)
    fetch(server.url)
    assert len(server.requests) == 1


@both
def test_a_tls_answer_that_drips_ends_at_the_limit(fetch, serve, tls, short_limit, monkeypatch):
    bundle, context = tls
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    server = serve(dripped(HEAD + b"Content-Length: 100000\r\n\r\n", endless(b" "), lambda: server), context)
    with pytest.raises(TransientError, match="no answer within 0.5 s|Timeout"):
        fetch(server.url)
    assert_no_thread_is_left()


def assert_no_thread_is_left() -> None:
    for thread in threading.enumerate():
        if thread.name == "beam_zerobus-request":
            thread.join(10)
            assert not thread.is_alive()


@both
@pytest.mark.parametrize("status", [200, 302, 404])
def test_an_endless_answer_ends_at_a_size(fetch, status, serve, monkeypatch):
    head = b"HTTP/1.1 %d Because\r\nLocation: /\r\n\r\n" % status
    server = serve(lambda _: itertools.chain([head], itertools.repeat(b" " * 65536)))
    with pytest.raises(ConfigurationError, match="answered with more than .* bytes: check the workspace's URL"):
        fetch(server.url)


@both
def test_a_compressed_answer_is_not_unpacked(fetch, serve):
    server = serve(whole(200, gzip.compress(bytes(50 << 20)), "Content-Encoding: gzip"))
    with pytest.raises(ConfigurationError, match="check the workspace's URL"):
        fetch(server.url)
    assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("fetch", [fetch_token, exchange_token, fetch_schema])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(fetch, status, serve):
    other = serve(whole(200, {**TOKEN, **COLUMNS}))
    for location in (f"{other.url}/oidc/v1/token", "//", "http://[", "/same-host"):
        server = serve(whole(status, b"", f"Location: {location}"))
        with pytest.raises(ConfigurationError, match=rf"answered {status}.*a redirect.*check the workspace's URL"):
            fetch(server.url)
        assert len(server.requests) == 1
    assert other.requests == []


def test_the_headers_are_ours_and_the_environment_adds_none(serve, monkeypatch, tmp_path):
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login token password from-netrc\ndefault login token password from-netrc\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    server = serve(whole(200, {**TOKEN, **COLUMNS}, "Set-Cookie: session=1; Path=/"))
    for _ in range(2):
        fetch_token(server.url)
        exchange_token(server.url)
        fetch_schema(server.url)
        fetch_schema(server.url.replace("//", "//user:password@"))
    ours = {"host", "user-agent", "accept", "accept-encoding"}
    assert [set(request.headers) - ours for request in server.requests[:4]] == [
        {"authorization", "content-type", "content-length"},
        {"content-type", "content-length"},
        {"authorization"},
        {"authorization"},
    ]
    assert server.requests[0].headers["authorization"].startswith("Basic ")
    assert {request.headers.get("authorization") for request in server.requests[1::2]} == {None, "Bearer t0ken"}
    assert server.requests[0].headers["user-agent"].startswith("beam_zerobus/")
    assert [set(request.headers) for request in server.requests[:4]] == [
        set(request.headers) for request in server.requests[4:]
    ]


@both
def test_a_proxy_of_the_environment_is_used(fetch, serve, monkeypatch):
    proxy, server = serve(whole(200, {**TOKEN, **COLUMNS})), serve(whole(200, {**TOKEN, **COLUMNS}))
    for variable in ("NO_PROXY", "no_proxy", "http_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("http_proxy", proxy.url)
    fetch("http://workspace.example")
    assert proxy.requests[0].target.startswith("http://workspace.example/")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    fetch(server.url)
    assert (len(proxy.requests), len(server.requests)) == (1, 1)


@both
def test_a_missing_ca_bundle_is_transient(fetch, monkeypatch, tmp_path):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    with pytest.raises(TransientError, match=r"the CA bundle .*missing\.pem is missing\): check REQUESTS_CA_BUNDLE"):
        fetch("https://127.0.0.1:1")


@both
def test_a_damaged_ca_bundle_is_transient(fetch, monkeypatch, tmp_path, serve):
    bundle = tmp_path / "damaged.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    server = serve(whole(200))
    with pytest.raises(TransientError, match="could not be reached"):
        fetch(server.url.replace("http:", "https:"))


@both
@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:99999", "ftp://127.0.0.1", "127.0.0.1", "http://", "http://a\u0000b"]
)
def test_a_url_that_cannot_be_used_is_an_error_of_ours(fetch, url):
    with pytest.raises((ConfigurationError, TransientError), match="check the workspace's URL"):
        fetch(url)


def test_one_module_makes_requests():
    package = Path(http.__file__).parents[1]
    makers = {
        path.relative_to(package).as_posix() for path in package.rglob("*.py") if "import requests" in path.read_text()
    }
    assert makers == {"workspace/http.py", "emulator/recording/replay.py"}  # the second asks an emulator only

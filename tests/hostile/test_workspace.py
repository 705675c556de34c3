"""A token endpoint or Unity Catalog that misbehaves: each request ends within its limit, with an error of ours."""

from __future__ import annotations

import gzip
import itertools
import pickle
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus import (
    AuthenticationError,
    ConfigurationError,
    Credentials,
    FederatedToken,
    OAuthClientCredentials,
    StaticHeaders,
    TransientError,
    ZerobusError,
)
from beam_zerobus.workspace import http
from beam_zerobus.workspace.retry_after import parse_retry_after
from beam_zerobus.workspace.single_flight import SingleFlight
from beam_zerobus.workspace.tokens import TokenSource
from beam_zerobus.workspace.unity_catalog import fetch_table_schema
from tests.hostile.http_server import OddServer, Request, dripped, whole

pytestmark = pytest.mark.timeout(30)

TABLE = "main.iot.air"
TOKEN = {"access_token": "t0ken", "expires_in": 3600}
COLUMNS = {"columns": [{"name": "id", "type_json": '"long"', "nullable": True, "position": 0}]}
OAUTH = OAuthClientCredentials(client_id="the-id", client_secret="the-secret")


def source(url: str, credentials=OAUTH) -> TokenSource:
    return TokenSource(credentials, table=TABLE, endpoint="http://1234.zerobus.localhost:1", workspace_url=url)


def fetch_token(url: str) -> None:
    source(url).headers()


def exchange_token(url: str) -> None:
    source(url, FederatedToken(token_supplier=lambda: "subject-token")).headers()


def fetch_schema(url: str) -> None:
    fetch_table_schema(url, TABLE, headers={"authorization": "Bearer t0ken"})


both = pytest.mark.parametrize("fetch", [fetch_token, fetch_schema])


@pytest.fixture
def serve() -> Iterator[Callable[..., OddServer]]:
    servers = []

    def start(answer: Callable[[Request], Iterator[bytes]], tls: ssl.SSLContext | None = None) -> OddServer:
        servers.append(OddServer(answer, tls))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_LIMIT", 0.5)


def endless(piece: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: itertools.repeat(piece)


HEAD = b"HTTP/1.1 200 OK\r\n"
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
    with pytest.raises(TransientError, match=r"\(SSLError\): check workspace_url; check REQUESTS_CA_BUNDLE"):
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
    with pytest.raises(ConfigurationError, match="answered with more than .* bytes: check workspace_url"):
        fetch(server.url)


@both
def test_a_compressed_answer_is_not_unpacked(fetch, serve):
    server = serve(whole(200, gzip.compress(bytes(50 << 20)), "Content-Encoding: gzip"))
    with pytest.raises(ConfigurationError, match="check workspace_url"):
        fetch(server.url)
    assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("fetch", [fetch_token, exchange_token, fetch_schema])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(fetch, status, serve):
    other = serve(whole(200, {**TOKEN, **COLUMNS}))
    for location in (f"{other.url}/oidc/v1/token", "//", "http://[", "/same-host"):
        server = serve(whole(status, b"", f"Location: {location}"))
        with pytest.raises(ConfigurationError, match=rf"answered {status}.*a redirect.*check workspace_url"):
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
    with pytest.raises((ConfigurationError, TransientError), match="check workspace_url"):
        fetch(url)


DEEP = b'{"access_token": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
NOT_TOKENS = {
    "empty": b"",
    "HTML": b"<html>sign in</html>",
    "not UTF-8": b"\xff\xfe\x00",
    "deep": DEEP,
    "a huge number": b'{"access_token": "t", "expires_in": ' + b"9" * 10_000 + b"}",
    "half": b'{"access_token": "t',
    "a list": b"[]",
    "text": b'"access_token"',
    "null": b"null",
    "no token": {"expires_in": 3600},
    "token null": {"access_token": None},
    "token a number": {"access_token": 42},
    "token true": {"access_token": True},
    "token a list": {"access_token": ["t"]},
    "token empty": {"access_token": ""},
    "token with a line break": {"access_token": "t\r\nx-evil: 1"},
    "token with a space": {"access_token": "t t"},
    "token not Latin": {"access_token": "t\u79d8"},
    "token half a character": {"access_token": "t\ud800"},
    "life NaN": b'{"access_token": "t", "expires_in": NaN}',
    "life infinite": b'{"access_token": "t", "expires_in": 1e999}',
    "life negative": {"access_token": "t", "expires_in": -1},
    "life zero": {"access_token": "t", "expires_in": 0},
    "life null": {"access_token": "t", "expires_in": None},
    "life true": {"access_token": "t", "expires_in": True},
    "life text": {"access_token": "t", "expires_in": "soon"},
    "life an object": {"access_token": "t", "expires_in": {}},
}


@pytest.mark.parametrize("body", NOT_TOKENS)
def test_an_answer_without_a_usable_token_is_an_error_of_ours(body, serve):
    server = serve(whole(200, NOT_TOKENS[body]))
    with pytest.raises(ConfigurationError, match=r"/oidc/v1/token answered .*: check workspace_url"):
        fetch_token(server.url)


@pytest.mark.parametrize("expires_in", [1, 0.5, "3600", 10**400, 1e300])
def test_an_unusual_lifetime_that_is_seconds_is_taken(expires_in, serve):
    server = serve(whole(200, {"access_token": "t", "expires_in": expires_in}))
    assert dict(source(server.url).headers())["authorization"] == "Bearer t"


def test_an_answer_that_is_cut_off_is_transient(serve):
    server = serve(lambda _: iter([HEAD + b'Content-Length: 100\r\n\r\n{"access_']))
    with pytest.raises(TransientError, match="could not be reached"):
        fetch_token(server.url)


NOT_TABLES = {
    "empty": b"",
    "deep": DEEP,
    "a huge number": b'{"columns": [{"position": ' + b"9" * 10_000 + b"}]}",
    "columns a number": {"columns": 42},
    "columns null": {"columns": None},
    "a column null": {"columns": [None]},
    "a name null": {"columns": [{"name": None, "type_json": '"long"'}]},
    "a name a list": {"columns": [{"name": [], "type_json": '"long"'}]},
    "a type a number": {"columns": [{"name": "a", "type_json": 42}]},
    "a type deep": {"columns": [{"name": "a", "type_json": "[" * 100_000}]},
    "a type deep and whole": {
        "columns": [{"name": "a", "type_json": '{"type":"array","elementType":' * 2_000 + '"long"' + "}" * 2_000}]
    },
    "a position infinite": b'{"columns": [{"name": "a", "type_json": "\\"long\\"", "position": 1e999}]}',
    "a position NaN": b'{"columns": [{"name": "a", "type_json": "\\"long\\"", "position": NaN}]}',
    "a position text": {"columns": [{"name": "a", "type_json": '"long"', "position": "first"}]},
    "a kind that is an object": {**COLUMNS, "table_type": {"a": 1}},
    "a kind that is long": {**COLUMNS, "table_type": "x" * 100_000},
}


@pytest.mark.parametrize("body", NOT_TABLES)
def test_a_table_that_cannot_be_read_is_an_error_of_ours(body, serve):
    server = serve(whole(200, NOT_TABLES[body]))
    with pytest.raises(ZerobusError) as raised:
        fetch_schema(server.url)
    assert len(str(raised.value)) < 2_000


STATUSES = {
    **dict.fromkeys([408, 425, 429, 500, 502, 503, 504, 599], TransientError),
    **dict.fromkeys([400, 401, 403], AuthenticationError),
    **dict.fromkeys([204, 304, 404, 405, 418, 451], ConfigurationError),
}


@pytest.mark.parametrize("status", STATUSES)
def test_each_status_of_the_token_endpoint_has_its_class(status, serve):
    server = serve(whole(status, {"error": "because"} if status not in (204, 304) else b""))
    with pytest.raises(ZerobusError) as raised:
        fetch_token(server.url)
    assert type(raised.value) is STATUSES[status]
    assert str(status) in str(raised.value)
    if isinstance(raised.value, TransientError):
        assert raised.value.cause == f"TOKEN_ENDPOINT_{status}"
        assert raised.value.retry_after is None


@both
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("86400", 60.0),
        ("9" * 60, 60.0),
        ("-1", None),
        ("soon", None),
        ("1e3", None),
        ("", None),
    ],
)
def test_retry_after_is_passed_on(fetch, status, value, seconds, serve):
    server = serve(whole(status, b"", f"Retry-After: {value}"))
    with pytest.raises(TransientError) as raised:
        fetch(server.url)
    assert raised.value.retry_after == seconds
    assert pickle.loads(pickle.dumps(raised.value)).retry_after == seconds
    as_beam_copies = type(raised.value)("in a step: " + raised.value.args[0], *raised.value.args[1:])
    assert as_beam_copies.retry_after == seconds


def test_retry_after_may_be_a_date():
    now = datetime(2026, 11, 28, 12, tzinfo=UTC)
    for ahead, seconds in ((-5, 0.0), (20, 20.0), (86_400, 60.0)):
        assert parse_retry_after(format_datetime(now + timedelta(seconds=ahead), usegmt=True), now) == seconds
    for nonsense in ("Sat, 99 Nov 2026 12:00:00 GMT", "Sat, 28 Nov 99999999999 12:00:00 GMT", "\x00", ","):
        assert parse_retry_after(nonsense, now) is None


PIECES = [
    *(b"HTTP/1.1 ", b"HTTP/9 ", b"200", b"408", b"999999", b"-1", b" OK", b"\r\n", b"\n", b"\x00", b"\xff", b":"),
    *(b"Content-Length: ", b"Transfer-Encoding: chunked", b"Content-Encoding: gzip", b"Location: http://["),
    *(b"Retry-After: ", b"Set-Cookie: a=b", b"ffffffffffffffff", b"a" * 70_000),
    *(b"{", b"[" * 5_000, b'"access_token"', b'"columns"', b"1e999", b"}"),
]


@settings(max_examples=60)
@given(st.lists(st.sampled_from(PIECES), max_size=12), st.booleans())
def test_any_bytes_are_an_error_of_ours(pieces, well_begun):
    head = b"HTTP/1.1 200 OK\r\n" if well_begun else b""
    server = OddServer(lambda _: iter([head + b"".join(pieces)]))
    try:
        for fetch in (fetch_token, fetch_schema):
            with pytest.raises(ZerobusError):
                fetch(server.url)
    finally:
        server.close()


# Callbacks ---------------------------------------------------------------------------------------------------------


def raises(error: BaseException) -> Callable[[], str]:
    def supply() -> str:
        raise error

    return supply


ODD_HEADERS = {
    "None": None,
    "a number": 42,
    "text": "Bearer abc",
    "a list": [("authorization", "Bearer abc")],
    "nothing": {},
    "an empty value": {"authorization": ""},
    "a value None": {"authorization": None},
    "a value in bytes": {"authorization": b"Bearer abc"},
    "a name None": {None: "x", "authorization": "Bearer abc"},
    "a name with a line break": {"x\r\ny": "x", "authorization": "Bearer abc"},
    "a name that is not Latin": {"\u79d8": "x", "authorization": "Bearer abc"},
    "a value with a line break": {"authorization": "Bearer a\r\nx-evil: 1"},
    "a value that is not ASCII": {"authorization": "Bearer g\u00e9heim"},
    "a value that is not Latin": {"authorization": "Bearer \u79d8"},
}


@pytest.mark.parametrize("headers", ODD_HEADERS)
def test_odd_headers_of_a_callback_are_an_error_of_ours(headers):
    with pytest.raises(ConfigurationError, match='StaticHeaders.*: |StaticHeaders needs an "authorization" header'):
        source("", StaticHeaders(headers=lambda: ODD_HEADERS[headers])).headers()
    if headers not in ("None", "nothing"):
        with pytest.raises(ConfigurationError):
            StaticHeaders(headers=ODD_HEADERS[headers])


@pytest.mark.parametrize(
    "error", [KeyError("x"), RecursionError(), TimeoutError("vault"), UnicodeDecodeError("a", b"", 0, 1, "")]
)
def test_a_callback_that_raises_is_an_error_of_ours(error):
    for credentials in (
        StaticHeaders(headers=raises(error)),
        FederatedToken(token_supplier=raises(error)),
        OAuthClientCredentials(client_id=raises(error)),
    ):
        with pytest.raises(AuthenticationError, match=f"raised {type(error).__name__}") as raised:
            source("http://127.0.0.1:1", credentials).headers()
        assert type(raised.value.__cause__) is type(error)


def test_credentials_of_the_users_own_that_raise_are_an_error_of_ours():
    class Own(Credentials):
        def identity(self):
            return None

        def request_headers(self, workspace_url, form):
            raise ZeroDivisionError

    with pytest.raises(AuthenticationError, match="Own raised ZeroDivisionError"):
        source("", Own()).headers()


def test_an_error_of_ours_from_a_callback_keeps_its_class():
    with pytest.raises(TransientError, match="the vault is down"):
        source("", StaticHeaders(headers=raises(TransientError("the vault is down")))).headers()


@pytest.mark.parametrize("value", [None, 42, b"\xff", "", "\n", "a\x00b", "two\nlines", "half \ud800"])
def test_an_odd_secret_of_a_callback_is_an_error_of_ours(value):
    for credentials in (
        FederatedToken(token_supplier=lambda: value),
        OAuthClientCredentials(client_id=lambda: value),
        OAuthClientCredentials(client_id="id", client_secret=lambda: value),
    ):
        with pytest.raises(AuthenticationError, match="client_id|client_secret|token_supplier"):
            source("http://127.0.0.1:1", credentials).headers()


@pytest.mark.parametrize("value", [42, 1.5, ["s"], object()])
def test_a_secret_of_another_type_is_rejected_when_it_is_given(value):
    with pytest.raises(ConfigurationError, match="client_secret is of type .*: give text"):
        OAuthClientCredentials(client_id="id", client_secret=value)


def test_a_callback_that_hangs_ends_at_the_limit(monkeypatch):
    monkeypatch.setattr("beam_zerobus.workspace.credentials.SUPPLIER_LIMIT", 0.2)
    hanging = threading.Event()
    with pytest.raises(TransientError, match="token_supplier could not be read: no answer within 0.2 s"):
        source("", FederatedToken(token_supplier=hanging.wait)).headers()
    hanging.set()


def test_threads_that_cannot_be_started_are_transient(monkeypatch, serve):
    def start(_):
        raise RuntimeError("can't start new thread")

    server = serve(whole(200, TOKEN))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(TransientError, match="no thread could be started"):
            fetch_token(server.url)
    fetch_token(server.url)


# Many threads ------------------------------------------------------------------------------------------------------


def run_in_threads(count: int, work: Callable[[], object]) -> list[object]:
    barrier, outcomes = threading.Barrier(count), []

    def run() -> None:
        barrier.wait()
        try:
            outcomes.append(work())
        except ZerobusError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_threads_share_one_request_that_hangs(serve, monkeypatch):
    monkeypatch.setattr(http, "REQUEST_LIMIT", 2.0)
    server = serve(dripped(b"", endless(b""), lambda: server))
    outcomes = run_in_threads(32, source(server.url).headers)
    assert {type(outcome) for outcome in outcomes} == {TransientError}
    assert len({id(outcome) for outcome in outcomes}) == 32
    assert len(server.requests) <= 3  # one, and what a starved thread started later; one after another they were 32


def test_threads_share_one_token(serve):
    released = threading.Event()

    def answer(request: Request) -> Iterator[bytes]:
        released.wait(20)
        return whole(200, TOKEN)(request)

    server = serve(answer)
    tokens = source(server.url)
    threading.Timer(0.2, released.set).start()
    outcomes = run_in_threads(32, tokens.headers)
    assert all(outcome == outcomes[0] for outcome in outcomes)
    assert len(server.requests) == 1


def test_a_token_that_was_asked_for_before_it_was_rejected_is_not_kept(serve):
    asked, released, numbers = threading.Event(), threading.Event(), itertools.count()

    def answer(request: Request) -> Iterator[bytes]:
        number = next(numbers)
        if number == 0:
            asked.set()
            released.wait(20)
        return whole(200, {"access_token": f"token-{number}"})(request)

    tokens, results = source(serve(answer).url), []
    first = threading.Thread(target=lambda: results.append(dict(tokens.headers())), daemon=True)
    first.start()
    assert asked.wait(20)
    tokens.invalidate()
    assert dict(tokens.headers())["authorization"] == "Bearer token-1"
    released.set()
    first.join()
    assert results[0]["authorization"] == "Bearer token-0"
    assert dict(tokens.headers())["authorization"] == "Bearer token-1"


def test_a_thread_that_is_interrupted_leaves_the_work_to_another():
    flight, inside, go = SingleFlight[str](limit=20.0), threading.Event(), threading.Event()

    def interrupted() -> str:
        inside.set()
        go.wait(20)
        raise KeyboardInterrupt

    def first() -> None:
        with pytest.raises(KeyboardInterrupt):
            flight.run(interrupted)

    results: list[str] = []
    threads = [threading.Thread(target=first, daemon=True)]
    threads[0].start()
    assert inside.wait(20)
    threads.append(threading.Thread(target=lambda: results.append(flight.run(lambda: "done")), daemon=True))
    threads[1].start()
    go.set()
    for thread in threads:
        thread.join()
    assert results == ["done"]


def test_a_thread_waits_for_another_one_only_so_long():
    flight, inside, go = SingleFlight[None](limit=0.2), threading.Event(), threading.Event()

    def hang() -> None:
        inside.set()
        go.wait(20)

    thread = threading.Thread(target=flight.run, args=(hang,), daemon=True)
    thread.start()
    assert inside.wait(20)
    with pytest.raises(TransientError, match="did not end within 0.2 s"):
        flight.run(lambda: None)
    go.set()
    thread.join()


def test_one_module_makes_requests():
    package = Path(http.__file__).parents[1]
    makers = {
        path.relative_to(package).as_posix() for path in package.rglob("*.py") if "import requests" in path.read_text()
    }
    assert makers == {"workspace/http.py"}

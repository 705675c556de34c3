"""The only place that makes HTTP requests: each is bounded in time and size, and sends what it is given.

By itself, `requests` replaces an authorization header by an entry of ``~/.netrc``, follows redirects (which can carry a
token to another host) and waits without end for an answer that arrives a byte a second. Proxies and CA bundles of the
environment are honoured: ``HTTP_PROXY``, ``HTTPS_PROXY``, ``NO_PROXY``, ``REQUESTS_CA_BUNDLE``.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidHeader, InvalidSchema, InvalidURL, MissingSchema, ProxyError, SSLError
from urllib3.exceptions import NameResolutionError

from beam_zerobus.errors import ConfigurationError, TransientError
from beam_zerobus.version import __version__
from beam_zerobus.workspace.bounded import CannotRunError, run_bounded
from beam_zerobus.workspace.retry_after import parse_retry_after
from beam_zerobus.workspace.secret import Secret

__all__ = ["CHECK_WORKSPACE", "REQUEST_LIMIT", "Answer", "ask"]

REQUEST_LIMIT = 15.0
"""Seconds that a request may take in all, from looking up the host to the last byte of the answer."""

CHECK_WORKSPACE = "check the workspace's URL (workspace_url, or DATABRICKS_HOST)"
"""The remedy where it is not a workspace that answers."""

_CHUNK = 1 << 16
_CHECK_CA = "check REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE"
_HEADERS: Mapping[str, str] = {
    "user-agent": f"beam_zerobus/{__version__}",
    "accept": "application/json",
    # A compressed answer could be far larger than what arrives.
    "accept-encoding": "identity",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is neither a redirect nor a failure that may pass; its body may hold a token."""

    status: int
    body: Secret = field(repr=False)
    date: str | None = None

    def json(self) -> Any:
        """Return the body's JSON value; None where it is not JSON, or nests too deeply to be read."""
        try:
            return json.loads(self.body.reveal())
        except (ValueError, RecursionError):
            return None


def ask(
    method: str,
    url: str,
    *,
    service: str,
    cause: str,
    headers: Mapping[str, str | Secret],
    body: Secret | None = None,
    about: str = "",
    limit: float | None = None,
    max_bytes: int = 1 << 20,
) -> Answer:
    """Send one request and return the whole answer.

    Args:
        method: ``"GET"`` or ``"POST"``.
        url: Where to.
        service: What messages call the other side; holds no secret.
        cause: What a `TransientError.cause` begins with, such as ``"TOKEN_ENDPOINT"``.
        headers: What is sent beside user agent, accept and what HTTP itself needs.
        body: The request's body.
        about: What the request is about, for messages, such as ``" for table a.b.c"``.
        limit: Seconds for everything together; None for `REQUEST_LIMIT`.
        max_bytes: Size of the answer at most.

    Raises:
        TransientError: No whole answer arrived within the limit, or it is 408, 425, 429 or 5xx.
        ConfigurationError: The URL cannot be used, the answer is a redirect, or it is larger than `max_bytes`.
    """
    request = _Request(method, url, {**_HEADERS, **headers}, body, limit or REQUEST_LIMIT, max_bytes)
    outcome = _run(request)
    if isinstance(outcome, _Failure):
        if outcome.is_permanent:
            raise ConfigurationError(f"{service} {outcome.what}: {CHECK_WORKSPACE}")
        raise TransientError(
            f"{service} could not be reached ({outcome.what}): {outcome.remedy}", cause=f"{cause}_UNREACHABLE"
        )
    status = outcome.answer.status
    if status in (408, 425, 429) or status >= 500:
        raise TransientError(
            f"{service} answered {status}{about}: it is overloaded or down, try again later",
            cause=f"{cause}_{status}",
            retry_after=outcome.retry_after,
        )
    if 300 <= status < 400:
        raise ConfigurationError(
            f"{service} answered {status}{about}, a redirect, which is not followed because it would carry the "
            f"credentials to another address: {CHECK_WORKSPACE}"
        )
    return outcome.answer


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str | Secret] = field(repr=False)
    body: Secret | None
    limit: float
    max_bytes: int


@dataclass(frozen=True, slots=True)
class _Failure:
    what: str
    remedy: str = CHECK_WORKSPACE
    is_permanent: bool = False


@dataclass(frozen=True, slots=True)
class _Outcome:
    answer: Answer
    retry_after: float | None


def _run(request: _Request) -> _Outcome | _Failure:
    """Return what happened, instead of raising: the frames of `requests` below an error would show what was sent."""
    sockets = _Sockets()
    try:
        return run_bounded(lambda: _exchange(request, sockets), request.limit)
    except CannotRunError as error:
        return _Failure(str(error))
    finally:
        sockets.shut_down()


def _exchange(request: _Request, sockets: _Sockets) -> _Outcome | _Failure:
    try:
        with sockets, requests.Session() as session, closing(_Adapter(sockets)) as adapter:
            prepared = requests.Request(
                request.method,
                request.url,
                headers={name: Secret(value).reveal() for name, value in request.headers.items()},
                data=None if request.body is None else request.body.reveal().encode(),
                auth=_as_it_is,
            ).prepare()
            settings = session.merge_environment_settings(request.url, {}, True, None, None)
            bundle = settings["verify"]
            if request.url.startswith("https:") and isinstance(bundle, str) and not Path(bundle).exists():
                return _Failure(f"the CA bundle {bundle} is missing", _CHECK_CA)
            # The adapter itself, not the session: that would read a redirect's body whole, however large.
            with adapter.send(prepared, timeout=request.limit, **settings) as response:
                return _read(response, request.max_bytes)
    except (InvalidHeader, InvalidSchema, InvalidURL, MissingSchema, UnicodeError) as error:
        return _Failure(f"cannot be called ({type(error).__name__})", is_permanent=True)
    except ProxyError as error:
        return _Failure(type(error).__name__, "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY")
    except SSLError as error:
        return _Failure(
            type(error).__name__,
            f"{CHECK_WORKSPACE}; {_CHECK_CA}; the address of a local server without TLS begins with http://",
        )
    except Exception as error:  # noqa: BLE001 - the request failed, and only the type of the error is safe to show
        reason = getattr(next(iter(error.args), None), "reason", None)
        lost = isinstance(reason, NameResolutionError)
        return _Failure(type(error).__name__, f"{CHECK_WORKSPACE}{', as its host cannot be found' if lost else ''}")


def _read(response: requests.Response, max_bytes: int) -> _Outcome | _Failure:
    body = bytearray()
    while chunk := response.raw.read(_CHUNK, decode_content=False):
        body += chunk
        if len(body) > max_bytes:
            return _Failure(f"answered with more than {max_bytes:,} bytes", is_permanent=True)
    answer = Answer(response.status_code, Secret(body.decode("utf-8", "replace")), response.headers.get("date"))
    return _Outcome(answer, parse_retry_after(response.headers.get("retry-after")))


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Add no authentication; without this, `requests` would use what the URL holds."""
    return request


class _Sockets:
    """The sockets of one request, each by a duplicate, so that another thread can end whatever waits for them.

    Invariant, under the one lock: once `_over` is set, no socket is open for both reading and writing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._duplicates: list[socket.socket] = []
        self._over = False

    def add(self, opened: socket.socket) -> None:
        with self._lock:
            self._duplicates.append(opened.dup())
        if self._over:
            self.shut_down()

    def shut_down(self) -> None:
        """End the connections: a thread that reads or writes them goes on at once, with an error."""
        with self._lock:
            self._over = True
            for duplicate in self._duplicates:
                with suppress(OSError):  # it has ended already
                    duplicate.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            for duplicate in self._duplicates:
                duplicate.close()
            self._duplicates.clear()


class _Adapter(HTTPAdapter):
    """Adds each connection's socket to `sockets`."""

    def __init__(self, sockets: _Sockets) -> None:
        super().__init__()
        self._sockets = sockets

    def get_connection_with_tls_context(self, *args: Any, **settings: Any) -> Any:
        pool = super().get_connection_with_tls_context(*args, **settings)
        pool.ConnectionCls = type("Connection", (_Watched, pool.ConnectionCls), {"sockets": self._sockets})
        return pool


class _Watched:
    """Part of a connection's class: registers the socket before the TLS handshake, which may never end either."""

    sockets: _Sockets
    _sock: Any = None

    @property
    def sock(self) -> Any:
        return self._sock

    @sock.setter
    def sock(self, value: Any) -> None:
        self._sock = value
        if isinstance(value, socket.socket) and not isinstance(value, ssl.SSLSocket):
            self.sockets.add(value)

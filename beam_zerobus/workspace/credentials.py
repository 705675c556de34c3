"""Credentials: how a worker signs in.

They describe where the secrets are: in the object itself, in what a callable returns, or in the worker's environment.
Plain text is wrapped in `Secret` as soon as it is given, so that no repr, log line or traceback shows it.
"""

from __future__ import annotations

import base64
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from beam_zerobus.errors import AuthenticationError, ConfigurationError, TransientError, ZerobusError
from beam_zerobus.workspace.bounded import CannotRunError, run_bounded
from beam_zerobus.workspace.headers import check_headers
from beam_zerobus.workspace.secret import Secret, clean_secret
from beam_zerobus.workspace.token_endpoint import fetch_token

__all__ = [
    "SUPPLIER_LIMIT",
    "Credentials",
    "EnvironmentVariable",
    "FederatedToken",
    "OAuthClientCredentials",
    "SecretReference",
    "SecretValue",
    "StaticHeaders",
]

_T = TypeVar("_T")

SUPPLIER_LIMIT = 30.0
"""Seconds that a callable which supplies a secret, a token or headers may take."""


@runtime_checkable
class SecretReference(Protocol):
    """A reference to a secret that is read where it is used, such as Beam's own secrets."""

    def get_secret_bytes(self) -> bytes:
        """Return the secret."""
        ...


_IN_PYTHON = "in the worker's environment, or pass credentials=OAuthClientCredentials(...)"
_NO_TOKENS = "Zerobus needs the OAuth client id and secret of a service principal"

SecretValue: TypeAlias = "str | Secret | Callable[[], str] | SecretReference | None"


class Credentials(ABC):
    """How a worker signs in; one of the classes below."""

    needs_workspace: bool = True

    @abstractmethod
    def identity(self) -> str | None:
        """Return a digest that is equal for equal credentials, or None where they cannot be compared."""

    def principal(self) -> str | None:
        """Return the client id, which may be shown; None where it is not known."""
        return None

    def workspace_url(self) -> str | None:
        """Return the workspace's URL, where the credentials know it, so that users need not set it; else None."""
        return None

    def faults(self) -> list[str]:
        """Return what is wrong as far as that is known without a request, such as a variable that is not set."""
        return []

    @abstractmethod
    def request_headers(self, workspace_url: str, form: Mapping[str, str]) -> tuple[Mapping[str, Secret], float]:
        """Fetch a token that `form` describes; return the headers that carry it, and its lifetime in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class OAuthClientCredentials(Credentials):
    """A service principal's OAuth client id and secret (machine to machine).

    Line breaks at the end of either are ignored.

    Attributes:
        client_id: The id, a callable or Beam Secret that returns it, or None for ``DATABRICKS_CLIENT_ID``.
        client_secret: The secret likewise, or None for ``DATABRICKS_CLIENT_SECRET``. A plain string is part of
            the pipeline's pickle; the other forms are not.

    Raises:
        ConfigurationError: One of them is of another type.

    Example:
        >>> OAuthClientCredentials(client_id="id", client_secret="s3cret")
        OAuthClientCredentials()
    """

    client_id: SecretValue = field(default=None, repr=False)
    client_secret: SecretValue = field(default=None, repr=False)
    _remedy: str = field(init=False, repr=False, compare=False)  # says what to do, and not who signs in

    def __init__(self, *, client_id: SecretValue = None, client_secret: SecretValue = None) -> None:
        # The arguments are replaced first, so that a traceback's locals show no text.
        client_id, client_secret = _wrapped(client_id), _wrapped(client_secret)
        object.__setattr__(self, "client_id", client_id)
        object.__setattr__(self, "client_secret", client_secret)
        object.__setattr__(self, "_remedy", _IN_PYTHON)
        for name in ("client_id", "client_secret"):
            _check_kind(getattr(self, name), name)

    def identity(self) -> str | None:
        """Return a digest of id and secret, unless a callable holds one."""
        return _digest("oauth", self.client_id, self.client_secret)

    def principal(self) -> str | None:
        """Return the client id."""
        return str(self._client_id().reveal())

    def request_headers(self, workspace_url: str, form: Mapping[str, str]) -> tuple[Mapping[str, Secret], float]:
        """Ask the workspace with id and secret."""
        authorization = _basic(self._client_id(), self._client_secret())
        return fetch_token(workspace_url, {"grant_type": "client_credentials", **form}, authorization=authorization)

    def faults(self) -> list[str]:
        """Return what is wrong with id and secret, unless a callable or a Beam Secret supplies them."""
        given = ((self.client_id, self._client_id), (self.client_secret, self._client_secret))
        return _faults_of([read for value, read in given if _is_here(value)])

    def _where(self) -> str:
        return getattr(self, "_remedy", _IN_PYTHON)  # a pickle of an older version has none

    def _client_id(self) -> Secret:
        client_id = _read(self.client_id, "client_id", "DATABRICKS_CLIENT_ID", self._where())
        if ":" in client_id.reveal():
            raise AuthenticationError("client_id holds a colon, which no client id has: check that it is the id")
        return client_id

    def _client_secret(self) -> Secret:
        client_secret = _read(self.client_secret, "client_secret", "DATABRICKS_CLIENT_SECRET", self._where())
        if client_secret.reveal().startswith("dapi"):
            raise AuthenticationError(f"client_secret is a personal access token: {_NO_TOKENS}")
        return client_secret


@dataclass(frozen=True, slots=True)
class EnvironmentVariable:
    """A secret, given by the name of the environment variable that holds it on the worker.

    Example:
        >>> credentials = OAuthClientCredentials(
        ...     client_id=EnvironmentVariable("INGEST_ID"), client_secret=EnvironmentVariable("INGEST_SECRET")
        ... )
    """

    name: str

    def __call__(self) -> str:
        """Return the variable's value.

        Raises:
            AuthenticationError: It is not set in the environment of this process.
        """
        if not os.environ.get(self.name):
            raise AuthenticationError(
                f"The environment variable {self.name} is not set where the rows are sent, such as on the worker: set "
                "it there"
            )
        return os.environ[self.name]


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class FederatedToken(Credentials):
    """A token of another identity provider, exchanged for a Databricks token (RFC 8693).

    Attributes:
        token_supplier: Returns the provider's current token within 30 seconds; called on the worker for each
            exchange. If it raises a `TransientError`, it is called again.
        client_id: The service principal's client id for workload identity federation; None for the account's.

    Raises:
        ConfigurationError: `token_supplier` cannot be called.
    """

    token_supplier: Callable[[], str] = field(repr=False)
    client_id: str | None = None

    def __init__(self, *, token_supplier: Callable[[], str], client_id: str | None = None) -> None:
        token_supplier = _wrapped(token_supplier)  # a caller may pass the token itself
        object.__setattr__(self, "token_supplier", token_supplier)
        object.__setattr__(self, "client_id", client_id)
        if not callable(token_supplier):
            raise ConfigurationError("FederatedToken.token_supplier must be a callable that returns the token")
        if not isinstance(client_id, str | None):
            raise ConfigurationError(f"FederatedToken.client_id is a {type(client_id).__name__}: give it as text (str)")

    def identity(self) -> str | None:
        """Return None: two suppliers cannot be compared."""
        return None

    def principal(self) -> str | None:
        """Return the client id, if there is one."""
        return self.client_id

    def faults(self) -> list[str]:
        """Return that the variable is not set, where the token is in one."""
        return _faults_of([self.token_supplier] if _is_here(self.token_supplier) else [])

    def request_headers(self, workspace_url: str, form: Mapping[str, str]) -> tuple[Mapping[str, Secret], float]:
        """Exchange the provider's current token."""
        exchange: dict[str, str | Secret] = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "subject_token": _supplied(self.token_supplier, "FederatedToken.token_supplier"),
            **({"client_id": self.client_id} if self.client_id else {}),
            **form,
        }
        return fetch_token(workspace_url, exchange, authorization=None)


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class StaticHeaders(Credentials):
    """Headers sent as they are, for a token that something else keeps fresh.

    Attributes:
        headers: The headers, or a callable that returns the current ones within 30 seconds; ``authorization`` is
            needed. The values of a mapping are kept as `Secret`.

    Raises:
        ConfigurationError: There is no ``authorization`` header, or a header cannot be sent.
    """

    needs_workspace = False

    headers: Mapping[str, Secret] | Callable[[], Mapping[str, str]] = field(repr=False)

    def __init__(self, *, headers: Mapping[str, str | Secret] | Callable[[], Mapping[str, str]]) -> None:
        headers = _wrapped(headers)
        object.__setattr__(self, "headers", headers)
        if not callable(headers):
            check_headers(headers)

    def __hash__(self) -> int:
        return hash(self.identity())

    def identity(self) -> str | None:
        """Return a digest of the headers, unless a callable makes them."""
        if callable(self.headers):
            return None
        return _digest("headers", *(part for item in sorted(self.headers.items()) for part in item))

    def request_headers(self, workspace_url: str, form: Mapping[str, str]) -> tuple[Mapping[str, Secret], float]:  # noqa: ARG002
        """Return the headers; no request is made, so there is nothing to cache either."""
        if not callable(self.headers):
            return check_headers(_wrapped(self.headers)), 0.0
        supplier = self.headers
        return check_headers(_call(lambda: _wrapped(supplier()), "StaticHeaders.headers")), 0.0


def _wrapped(value: Any) -> Any:
    """Return a callable, a reference or None as it is, all else as `Secret`; never fails, as its locals show the text.

    What is not text is wrapped too, because it may hold a secret, and is rejected where it is used.
    """
    if isinstance(value, Mapping):
        return {name: Secret(item) for name, item in value.items()}
    if value is None or callable(value) or isinstance(value, SecretReference):
        return value
    return Secret(value)


def _check_kind(value: SecretValue, name: str) -> None:
    if isinstance(value, Secret | Mapping) and not (isinstance(value, Secret) and isinstance(value.reveal(), str)):
        kind = type(value.reveal() if isinstance(value, Secret) else value).__name__
        raise ConfigurationError(
            f"{name} is of type {kind}: give text (str), a callable that returns it, or a Beam Secret"
        )


def _read(value: SecretValue, name: str, variable: str, remedy: str) -> Secret:
    """Return the secret that a value is, names or supplies."""
    value = _wrapped(value)  # in a pickle of an older version it is plain text
    if value is None:
        if not os.environ.get(variable):
            token = f" (DATABRICKS_TOKEN is set, but {_NO_TOKENS})" if "DATABRICKS_TOKEN" in os.environ else ""
            raise AuthenticationError(f"No {name}: set {variable} {remedy}{token}")
        return clean_secret(Secret(os.environ[variable]), variable)
    if isinstance(value, Secret):
        return clean_secret(value, name)
    if isinstance(value, SecretReference):
        return _supplied(value.get_secret_bytes, name)
    return _supplied(value, name)  # type: ignore[arg-type]


def _is_here(value: object) -> bool:
    """Return whether a secret is in this process: to read it neither calls code of users nor sends a request."""
    return value is None or isinstance(value, Secret | EnvironmentVariable)


def _faults_of(readings: Iterable[Callable[[], object]]) -> list[str]:
    """Return what keeps secrets from being read."""
    faults = []
    for read in readings:
        try:
            read()
        except AuthenticationError as error:
            faults.append(str(error))
    return faults


def _supplied(supplier: Callable[[], str | bytes], name: str) -> Secret:
    """Return what a callable or a reference supplies, as a checked secret."""
    return clean_secret(_call(lambda: Secret(supplier()), name), name)


def _call(supplier: Callable[[], _T], name: str) -> _T:
    try:
        return run_bounded(supplier, SUPPLIER_LIMIT)
    except ZerobusError:
        raise
    except CannotRunError as error:
        raise TransientError(
            f"{name} could not be read: {error}; check what its callable waits for", cause="CREDENTIALS_UNREADABLE"
        ) from None
    except Exception as error:
        raise AuthenticationError(
            f"{name} could not be read: its callable raised {type(error).__name__}; correct the callable"
        ) from error


def _basic(client_id: Secret, client_secret: Secret) -> Secret:
    """Return the header of Basic authentication: UTF-8 and not form-encoded, as the official client sends it."""
    return Secret(
        "Basic " + base64.b64encode(f"{client_id.reveal()}:{client_secret.reveal()}".encode()).decode("ascii")
    )


def _digest(*parts: Any) -> str | None:
    """Return a digest of text and secrets; None where a part is something else, which has no value to compare."""
    if any(not isinstance(part, str | Secret | None) for part in parts):
        return None
    return hashlib.sha256(
        "\0".join(str(part.reveal() if isinstance(part, Secret) else part) for part in parts).encode(
            "utf-8", "surrogatepass"
        )
    ).hexdigest()

"""Credentials: how a worker signs in.

They are descriptions: they may name a secret, call for it, or leave it to the worker's environment, and never show it.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

import requests

from beam_zerobus.errors import AuthenticationError, ConfigurationError, TransientError

__all__ = [
    "Credentials",
    "EnvironmentVariable",
    "FederatedToken",
    "OAuthClientCredentials",
    "SecretValue",
    "StaticHeaders",
]

_REQUEST_TIMEOUT = 15.0


@runtime_checkable
class Secret(Protocol):
    """A reference to a secret that is read where it is used, such as Beam's own secrets."""

    def get_secret_bytes(self) -> bytes:
        """Return the secret."""
        ...


SecretValue: TypeAlias = "str | Callable[[], str] | Secret | None"


class Credentials(ABC):
    """How a worker signs in; one of the classes below."""

    needs_workspace: bool = True

    @abstractmethod
    def identity(self) -> str | None:
        """Return a digest that is equal for equal credentials, or None where they cannot be compared."""

    @abstractmethod
    def request_headers(self, workspace_url: str, form: Mapping[str, str]) -> tuple[dict[str, str], float]:
        """Buy a token that `form` describes; return the headers that carry it, and its life in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthClientCredentials(Credentials):
    """A service principal's OAuth client id and secret (machine to machine).

    Attributes:
        client_id: The id, a callable or Beam Secret that returns it, or None for ``DATABRICKS_CLIENT_ID``.
        client_secret: The secret likewise, or None for ``DATABRICKS_CLIENT_SECRET``. A plain string travels in
            the pipeline's pickle; the other forms do not.

    Example:
        >>> OAuthClientCredentials(client_id="id", client_secret="s3cret")
        OAuthClientCredentials()
    """

    client_id: SecretValue = field(default=None, repr=False)
    client_secret: SecretValue = field(default=None, repr=False)

    def identity(self) -> str | None:
        """Return a digest of id and secret, unless a callable holds one."""
        return _digest("oauth", self.client_id, self.client_secret)

    def request_headers(self, workspace_url: str, form: Mapping[str, str]) -> tuple[dict[str, str], float]:
        """Ask the workspace with id and secret."""
        client_id = _read(self.client_id, "client_id", "DATABRICKS_CLIENT_ID")
        client_secret = _read(self.client_secret, "client_secret", "DATABRICKS_CLIENT_SECRET")
        return _post_token(workspace_url, {"grant_type": "client_credentials", **form}, auth=(client_id, client_secret))


@dataclass(frozen=True, slots=True)
class EnvironmentVariable:
    """A secret by the name of the environment variable that holds it on the worker.

    Example:
        >>> credentials = OAuthClientCredentials(
        ...     client_id=EnvironmentVariable("INGEST_ID"), client_secret=EnvironmentVariable("INGEST_SECRET")
        ... )
    """

    name: str

    def __call__(self) -> str:
        """Return the variable's value.

        Raises:
            AuthenticationError: It is not set in the worker's environment.
        """
        value = os.environ.get(self.name)
        if not value:
            raise AuthenticationError(f"The environment variable {self.name} is not set on the worker")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class FederatedToken(Credentials):
    """A token of another identity provider, exchanged for a Databricks token (RFC 8693).

    Attributes:
        token_supplier: Returns the provider's current token; called on the worker for each exchange.
        client_id: The service principal's client id for workload identity federation; None for the account's.
    """

    token_supplier: Callable[[], str] = field(repr=False)
    client_id: str | None = None

    def __post_init__(self) -> None:
        if not callable(self.token_supplier):
            raise ConfigurationError("FederatedToken.token_supplier must be a callable that returns the token")

    def identity(self) -> str | None:
        """Return None: two suppliers cannot be compared."""
        return None

    def request_headers(self, workspace_url: str, form: Mapping[str, str]) -> tuple[dict[str, str], float]:
        """Exchange the provider's current token."""
        exchange = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "subject_token": _call(self.token_supplier, "FederatedToken.token_supplier"),
            **({"client_id": self.client_id} if self.client_id else {}),
            **form,
        }
        return _post_token(workspace_url, exchange, auth=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticHeaders(Credentials):
    """Headers sent as they are, for a token that something else keeps fresh.

    Attributes:
        headers: The headers, or a callable that returns the current ones; ``authorization`` is needed.

    Raises:
        ConfigurationError: No ``authorization`` header.
    """

    needs_workspace = False

    headers: Mapping[str, str] | Callable[[], Mapping[str, str]] = field(repr=False)

    def __post_init__(self) -> None:
        if not callable(self.headers):
            _checked(self.headers)

    def __hash__(self) -> int:
        return hash(self.identity())

    def identity(self) -> str | None:
        """Return a digest of the headers, unless a callable makes them."""
        if callable(self.headers):
            return None
        return _digest("headers", *(part for item in sorted(self.headers.items()) for part in item))

    def request_headers(self, workspace_url: str, form: Mapping[str, str]) -> tuple[dict[str, str], float]:  # noqa: ARG002
        """Return the headers; nothing is asked, so nothing is cached either."""
        headers = _call(self.headers, "StaticHeaders.headers") if callable(self.headers) else self.headers
        return _checked(headers), 0.0


def _post_token(
    workspace_url: str, form: Mapping[str, str], auth: tuple[str, str] | None
) -> tuple[dict[str, str], float]:
    url = f"{workspace_url}/oidc/v1/token"
    try:
        response = requests.post(url, data=form, auth=auth, timeout=_REQUEST_TIMEOUT)
    except requests.RequestException as error:
        raise TransientError(
            f"The token endpoint {url} could not be reached ({type(error).__name__}): check workspace_url",
            cause="TOKEN_ENDPOINT_UNREACHABLE",
        ) from None
    if response.status_code == 429 or response.status_code >= 500:
        raise TransientError(
            f"The token endpoint {url} answered {response.status_code}", cause=f"TOKEN_ENDPOINT_{response.status_code}"
        )
    if response.status_code != 200:
        raise AuthenticationError(
            f"The token endpoint {url} rejected the credentials ({response.status_code}{_oauth_error(response)}): "
            "check client id and secret, and that the service principal may use the workspace and the table"
        )
    try:
        answer = response.json()
        return {"authorization": f"Bearer {answer['access_token']}"}, float(answer.get("expires_in", 3600))
    except (ValueError, KeyError, TypeError):
        raise AuthenticationError(f"{url} answered without an access token: check workspace_url") from None


def _oauth_error(response: requests.Response) -> str:
    """Return the endpoint's error code; its description may repeat what was sent, so it is left out."""
    try:
        code = response.json().get("error")
    except (ValueError, AttributeError):
        return ""
    return f", {code}" if isinstance(code, str) and len(code) < 50 else ""


def _read(value: SecretValue, name: str, variable: str) -> str:
    if value is None:
        value = os.environ.get(variable)
        if not value:
            raise AuthenticationError(
                f"No {name}: set {variable} in the worker's environment, "
                "or pass credentials=OAuthClientCredentials(...)"
            )
        return value
    if isinstance(value, str):
        return value
    if isinstance(value, Secret):
        return _call(value.get_secret_bytes, name).decode()
    return _call(value, name)


def _call(supplier: Callable[[], Any], name: str) -> Any:
    try:
        return supplier()
    except Exception as error:
        raise AuthenticationError(f"{name} could not be read: its callable raised {type(error).__name__}") from error


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    lower = {name.lower(): value for name, value in headers.items()}
    if not lower.get("authorization"):
        raise ConfigurationError('StaticHeaders needs an "authorization" header, such as "Bearer <token>"')
    return lower


def _digest(*parts: SecretValue) -> str | None:
    if any(not isinstance(part, str | None) for part in parts):
        return None
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()

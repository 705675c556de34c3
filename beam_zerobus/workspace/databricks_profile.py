"""`DatabricksProfile`: the credentials that Databricks' own tools have, read with `databricks-sdk`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from beam_zerobus.errors import AuthenticationError, ConfigurationError, TransientError
from beam_zerobus.workspace.bounded import CannotRunError, run_bounded
from beam_zerobus.workspace.credentials import (
    SUPPLIER_LIMIT,
    Credentials,
    EnvironmentVariable,
    FederatedToken,
    OAuthClientCredentials,
)
from beam_zerobus.workspace.secret import Secret

__all__ = ["DatabricksProfile"]

_T = TypeVar("_T")

_REQUEST_SECONDS = 10  # databricks-sdk asks the host about itself; without a limit it tries for 300 s
_DETAILS = re.compile(r"\. (Config|Env): .*", re.DOTALL)
_QUOTED = re.compile("'.*'", re.DOTALL)  # a value, such as one that is not a number
_REMEDY = (
    "put client_id and client_secret of a service principal into the profile; or the path of another provider's token, "
    "with auth_type = file-oidc, oidc_token_filepath and client_id"
)
_METHODS = {
    "pat": "a personal access token",
    "basic": "a user name and password",
    "azure-cli": "Azure's command line",
    "azure-client-secret": "a secret of Microsoft Entra",
    "databricks-cli": "a person's login",
    "external-browser": "a person's login",
    "google-credentials": "a Google service account",
    "google-id": "a Google service account",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabricksProfile(Credentials):
    """What Databricks' own tools sign in with: a profile of ``.databrickscfg``, and their environment variables.

    It is read where it is used, on the worker, and needs the extra ``databricks``. Zerobus takes the OAuth client id
    and secret of a service principal, or another provider's token; see `docs/databricks.md`.

    Attributes:
        profile: The name; None for ``DATABRICKS_CONFIG_PROFILE``, or else what the tools use by default.
        config_file: Where it is; None for ``DATABRICKS_CONFIG_FILE``, or else ``~/.databrickscfg``.

    Example:
        >>> DatabricksProfile(profile="ingest")
        DatabricksProfile(profile='ingest', config_file=None)
    """

    profile: str | None = None
    config_file: str | None = None

    def identity(self) -> str | None:
        """Return what is equal for the same profile of the same file."""
        return f"{self!r} {os.environ.get('DATABRICKS_CONFIG_PROFILE')} {os.environ.get('DATABRICKS_CONFIG_FILE')}"

    def principal(self) -> str | None:
        """Return the client id."""
        return _for_zerobus(self._read()).principal()

    def workspace_url(self) -> str | None:
        """Return the profile's host."""
        return self._read().get("host")

    def request_headers(self, workspace_url: str, form: Mapping[str, str]) -> tuple[Mapping[str, Secret], float]:
        """Fetch a token as the profile says; for anything but Zerobus every method of Databricks' tools works."""
        found = self._read()
        try:
            credentials = _for_zerobus(found)
        except AuthenticationError:
            if "authorization_details" in form:
                raise
            return self._headers_of_any_method(), 0.0
        return credentials.request_headers(workspace_url, form)

    def _read(self) -> dict[str, Any]:
        """Return the attributes of the configuration that are set; secrets are `Secret`."""
        found: dict[str, Any] = {}

        def note(config: Any) -> Callable[[], dict[str, str]]:
            for attribute in type(config).attributes():
                value = getattr(config, attribute.name)
                if value:
                    found[attribute.name] = Secret(value) if attribute.sensitive else value
            return dict

        self._bounded(lambda: self._make(note))
        return found

    def _headers_of_any_method(self) -> dict[str, Secret]:
        def fetch() -> dict[str, Secret]:
            return {name.lower(): Secret(value) for name, value in self._make(None).authenticate().items()}

        return self._bounded(fetch)

    def _make(self, note: Callable[[Any], Callable[[], dict[str, str]]] | None) -> Any:
        """Make databricks-sdk's `Config`; with `note`, which is called with it, nothing is signed in."""
        try:
            from databricks.sdk.core import Config  # noqa: PLC0415  an extra, and it takes seconds
            from databricks.sdk.credentials_provider import credentials_strategy  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"DatabricksProfile needs {error.name}, which is missing: pip install databricks-sdk"
            ) from None
        return Config(
            profile=self.profile,
            config_file=self.config_file,
            credentials_strategy=None if note is None else credentials_strategy("beam-zerobus", [])(note),
            http_timeout_seconds=_REQUEST_SECONDS,
            retry_timeout_seconds=_REQUEST_SECONDS,
        )

    def _bounded(self, work: Callable[[], _T]) -> _T:
        try:
            return run_bounded(work, SUPPLIER_LIMIT)
        except ConfigurationError:
            raise
        except CannotRunError as error:
            raise TransientError(
                f"{self._name} could not be read: {error}; check the host", cause="CREDENTIALS_UNREADABLE"
            ) from None
        except ValueError as error:
            said = _QUOTED.sub("'...'", _DETAILS.sub("", str(error)))  # without the configuration itself
            raise AuthenticationError(f"{self._name} cannot be used: {said}; correct the profile") from None
        except Exception as error:  # noqa: BLE001 - its text may quote a line of the file
            raise AuthenticationError(
                f"{self._name} cannot be read ({type(error).__name__}): correct the file"
            ) from None

    @property
    def _name(self) -> str:
        return "Databricks' configuration" if self.profile is None else f"The profile {self.profile!r}"


def _for_zerobus(found: Mapping[str, Any]) -> Credentials:
    """Return what fetches tokens for Zerobus, which name the table and its privileges: only two methods can.

    Raises:
        AuthenticationError: The configuration has another one.
    """
    method, client_id = _method(found), found.get("client_id")
    if method == "oauth-m2m" and client_id and found.get("client_secret"):
        return OAuthClientCredentials(client_id=client_id, client_secret=found["client_secret"])
    if method == "env-oidc":
        variable = found.get("oidc_token_env") or "DATABRICKS_OIDC_TOKEN"
        return FederatedToken(token_supplier=EnvironmentVariable(variable), client_id=client_id)
    if method == "file-oidc" and found.get("oidc_token_filepath"):
        return FederatedToken(token_supplier=partial(_text_of, found["oidc_token_filepath"]), client_id=client_id)
    where = f"the profile {found['profile']!r}" if found.get("profile") else "Databricks' configuration"
    if method == "oauth-m2m":
        raise AuthenticationError(f"{where} has no client_id and client_secret: {_REMEDY}")
    what = _METHODS.get(method, method)
    raise AuthenticationError(f"{where} signs in with {what}, whose tokens Zerobus does not accept: {_REMEDY}")


def _method(found: Mapping[str, Any]) -> str:
    """Return the method of signing in, by the name that databricks-sdk has for it."""
    if "auth_type" in found:
        return str(found["auth_type"])
    marks = {
        "token": "pat",
        "username": "basic",
        "metadata_service_url": "metadata-service",
        "client_secret": "oauth-m2m",
        "oidc_token_env": "env-oidc",
        "oidc_token_filepath": "file-oidc",
        "azure_client_secret": "azure-client-secret",
        "google_credentials": "google-credentials",
        "google_service_account": "google-id",
    }
    by_mark = next((method for mark, method in marks.items() if mark in found), None)
    return by_mark or ("env-oidc" if os.environ.get("DATABRICKS_OIDC_TOKEN") else "oauth-m2m")


def _text_of(path: str) -> str:
    return Path(path).read_text("utf-8").strip()

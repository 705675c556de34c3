"""`DatabricksProfile`: the credentials that Databricks' own tools have, read with `databricks-sdk`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

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
_SUPPLIERS = {"github-oidc": "GitHubOIDCTokenSupplier", "azure-devops-oidc": "AzureDevOpsOIDCTokenSupplier"}
"""The classes of databricks-sdk that request the token of a CI."""

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

    def faults(self) -> list[str]:
        """Return that databricks-sdk, the file or the profile in it is missing."""
        try:
            _check_installed()
            self._check_file()
            if self.profile is not None and self.profile not in _profiles_in(self._file):
                return [f"{self._name} is not in {self._file}: correct the name, or add the profile"]
        except (AuthenticationError, ConfigurationError) as error:
            return [str(error)]
        return []

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
        self._check_file()
        self._check_host()
        return Config(
            profile=self.profile,
            config_file=self.config_file,
            credentials_strategy=None if note is None else credentials_strategy("beam-zerobus", [])(note),
            http_timeout_seconds=_REQUEST_SECONDS,
            retry_timeout_seconds=_REQUEST_SECONDS,
        )

    def _check_file(self) -> None:
        """Reject a profile without a file: databricks-sdk would sign in with environment variables instead."""
        if self.profile is not None and not self._file.exists():
            name = "DATABRICKS_CONFIG_FILE" if self.config_file is None else "config_file"
            raise ConfigurationError(
                f"{self._name} cannot be read, as there is no file {self._file}: create it, or name it with {name}"
            )

    def _check_host(self) -> None:
        """Reject a host with a password in it: databricks-sdk would write it to the log."""
        host = os.environ.get("DATABRICKS_HOST") or self._host_in_file()
        parts = urlsplit(host if "://" in host else f"https://{host}")
        if parts.username is not None or parts.password is not None:
            raise ConfigurationError(
                f"{self._name} has a host with a user name or password in it: write the host only, and credentials on "
                "lines of their own"
            )

    def _host_in_file(self) -> str:
        profile = self.profile or os.environ.get("DATABRICKS_CONFIG_PROFILE") or "DEFAULT"
        with suppress(AuthenticationError):  # databricks-sdk says what is wrong with the file
            return _content_of(self._file).get(profile, "host", fallback="")
        return ""

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
    def _file(self) -> Path:
        return Path(self.config_file or os.environ.get("DATABRICKS_CONFIG_FILE") or "~/.databrickscfg").expanduser()

    @property
    def _name(self) -> str:
        return "Databricks' configuration" if self.profile is None else f"The profile {self.profile!r}"


def _check_installed() -> None:
    """Check that databricks-sdk is installed, without importing it, which takes seconds."""
    try:
        found = find_spec("databricks.sdk")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise ConfigurationError("DatabricksProfile needs databricks-sdk, which is missing: pip install databricks-sdk")


def _profiles_in(file: Path) -> set[str]:
    content = _content_of(file)
    return {*content.sections(), *(["DEFAULT"] if content.defaults() else [])}


def _content_of(file: Path) -> ConfigParser:
    content = ConfigParser(interpolation=None)
    try:
        content.read_string(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ConfigParserError) as error:  # its text may quote a line of the file
        raise AuthenticationError(f"{file} cannot be read ({type(error).__name__}): correct the file") from None
    return content


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
    if method in _SUPPLIERS and client_id:
        audience = found.get("token_audience") or f"{found.get('host', '')}/oidc/v1/token"
        return FederatedToken(token_supplier=partial(_token_of_ci, method, audience), client_id=client_id)
    where = f"the profile {found['profile']!r}" if found.get("profile") else "Databricks' configuration"
    if method in _SUPPLIERS:
        raise AuthenticationError(
            f"{where} signs in with {method} and has no client_id: add that of a service principal"
        )
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


def _token_of_ci(method: str, audience: str) -> str:
    """Request the token of the CI job that this runs in."""
    from databricks.sdk import oidc_token_supplier  # noqa: PLC0415  an extra

    supplier = getattr(oidc_token_supplier, _SUPPLIERS[method], None)
    if supplier is None:
        raise AuthenticationError(f"{method} needs a newer databricks-sdk: pip install -U databricks-sdk")
    why = ""
    try:
        token = supplier().get_oidc_token(audience)
    except ValueError as error:  # it names the variables that are missing
        token, why = None, f" ({error})"
    if not token:
        raise AuthenticationError(
            f"{method} supplies no token{why}: run in a job of that CI which may request an id token, or sign in "
            "otherwise"
        )
    return str(token)

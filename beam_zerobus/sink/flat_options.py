"""The sink from flat options, for those who cannot nest them: flags of a pipeline, Beam YAML, other languages.

`FLAT_OPTIONS` is derived from the classes that declare the options; see `beam_zerobus/options/fields.py`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from apache_beam.transforms.util import GcpSecret

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.options import Batching, DebugFiles, Retry, Telemetry
from beam_zerobus.options.fields import Option, limits, options_of
from beam_zerobus.options.wording import for_beam_yaml, for_pipeline
from beam_zerobus.sink.settings import SinkOptions
from beam_zerobus.sink.transform import WriteToZerobus
from beam_zerobus.workspace.credentials import Credentials, EnvironmentVariable, OAuthClientCredentials, SecretValue
from beam_zerobus.writer.config import WriterConfig
from beam_zerobus.writer.writers_config import WritersOptions

__all__ = ["FLAT_NAMES", "FLAT_OPTIONS", "FlatOption", "flat_among", "flat_sink", "in_flags", "in_yaml"]

_GROUPS = (Batching, Retry, DebugFiles, Telemetry)
_SECRET_VERSION = re.compile(r"projects/[^/]+/secrets/[^/]+/versions/[^/]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class _FlatCredentials:
    """Where the worker finds the credentials; the secrets themselves are never options.

    Attributes:
        client_id_env: Environment variable of the worker that holds the OAuth client id, else
            ``DATABRICKS_CLIENT_ID``.
        client_secret_env: Environment variable of the worker that holds the client secret, else
            ``DATABRICKS_CLIENT_SECRET``.
        client_id_gcp_secret: The client id's version in Google's Secret Manager instead, as
            ``projects/P/secrets/S/versions/V``.
        client_secret_gcp_secret: The client secret's version there likewise.
    """

    client_id_env: str | None = field(default=None, metadata=limits(flat="client_id_env"))
    client_secret_env: str | None = field(default=None, metadata=limits(flat="client_secret_env"))
    client_id_gcp_secret: str | None = field(default=None, metadata=limits(flat="client_id_gcp_secret"))
    client_secret_gcp_secret: str | None = field(default=None, metadata=limits(flat="client_secret_gcp_secret"))


@dataclass(frozen=True, slots=True)
class FlatOption:
    """An option of the sink under its flat name.

    Attributes:
        declared_by: The class that declares it.
        option: The declaration.
    """

    declared_by: type
    option: Option


def _parameter(flat: FlatOption) -> str:
    of_group = flat.declared_by in _GROUPS
    return f"{flat.declared_by.__name__}.{flat.option.name}" if of_group else flat.option.name


FLAT_OPTIONS: Mapping[str, FlatOption] = {
    option.flat_name: FlatOption(declared_by, option)
    for declared_by in (WriterConfig, _FlatCredentials, SinkOptions, WritersOptions, *_GROUPS)
    for option in options_of(declared_by)
    if option.flat_name is not None
}
"""All flat options by name."""


FLAT_NAMES: Mapping[str, str] = {_parameter(flat): name for name, flat in FLAT_OPTIONS.items()} | {
    name: name for name in FLAT_OPTIONS
}
"""The flat name of each option, by each name that a message may have for it, such as ``Batching.max_rows``."""

in_flags = for_pipeline(FLAT_NAMES)
in_yaml = for_beam_yaml(FLAT_NAMES)


def flat_among(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flat options among the arguments of a function that takes them all."""
    return {name: value for name, value in given.items() if name in FLAT_OPTIONS}


def flat_sink(
    credentials: Credentials | Callable[..., Credentials] = OAuthClientCredentials, /, **given: Any
) -> WriteToZerobus:
    """Make the sink from flat options.

    Args:
        credentials: How to sign in, which flat options cannot say; or what makes them of what `given` says.
        given: Values by flat name; those that are None keep their defaults.

    Raises:
        ConfigurationError: An option is unknown or wrong; the message names it.
    """
    options: dict[type, dict[str, Any]] = {flat.declared_by: {} for flat in FLAT_OPTIONS.values()}
    for name, value in given.items():
        if name not in FLAT_OPTIONS:
            close = difflib.get_close_matches(name, FLAT_OPTIONS, n=1)
            remedy = f"did you mean {close[0]}?" if close else f"use {', '.join(FLAT_OPTIONS)}"
            raise ConfigurationError(f"There is no option {name}: {remedy}")
        if value is not None and value != {}:
            flat = FLAT_OPTIONS[name]
            options[flat.declared_by][flat.option.name] = dict(value) if isinstance(value, Mapping) else value
    telemetry = options[Telemetry]
    return WriteToZerobus(
        **options[WriterConfig],
        **options[SinkOptions],
        **options[WritersOptions],
        credentials=_credentials(credentials, **options[_FlatCredentials]),
        batching=Batching(**options[Batching]),
        retry=Retry(**options[Retry]),
        debug_files=_debug_files(**options[DebugFiles]),
        telemetry=Telemetry(**telemetry) if telemetry else None,
    )


def _debug_files(output_dir: str | None = None, **others: Any) -> DebugFiles | None:
    if output_dir:
        return DebugFiles(output_dir=output_dir, **others)
    if others:
        raise ConfigurationError("debug_write_every is set without debug_dir=...: name the directory")
    return None


def _credentials(
    instead: Credentials | Callable[..., Credentials],
    client_id_env: str | None = None,
    client_secret_env: str | None = None,
    client_id_gcp_secret: str | None = None,
    client_secret_gcp_secret: str | None = None,
) -> Credentials:
    if isinstance(instead, Credentials):
        if client_id_env or client_secret_env or client_id_gcp_secret or client_secret_gcp_secret:
            raise ConfigurationError(
                "the credentials are given twice: drop the profile, or all of client_id_env, client_secret_env, "
                "client_id_gcp_secret and client_secret_gcp_secret"
            )
        return instead
    return instead(
        client_id=_secret("client_id", client_id_env, client_id_gcp_secret),
        client_secret=_secret("client_secret", client_secret_env, client_secret_gcp_secret),
    )


def _secret(name: str, variable: str | None, version: str | None) -> SecretValue:
    """Return where the worker finds a secret; a malformed version may be the secret itself, and is not repeated."""
    if variable and version:
        raise ConfigurationError(f"{name}_env and {name}_gcp_secret are both set: give one of them")
    if variable:
        return EnvironmentVariable(variable)
    if version is None:
        return None
    if not _SECRET_VERSION.fullmatch(version):
        raise ConfigurationError(
            f"{name}_gcp_secret names a version of a secret, never the secret itself: "
            "write it as projects/P/secrets/S/versions/latest"
        )
    return GcpSecret(version)

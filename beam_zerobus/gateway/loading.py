"""Settings of a gateway from a TOML file, the environment and flags; every fault is reported at once."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.gateway.settings import GatewaySettings
from beam_zerobus.options import DebugFiles, Retry, Telemetry
from beam_zerobus.options.fields import options_of
from beam_zerobus.workspace.credentials import EnvironmentVariable, OAuthClientCredentials
from beam_zerobus.workspace.secret import Secret
from beam_zerobus.writer.config import WriterConfig

__all__ = ["FLAGS", "PREFIX", "load_settings"]

PREFIX = "ZEROBUS_GATEWAY_"
_TOKEN_ENV = PREFIX + "TOKEN"
# What flags and the environment may set: everything but the token, which is read by `token_env`, and tables.
FLAGS = {option.name: option for option in options_of(GatewaySettings) if option.limits.checked}
_TABLE_OPTIONS = {option.name for option in options_of(WriterConfig)} - {"table", "key"}
_SECTIONS = ("gateway", "defaults", "tables")


def load_settings(
    file: str | None, environment: Mapping[str, str], flags: Mapping[str, Any], *, token_env: str = _TOKEN_ENV
) -> GatewaySettings:
    """Return the settings; flags count more than the environment, and that more than the file.

    Args:
        file: A TOML file with the tables ``[gateway]``, ``[defaults]`` and ``[tables."catalog.schema.table"]``.
        environment: Environment variables; ``ZEROBUS_GATEWAY_PORT`` sets `port`, and so on.
        flags: Options of `GatewaySettings` by name; None is not set.
        token_env: The environment variable that holds the callers' token.

    Raises:
        ConfigurationError: Something is wrong; the message lists every fault.
    """
    faults: list[str] = []
    content = _read(file) if file is not None else {}
    faults += _unknown(content, _SECTIONS, str(file))
    given = dict(_mapping(content, "gateway", faults))
    faults += _unknown(given, FLAGS, "[gateway]")
    given = {name: value for name, value in given.items() if name in FLAGS}
    for name, option in FLAGS.items():
        if (text := environment.get(PREFIX + name.upper())) is not None:
            with _collecting(faults, f"${PREFIX}{name.upper()}: "):
                given[name] = _parsed(text, option.kind)
    given |= {name: value for name, value in flags.items() if value is not None}
    defaults = _table_options(_mapping(content, "defaults", faults), "[defaults]", faults)
    tables = {
        name: _table_options(_mapping({name: options}, name, faults), f"[tables.{name!r}]", faults)
        for name, options in _mapping(content, "tables", faults).items()
    }
    if token_env != _TOKEN_ENV and token_env not in environment:
        faults.append(f"--token-env names the variable {token_env}, which is not set: set it, or leave --token-env out")
    token = Secret(environment[token_env]) if token_env in environment else None
    settings = None
    with _collecting(faults, ""):
        settings = GatewaySettings(**given, token=token, defaults=defaults, tables=tables)
    if faults or settings is None:
        raise ConfigurationError("\n- ".join(["The gateway's settings are wrong:", *faults]))
    return settings


def _read(file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(file).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read as TOML: {error}") from None


def _table_options(given: Mapping[str, Any], where: str, faults: list[str]) -> dict[str, Any]:
    """Return options of a writer; nested tables become the classes that declare their options."""
    faults += _unknown(given, _TABLE_OPTIONS, where)
    made: dict[str, Any] = {}
    for name, value in given.items():
        if name not in _TABLE_OPTIONS:
            continue
        make = _NESTED.get(name)
        if make is None or not isinstance(value, Mapping):
            made[name] = value
            continue
        with _collecting(faults, f"{where} {name}: "):
            made[name] = make(**value)
    return made


def _credentials(*, client_id_env: str, client_secret_env: str) -> OAuthClientCredentials:
    """Name the environment variables that hold a service principal; a file never holds the secret itself."""
    return OAuthClientCredentials(
        client_id=EnvironmentVariable(client_id_env), client_secret=EnvironmentVariable(client_secret_env)
    )


_NESTED: Mapping[str, Callable[..., Any]] = {
    "credentials": _credentials,
    "retry": Retry,
    "debug_files": DebugFiles,
    "telemetry": Telemetry,
}


def _mapping(content: Mapping[str, Any], name: str, faults: list[str]) -> Mapping[str, Any]:
    value = content.get(name, {})
    if isinstance(value, Mapping):
        return value
    faults.append(f"{name} is not a table of TOML: write [{name}]")
    return {}


def _unknown(given: Mapping[str, Any], known: Any, where: str) -> list[str]:
    return [f"{where} has no option {name!r}{_nearest(name, known)}" for name in given if name not in known]


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f": did you mean {close[0]!r}?" if close else f": use {', '.join(sorted(known))}"


def _parsed(text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ConfigurationError("write true or false")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError:
        raise ConfigurationError(f"write a number ({kind.__name__})") from None


@contextmanager
def _collecting(faults: list[str], about: str) -> Iterator[None]:
    try:
        yield
    except (ConfigurationError, TypeError) as error:
        lines = str(error).split("\n- ")
        faults += [f"{about}{line}" for line in (lines[1:] or lines)]

"""Settings of a gateway from a TOML file, the environment and flags; every fault is reported at once."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.gateway.keys import GROUPS, TABLE_OPTIONS, to_operator
from beam_zerobus.gateway.settings import ABOUT, GatewaySettings
from beam_zerobus.logs import get_logger
from beam_zerobus.options.fields import options_of
from beam_zerobus.options.wording import reworded
from beam_zerobus.workspace.credentials import Credentials, EnvironmentVariable
from beam_zerobus.workspace.databricks_profile import DatabricksProfile
from beam_zerobus.workspace.profile_flag import profile_of
from beam_zerobus.workspace.remedies import credentials_with
from beam_zerobus.workspace.secret import Secret

__all__ = ["FLAGS", "PREFIX", "load_settings"]

_log = get_logger(__name__)

PREFIX = "ZEROBUS_GATEWAY_"
_TOKEN_ENV = PREFIX + "TOKEN"
# What flags and the environment may set: everything but the token, which is read by `token_env`, and tables.
FLAGS = {option.name: option for option in options_of(GatewaySettings) if option.limits.checked}
_IN_NO_FILE = {"token": f"holds no secret: leave 'token' out, and set the variable {_TOKEN_ENV}"}
_SECTIONS = ("gateway", "defaults", "tables")
_oauth = credentials_with(
    "in the gateway's environment, or name other variables, or a profile, as credentials in its file, or give --profile"
)


def load_settings(
    file: str | None,
    environment: Mapping[str, str],
    flags: Mapping[str, Any],
    *,
    token_env: str = _TOKEN_ENV,
    profile: str | None = None,
) -> GatewaySettings:
    """Return the settings; flags count more than the environment, and that more than the file.

    Args:
        file: A TOML file with the tables ``[gateway]``, ``[defaults]`` and ``[tables."catalog.schema.table"]``.
        environment: Environment variables; ``ZEROBUS_GATEWAY_PORT`` sets `port`, and so on.
        flags: Options of `GatewaySettings` by name; None is not set.
        token_env: The environment variable that holds the callers' token.
        profile: The profile to sign in with at Databricks, for each table without credentials of its own.

    Raises:
        ConfigurationError: Something is wrong; the message lists every fault.
    """
    faults: list[str] = []
    content = _read(file) if file is not None else {}
    faults += _unknown(content, _SECTIONS, str(file))
    given = dict(_mapping(content, "gateway", faults))
    faults += _unknown(given, FLAGS, "[gateway]")
    given = {name: value for name, value in given.items() if name in FLAGS}
    _warn_of_unused(environment, token_env)
    for name, option in FLAGS.items():
        if (text := environment.get(PREFIX + name.upper())) is not None:
            with _collecting(faults, f"${PREFIX}{name.upper()}: "):
                given[name] = _parsed(text, option.kind)
    given |= {name: value for name, value in flags.items() if value is not None}
    defaults = _table_options(_mapping(content, "defaults", faults), "[defaults]", faults)
    if profile is not None or "credentials" not in defaults:
        defaults["credentials"] = profile_of(profile) or _oauth()
    tables = _tables(_mapping(content, "tables", faults), faults)
    if token_env != _TOKEN_ENV and token_env not in environment:
        faults.append(f"--token-env names the variable {token_env}, which is not set: set it, or leave --token-env out")
    token = Secret(environment[token_env]) if token_env in environment else None
    settings = None
    with _collecting(faults, ""):
        settings = GatewaySettings(**given, token=token, defaults=defaults, tables=tables)
    if faults or settings is None:
        raise ConfigurationError.of_faults(faults, about=ABOUT)
    return settings


def _read(file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(file).read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read ({error.strerror}): check its name, and that you may read it"
        ) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read as TOML: {error}; correct it") from None


def _tables(given: Mapping[str, Any], faults: list[str]) -> dict[str, dict[str, Any]]:
    """Return the options of each table."""
    tables = {}
    for name, options in given.items():
        if not isinstance(options, Mapping) or "." not in name:
            faults.append(
                f'tables has {name!r}: write the whole name in quotes, such as [tables."main.iot.air_quality"]'
            )
        else:
            tables[name] = _table_options(options, f"[tables.{name!r}]", faults)
    return tables


def _table_options(given: Mapping[str, Any], where: str, faults: list[str]) -> dict[str, Any]:
    """Return options of a writer; nested tables become the classes that declare their options."""
    faults += _unknown(given, TABLE_OPTIONS, where)
    made: dict[str, Any] = {}
    for name, value in given.items():
        if name not in TABLE_OPTIONS:
            continue
        make = _NESTED.get(name)
        if make is None:
            made[name] = value
            continue
        about = f"{where} {name}"
        if not isinstance(value, Mapping):
            faults.append(f"{about} is not a table of TOML: write {name} = {{ {_NESTED_OPTIONS[name][0]} = ... }}")
            continue
        if wrong_names := [*_unknown(value, _NESTED_OPTIONS[name], about), *_missing(value, name, about)]:
            faults += wrong_names
            continue
        with _collecting(faults, f"{where} " if name in GROUPS else f"{about}: "), reworded(to_operator):
            made[name] = make(**value)
    return made


def _credentials(
    *, client_id_env: str | None = None, client_secret_env: str | None = None, profile: str | None = None
) -> Credentials:
    """Name the environment variables that hold a service principal, or a profile; no file of ours holds the secret."""
    given = {"client_id_env": client_id_env, "client_secret_env": client_secret_env, "profile": profile}
    for name, value in given.items():
        if value is not None and not (isinstance(value, str) and value):
            raise ConfigurationError(f"{name} is not text: give a name")
    if profile is not None and client_id_env is client_secret_env is None:
        return DatabricksProfile(profile=profile)
    if profile is not None or client_id_env is None or client_secret_env is None:
        raise ConfigurationError("give client_id_env and client_secret_env, or profile alone")
    return _oauth(client_id=EnvironmentVariable(client_id_env), client_secret=EnvironmentVariable(client_secret_env))


_NESTED: Mapping[str, Callable[..., Any]] = {"credentials": _credentials, **GROUPS}
_NESTED_OPTIONS: Mapping[str, Sequence[str]] = {
    "credentials": ("client_id_env", "client_secret_env", "profile"),
    **{name: [option.name for option in options_of(declared)] for name, declared in GROUPS.items()},
}


def _mapping(content: Mapping[str, Any], name: str, faults: list[str]) -> Mapping[str, Any]:
    value = content.get(name, {})
    if isinstance(value, Mapping):
        return value
    faults.append(f"{name} is not a table of TOML: write [{name}]")
    return {}


def _unknown(given: Mapping[str, Any], known: Any, where: str) -> list[str]:
    return [
        f"{where} {_IN_NO_FILE[name]}"
        if name in _IN_NO_FILE
        else f"{where} has no option {name!r}{_nearest(name, known)}"
        for name in given
        if name not in known
    ]


def _missing(given: Mapping[str, Any], nested: str, where: str) -> list[str]:
    """Return which options without a default are missing."""
    options = options_of(GROUPS[nested]) if nested in GROUPS else ()
    required = [option.name for option in options if option.default is MISSING]
    return [f"{where} needs {name}: add it" for name in required if name not in given]


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f": did you mean {close[0]!r}?" if close else f": use {', '.join(sorted(known))}"


def _warn_of_unused(environment: Mapping[str, str], token_env: str) -> None:
    """Log which variables are nearly one of ours; others may be those of a Kubernetes Service, or of clients."""
    known = {_TOKEN_ENV, token_env, *(PREFIX + name.upper() for name in FLAGS)}
    for name in environment:
        if name.startswith(PREFIX) and name not in known:
            for close in difflib.get_close_matches(name[len(PREFIX) :], [one[len(PREFIX) :] for one in known], 1, 0.7):
                _log.warning("The variable %s is not used: did you mean %s%s?", name, PREFIX, close)


def _parsed(text: str, kind: type) -> Any:
    if text.startswith("tcp://"):
        raise ConfigurationError(
            "Kubernetes has set it for a Service of this name: set enableServiceLinks: false in the pod, or name the "
            "Service otherwise"
        )
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
    except ConfigurationError as error:
        faults += [f"{about}{fault}" for fault in error.faults or (str(error),)]

"""What an option is: its name, type, limits, default and text, read from the dataclass that declares it.

A frozen dataclass is the one place where an option is declared. The field has the name, type and default, its metadata
(`limits`) what the type cannot express, and the class's docstring has the text. Checks, flags, Beam YAML and the table
of options in the documentation are derived from there.
"""

from __future__ import annotations

import inspect
import os
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import Any, Literal

from beam_zerobus.errors import ConfigurationError

__all__ = ["Option", "check_options", "faults_of_options", "limits", "options_of", "reject", "shown", "texts_in"]

_KEY = "beam_zerobus"
_LARGEST = 2**63 - 1
_LONGEST = 86_400.0  # a day; waiting functions of the standard library fail far above it
_SHOWN_DIGITS = 40
_SHOWN_CHARACTERS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limits:
    at_least: int = 1
    at_most: int = _LARGEST
    may_be_zero: bool = False
    flat: str | None = None
    checked: bool = True


def limits(
    *,
    at_least: int = 1,
    at_most: int = _LARGEST,
    may_be_zero: bool = False,
    flat: str | None = None,
    checked: bool = True,
) -> Mapping[str, Any]:
    """Return the metadata of an option's field.

    Args:
        at_least: The smallest whole number; for `int`.
        at_most: The largest whole number; for `int`.
        may_be_zero: Zero seconds are allowed; for `float`.
        flat: The option's name as a flag and in Beam YAML; None if it is not available there.
        checked: The option is checked by its type and limits; otherwise its class checks it.
    """
    return {_KEY: _Limits(at_least=at_least, at_most=at_most, may_be_zero=may_be_zero, flat=flat, checked=checked)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option, as its field declares it.

    Attributes:
        name: The field's name.
        types: The types that are allowed, without None.
        choices: The allowed values; empty if the type is not a Literal.
        may_be_none: None is allowed.
        default: The default; `dataclasses.MISSING` if the option is required.
        text: What it does, from the class's docstring.
    """

    name: str
    types: tuple[Any, ...]
    choices: tuple[Any, ...]
    may_be_none: bool
    default: Any
    text: str
    limits: _Limits = field(repr=False)

    @property
    def flat_name(self) -> str | None:
        """The name as a flag and in Beam YAML; None if the option is not available there."""
        return self.limits.flat

    @property
    def kind(self) -> type:
        """The type as a flag and in Beam YAML: bool, int, float, Mapping or Sequence; str for everything else."""
        first = typing.get_origin(self.types[0]) or self.types[0]
        return first if first in (bool, int, float, Mapping, Sequence) else str

    def remedy(self, value: object) -> str | None:
        """Return what to set in place of `value`, or None if `value` is allowed."""
        if not self.limits.checked or (value is None and self.may_be_none):
            return None
        remedy = self._remedy(value)
        return f"{remedy}, or None" if remedy and self.may_be_none else remedy

    def _remedy(self, value: object) -> str | None:
        if self.choices:
            allowed = isinstance(value, str) and value in self.choices
            return None if allowed else f"use {_listed(self.choices)}"
        kinds = [typing.get_origin(kind) or kind for kind in self.types]
        for kind, check in _CHECKS.items():
            if kind in kinds:
                return check(value, self.limits)
        return None if isinstance(value, tuple(kinds)) else f"give beam_zerobus.{kinds[0].__name__}(...)"


def _whole_number(value: object, limits: _Limits) -> str | None:
    low, high = limits.at_least, limits.at_most
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return None
    return f"set a whole number of at least {low}" if high == _LARGEST else f"set a whole number from {low} to {high}"


def _seconds(value: object, limits: _Limits) -> str | None:
    zero = limits.may_be_zero
    if isinstance(value, int | float) and not isinstance(value, bool):
        in_range = (value >= 0 if zero else value > 0) and value <= _LONGEST  # false for NaN and infinity
        if in_range:
            return None
    return f"set seconds {'of at least' if zero else 'above'} 0 and at most {_LONGEST:.0f}, which is a day"


def _truth(value: object, _limits: _Limits) -> str | None:
    return None if isinstance(value, bool) else "set True or False"


def _mapping_of_text(value: object, _limits: _Limits) -> str | None:
    allowed = isinstance(value, Mapping) and all(
        isinstance(key, str) and isinstance(text, str) for key, text in value.items()
    )
    return None if allowed else "give a mapping of text to text"


def _list_of_text(value: object, _limits: _Limits) -> str | None:
    allowed = (
        isinstance(value, Sequence)
        and not isinstance(value, str | bytes)
        and all(isinstance(name, str) and name for name in value)
    )
    return None if allowed else "give a list of names"


def _path(value: object, _limits: _Limits) -> str | None:
    allowed = isinstance(value, str | os.PathLike) and bool(os.fspath(value))
    return None if allowed else "name a directory"


def _text(value: object, _limits: _Limits) -> str | None:
    return None if isinstance(value, str) and value else "give text that is not empty"


_CHECKS: Mapping[Any, Callable[[object, _Limits], str | None]] = {
    bool: _truth,
    int: _whole_number,
    float: _seconds,
    Mapping: _mapping_of_text,
    Sequence: _list_of_text,
    os.PathLike: _path,
    str: _text,
}


def options_of(declared_by: type) -> tuple[Option, ...]:
    """Return the options that a dataclass declares, in their order.

    Example:
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Baking:
        ...     '''How bread is baked.
        ...
        ...     Attributes:
        ...         minutes: Minutes in the oven.
        ...     '''
        ...     minutes: int = field(default=50, metadata=limits(at_least=10))
        >>> [(option.name, option.default, option.text) for option in options_of(Baking)]
        [('minutes', 50, 'Minutes in the oven.')]
    """
    return _options_of(declared_by)


@cache
def _options_of(declared_by: type) -> tuple[Option, ...]:
    hints = typing.get_type_hints(declared_by)
    texts = texts_in(declared_by)
    return tuple(
        _option(declared.name, hints[declared.name], declared, texts.get(declared.name, ""))
        for declared in fields(declared_by)
    )


def _option(name: str, hint: Any, declared: Any, text: str) -> Option:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    members = typing.get_args(hint) if union else (hint,)
    found = tuple(member for member in members if member is not type(None))
    literal = typing.get_origin(found[0]) is Literal
    default = declared.default if declared.default_factory is MISSING else declared.default_factory()
    return Option(
        name=name,
        types=found,
        choices=typing.get_args(found[0]) if literal and len(found) == 1 else (),
        may_be_none=type(None) in members,
        default=default,
        text=text,
        limits=declared.metadata.get(_KEY, _Limits()),
    )


def texts_in(documented: type) -> dict[str, str]:
    """Return the text of each argument or attribute in a class's Google-style docstring; empty without docstrings."""
    section = re.search(r"^(?:Args|Attributes):\n((?: .*\n?|\n)*)", inspect.getdoc(documented) or "", re.MULTILINE)
    entries = re.findall(r"^ {4}(\w+): ((?:.*\n?)(?: {8}.*\n?)*)", section[1] if section else "", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def check_options(declared_by: type, values: Mapping[str, Any], *, prefix: str = "") -> None:
    """Check the values of a class's options.

    Args:
        declared_by: The dataclass that declares the options.
        values: The values by name; options without a value are not checked.
        prefix: Put before an option's name in the message.

    Raises:
        ConfigurationError: A value is wrong; the message names the option and the remedy.
    """
    for option in options_of(declared_by):
        if option.name in values:
            value = values[option.name]
            remedy = option.remedy(value)
            if remedy is not None:
                reject(f"{prefix}{option.name}", value, remedy, show_text=bool(option.choices))


def faults_of_options(declared_by: type, values: Mapping[str, Any]) -> dict[str, str]:
    """Return the options with a wrong value, and what `check_options` says of each.

    Example:
        >>> from beam_zerobus import Retry
        >>> faults_of_options(Retry, {"max_retries": -1, "max_backoff": 30.0})
        {'max_retries': 'max_retries=-1: set a whole number of at least 0'}
    """
    faults = {}
    for name, value in values.items():
        try:
            check_options(declared_by, {name: value})
        except ConfigurationError as error:
            faults[name] = str(error)
    return faults


def reject(option: str, value: object, remedy: str, *, show_text: bool = False) -> typing.NoReturn:
    """Raise ConfigurationError for the value of an option.

    Args:
        option: The option's name.
        value: The wrong value; the message has only its type where it may hold a secret.
        remedy: What to set instead.
        show_text: The option takes names, so a short text that is not a URL may be shown.

    Example:
        >>> reject("wire_format", "avro", 'use "proto"', show_text=True)
        Traceback (most recent call last):
        beam_zerobus.errors.ConfigurationError: wire_format='avro': use "proto"
    """
    text = shown(value, show_text=show_text)
    named = f"{option}={text}" if text is not None else f"{option} (of type {type(value).__name__})"
    raise ConfigurationError(f"{named}: {remedy}")


def shown(value: object, *, show_text: bool = True) -> str | None:
    """Return a value as a message may show it; None where it may hold a secret, or cannot be shown.

    Example:
        >>> shown("avro"), shown(5), shown("https://user:password@host"), shown(object())
        ("'avro'", '5', None, None)
    """
    # Exact types: the repr of any other class may fail, or hold anything. URLs hold passwords and tokens.
    if value is None or type(value) in (bool, float):
        return repr(value)
    if isinstance(value, int) and type(value) is int:
        return repr(value) if abs(value) < 10**_SHOWN_DIGITS else None
    if show_text and isinstance(value, str) and type(value) is str:
        return repr(value) if len(value) <= _SHOWN_CHARACTERS and not set(value) & set("@?:") else None
    return None


def _listed(choices: tuple[Any, ...]) -> str:
    quoted = [f'"{choice}"' for choice in choices]
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}"

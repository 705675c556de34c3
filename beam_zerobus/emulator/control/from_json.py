"""Bodies of requests: frozen dataclasses, read from JSON with strict types, and described as JSON Schema."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal

from beam_zerobus.errors import ConfigurationError

__all__ = ["read_json", "schema_of"]

_NAMES: Mapping[Any, str] = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def read_json(kind: type, value: object) -> Any:
    """Return an object of a dataclass, from its parsed JSON.

    Raises:
        ConfigurationError: A member is unknown, is missing or has another type; or the class rejects a value.

    Example:
        >>> from beam_zerobus.emulator.faults import Faults
        >>> read_json(Faults, {"script": [{"kind": "drop", "at_call": 2}]}).script[0].at
        2
    """
    return _read(kind, value, kind.__name__)


def _read(hint: Any, value: object, name: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _object(hint, value, name)
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        element = typing.get_args(hint)[0]
        return tuple(_read(element, one, f"{name}[{index}]") for index, one in enumerate(value))
    if not _fits(hint, value):
        raise ConfigurationError(f"{name} must be {_described(hint)}")
    return value


def _object(kind: Any, value: object, name: str) -> Any:
    members = _members(kind)
    if not isinstance(value, dict):
        raise ConfigurationError(f"{name} must be an object")
    unknown = sorted(set(value) - set(members))
    if unknown:
        raise ConfigurationError(f"{name} has no member {unknown[0]!r}; there are: {', '.join(members)}")
    missing = [member for member, (_, required) in members.items() if required and member not in value]
    if missing:
        raise ConfigurationError(f"{name}.{missing[0]} is missing")
    return kind(**{member: _read(members[member][0], one, f"{name}.{member}") for member, one in value.items()})


def _members(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Return type and whether it is required of each field that JSON can have."""
    hints = typing.get_type_hints(kind)
    return {
        field.name: (hints[field.name], field.default is dataclasses.MISSING)
        for field in dataclasses.fields(kind)
        if Callable not in (typing.get_origin(one) for one in _choices(hints[field.name]))
    }


def _choices(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _fits(hint: Any, value: object) -> bool:
    kinds = _choices(hint)
    if hint is Any:
        return value is None or isinstance(value, str | bool | int | float)
    if isinstance(value, str) and value in _words(hint):
        return True
    return type(value) in kinds or (float in kinds and type(value) is int)


def _words(hint: Any) -> tuple[str, ...]:
    """Return the words that a Literal allows, also one beside null."""
    return tuple(
        word for kind in _choices(hint) if typing.get_origin(kind) is Literal for word in typing.get_args(kind)
    )


def _described(hint: Any) -> str:
    if hint is Any:
        return "a string, a number, a boolean or null"
    if _words(hint):
        return f"one of {', '.join(_words(hint))}"
    return " or ".join("array" if typing.get_origin(kind) is tuple else _NAMES[kind] for kind in _choices(hint))


def schema_of(hint: Any) -> dict[str, Any]:
    """Return the JSON Schema of a dataclass, or of the type of one of its fields.

    Example:
        >>> schema_of(tuple[str, ...])
        {'type': 'array', 'items': {'type': 'string'}}
    """
    if hint is Any:
        return {}
    if dataclasses.is_dataclass(hint):
        members = _members(hint)
        required = [name for name, (_, needed) in members.items() if needed]
        properties = {name: schema_of(member) for name, (member, _) in members.items()}
        described = {"type": "object", "properties": properties, "additionalProperties": False}
        return {**described, "required": required} if required else described
    if typing.get_origin(hint) is tuple:
        return {"type": "array", "items": schema_of(typing.get_args(hint)[0])}
    if _words(hint):
        return {"enum": [*_words(hint), *([None] if type(None) in _choices(hint) else [])]}
    names = [_NAMES[kind] for kind in _choices(hint)]
    return {"type": names[0] if len(names) == 1 else names}

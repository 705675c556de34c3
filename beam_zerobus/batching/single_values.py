"""A single Python value as what pyarrow converts exactly, or the reason why its column cannot hold it."""

from __future__ import annotations

import base64
import binascii
import json
import math
import uuid
from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np

from beam_zerobus.batching.json_objects import json_text
from beam_zerobus.batching.misfit import MisfitError, WrongTypeError
from beam_zerobus.schema import RowErrorType

__all__ = ["base64_text", "binary", "boolean", "is_missing", "json_variant", "present", "text", "variant"]

_MISSING_TYPES = frozenset({"NaTType", "NAType"})


def is_missing(value: Any) -> bool:
    """Return whether a value is a null of Python, pandas or numpy."""
    if value is None or type(value).__name__ in _MISSING_TYPES:
        return True
    return isinstance(value, np.datetime64) and bool(np.isnat(value))


def present(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a converter that keeps nulls (of Python, pandas, numpy) and converts the value of an enum member."""

    def one(value: Any) -> Any:
        if isinstance(value, Enum):
            value = value.value
        return None if is_missing(value) else convert(value)

    return one


def boolean(value: Any) -> bool:
    """Return a value of a BOOLEAN column."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise WrongTypeError("does not fit; pass a bool")


def text(value: Any) -> str:
    """Return a value of a STRING column."""
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            raise MisfitError(
                "is not UTF-8; decode it first, or use BINARY in the table", RowErrorType.INVALID_UTF8
            ) from None
    if isinstance(value, uuid.UUID):
        return str(value)
    if not isinstance(value, str):
        missing = isinstance(value, float) and math.isnan(value)
        raise MisfitError(
            "is NaN, which pandas uses for a missing value; pass None" if missing else "does not fit; pass a str"
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise MisfitError("holds half a surrogate pair; correct the row", RowErrorType.INVALID_UTF8) from None
    return str(value)


def variant(value: Any) -> str:
    """Return a value of a VARIANT column: JSON text as it is, any other value as JSON text."""
    return _variant(value, _python_as_json)


def json_variant(value: Any) -> str:
    """Return a value of a VARIANT column, from JSON: its numbers stay as they are in the text."""
    return _variant(value, json_text)


def _variant(value: Any, write: Callable[[Any], str]) -> str:
    if isinstance(value, str | bytes | bytearray | memoryview):
        return text(value)
    try:
        return write(value)
    except (TypeError, ValueError, RecursionError):
        raise MisfitError("cannot be written as JSON; pass JSON text, or dicts, lists, numbers and text") from None


def _python_as_json(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except TypeError:
        return json.dumps(_without_enums(value), allow_nan=False, separators=(",", ":"))


def _without_enums(value: Any) -> Any:
    """Return a value with what `present` does to a single one done to all that it holds."""
    if isinstance(value, dict):
        return {_without_enums(key): _without_enums(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_enums(inner) for inner in value]
    return present(lambda plain: plain)(value)


def binary(value: Any) -> bytes:
    """Return a value of a BINARY column."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise WrongTypeError("does not fit; pass bytes")


def base64_text(value: Any) -> bytes:
    """Return a value of a BINARY column, from JSON."""
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise MisfitError(
                "is not base64, which JSON needs for BINARY; correct the row", RowErrorType.INVALID_TEXT
            ) from None
    return binary(value)

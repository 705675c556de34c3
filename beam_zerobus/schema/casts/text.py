"""Casts to STRING, VARIANT and BINARY."""

from __future__ import annotations

import uuid

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.schema.casts.base import Cast, UnfitError, from_views, without
from beam_zerobus.schema.reasons import Place, Reason, RowErrorType
from beam_zerobus.schema.types import Primitive

__all__ = ["checked_text", "is_utf8", "not_utf8", "to_binary", "to_text", "uuid_text"]

_TEXT_TYPES = (pa.string(), pa.large_string())
_NEXT = r"[\x80-\xbf]"
# The well-formed sequences of Unicode's table 3-7; Arrow matches the bytes of binaries.
_UTF8 = (
    rf"^(?:[\x00-\x7f]|[\xc2-\xdf]{_NEXT}|\xe0[\xa0-\xbf]{_NEXT}|[\xe1-\xec\xee\xef]{_NEXT}{{2}}|\xed[\x80-\x9f]{_NEXT}"
    rf"|\xf0[\x90-\xbf]{_NEXT}{{2}}|[\xf1-\xf3]{_NEXT}{{3}}|\xf4[\x80-\x8f]{_NEXT}{{2}})*$"
)


def to_text(arrow_type: pa.DataType, delta_type: Primitive, path: str) -> Cast:
    """Choose the cast to STRING or VARIANT; both hold UTF-8."""
    reason = Reason(
        RowErrorType.INVALID_UTF8,
        f"column {path!r} is {delta_type}: a value of Arrow type {arrow_type} is not UTF-8; "
        "decode it first, or use BINARY in the table",
    )
    if arrow_type in _TEXT_TYPES:
        return lambda array, place: checked_text(array, reason, place)
    if pa.types.is_string_view(arrow_type):
        return lambda array, place: checked_text(from_views(array), reason, place)
    if pa.types.is_large_binary(arrow_type):
        return lambda array, place: checked_text(array.view(pa.large_string()), reason, place)
    if pa.types.is_binary(arrow_type):
        return lambda array, place: checked_text(array.view(pa.string()), reason, place)
    if _is_binary(arrow_type):
        return lambda array, place: checked_text(_as_bytes(array).view(pa.large_string()), reason, place)
    remedy = "convert it to JSON text" if delta_type is Primitive.VARIANT else "cast the column to string"
    raise UnfitError(f"only Arrow's strings, and binaries that hold UTF-8, fit; {remedy}")


def to_binary(arrow_type: pa.DataType, _delta_type: Primitive, _path: str) -> Cast | None:
    """Choose the cast to BINARY."""
    if pa.types.is_binary(arrow_type) or pa.types.is_large_binary(arrow_type):
        return None
    if _is_binary(arrow_type):
        return lambda array, _: _as_bytes(array)
    raise UnfitError("only Arrow's binaries fit; cast the column to binary, or decode it if it holds base64")


def uuid_text(raw: pa.Array) -> pa.Array:
    """Return UUIDs, each of 16 bytes, in their usual form of text."""
    return pa.array([None if value is None else str(uuid.UUID(bytes=value)) for value in raw.to_pylist()], pa.string())


def _is_binary(arrow_type: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_binary(arrow_type)
        or types.is_large_binary(arrow_type)
        or types.is_binary_view(arrow_type)
        or (types.is_fixed_size_binary(arrow_type) and not types.is_decimal(arrow_type))
    )


def _as_bytes(array: pa.Array) -> pa.Array:
    return from_views(array).cast(pa.large_binary())


def checked_text(text: pa.Array, reason: Reason, place: Place) -> pa.Array:
    """Reject the values that are not UTF-8."""
    if _is_ascii(text):
        return text
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        raw = text.view(pa.binary() if pa.types.is_string(text.type) else pa.large_binary())
        bad = not_utf8(raw)
        return without(raw, bad, reason, place).view(text.type)
    return text


def _is_ascii(text: pa.Array) -> bool:
    """Return whether all bytes are ASCII: one pass over the buffer, ten times as fast as a full validation."""
    _, offset_buffer, data = text.buffers()
    if len(text) == 0 or data is None or data.size == 0:
        return True
    width = np.dtype(np.int32 if pa.types.is_string(text.type) else np.int64)
    offsets = np.frombuffer(offset_buffer, width, count=len(text) + 1, offset=text.offset * width.itemsize)
    shown = np.frombuffer(data, dtype=np.int8)[offsets[0] : offsets[-1]]
    return bool(shown.size == 0 or shown.min() >= 0)


def not_utf8(raw: pa.Array) -> np.ndarray:
    r"""Mark the values of a binary array that are not UTF-8.

    Example:
        >>> not_utf8(pa.array(["é".encode(), b"\xe9", None])).tolist()
        [False, True, False]
    """
    return ~np.asarray(pc.fill_null(pc.match_substring_regex(raw, _UTF8), True))


def is_utf8(value: bytes) -> bool:
    r"""Return whether bytes are UTF-8; an exception for each that is not would cost far more.

    Example:
        >>> is_utf8("é".encode()), is_utf8(b"\xe9")
        (True, False)
    """
    return value.decode(errors="ignore").encode() == value

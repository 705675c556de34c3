"""Values as JSON that people read and correct."""

from __future__ import annotations

import base64
import datetime as dt
import math
from typing import Any

import numpy as np
from apache_beam.utils.timestamp import Timestamp

from beam_zerobus.schema.float_names import float_name
from beam_zerobus.sink.dead_letters.values import as_python, fields_of, items_of, key_name
from beam_zerobus.sink.raw_text import RawText

__all__ = ["plain"]

_MANY_DIGITS = 1 << 14_000  # Python writes and reads no more than 4,300 digits


def plain(value: Any) -> Any:
    """Return a value as JSON that people read and correct: base64 for bytes, ISO 8601 for times.

    >>> plain({"id": 1, "raw": b"ab", "on": dt.date(2026, 1, 31)})
    {'id': 1, 'raw': 'YWI=', 'on': '2026-01-31'}
    """
    if value is None or type(value) is str:  # first what is most frequent
        return value
    value = as_python(value)
    if (fields := fields_of(value)) is not None:
        named = {key_name(key): plain(inner) for key, inner in fields.items()}
        return named if len(named) == len(fields) else [[key_name(key), plain(inner)] for key, inner in fields.items()]
    if (items := items_of(value)) is not None:
        return [plain(inner) for inner in items]
    return _leaf(_number(value) if isinstance(value, np.generic) else value)


def _leaf(value: Any) -> Any:
    if type(value) is int:
        return value if abs(value) < _MANY_DIGITS else hex(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else float_name(value)
    if isinstance(value, bytes) and not isinstance(value, RawText):
        return base64.b64encode(value).decode()
    if isinstance(value, Timestamp):
        return _iso(value)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | str) else str(value)


def _number(value: np.generic) -> Any:
    if isinstance(value, np.timedelta64):  # an integer to numpy
        return str(value)
    for kind, python in ((np.bool_, bool), (np.integer, int), (np.floating, float)):
        if isinstance(value, kind):
            return python(value)
    return str(value)


def _iso(value: Timestamp) -> str | int:
    try:
        return value.to_utc_datetime(has_tz=True).isoformat()
    except (OverflowError, ValueError):
        return int(value.micros)  # beyond the years of Python's datetimes; the sink takes microseconds, too

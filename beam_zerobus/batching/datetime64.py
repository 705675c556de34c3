"""numpy's times as microseconds since 1970, in Python's integers: numpy's own casts wrap around silently."""

from __future__ import annotations

import numpy as np

__all__ = ["exact_micros"]

_SECOND = 1_000_000
_MICROS = {"W": 604_800 * _SECOND, "D": 86_400 * _SECOND, "h": 3_600 * _SECOND, "m": 60 * _SECOND, "s": _SECOND}
_MICROS |= {"ms": 1_000, "us": 1}
_PER_MICRO = {"ns": 10**3, "ps": 10**6, "fs": 10**9, "as": 10**12}
_BEYOND = 1 << 63  # no timestamp of a table
_YEARS = 1_000_000


def exact_micros(moment: np.datetime64) -> int | None:
    """Return microseconds since 1970, as many as there are; None where they are not whole.

    >>> exact_micros(np.datetime64("1970-01-01T00:00:01")), exact_micros(np.datetime64(1, "ns"))
    (1000000, None)
    """
    unit, step = np.datetime_data(moment.dtype)
    number = int(moment.astype(np.int64)) * step
    if unit in ("Y", "M"):
        if abs(number) > _YEARS:
            return _BEYOND if number > 0 else -_BEYOND - 1
        number, unit = int(moment.astype("datetime64[D]").astype(np.int64)), "D"
    micros, rest = divmod(number * _MICROS.get(unit, 1), _PER_MICRO.get(unit, 1))
    return None if rest else micros

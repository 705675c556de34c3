"""How values without a time zone or a unit become moments, where the user says so."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa

from beam_zerobus.errors import ConfigurationError

__all__ = ["UNIT_NAMES", "EpochUnit", "TimeRules", "check_timezone", "in_zone"]

EpochUnit: TypeAlias = Literal["s", "ms", "us"]

UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}

_EPOCH = dt.datetime(1970, 1, 1)
_DAY = 86_400_000_000
_UTC = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRules:
    """How values of TIMESTAMP and TIMESTAMP_NTZ columns without a time zone or a unit are read.

    Attributes:
        assume_timezone: The time zone of values for TIMESTAMP that have none; None rejects them.
        epoch_unit: The unit of whole numbers, counted from 1970; None takes Python's as microseconds and rejects
            Arrow's.
    """

    assume_timezone: str | None = None
    epoch_unit: EpochUnit | None = None


def check_timezone(name: str | None) -> None:
    """Raise ConfigurationError unless `name` is None or a time zone that is known here.

    Example:
        >>> check_timezone("Europe/Berlin")
        >>> check_timezone("CEST")
        Traceback (most recent call last):
        beam_zerobus.errors.ConfigurationError: assume_timezone is not a time zone that is known here: \
use a name such as "UTC" or "Europe/Berlin"
    """
    if name is None or name == "UTC":
        return
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigurationError(
            'assume_timezone is not a time zone that is known here: use a name such as "UTC" or "Europe/Berlin"'
        ) from None


def in_zone(naive: pa.Array, zone: str) -> tuple[pa.Array, np.ndarray]:
    """Return timestamps that a zone's clocks show as moments in UTC.

    Python's zones decide, since Arrow's kernel knows no summer time after 2037.

    Args:
        naive: Timestamps without a time zone, in microseconds.
        zone: The name of the time zone.

    Returns:
        The moments, and a mask of those that the clocks show twice or never.

    Raises:
        OverflowError: A timestamp is outside the years 1 to 9999.

    Example:
        >>> moments, unclear = in_zone(pa.array([0], pa.timestamp("us")), "Europe/Berlin")
        >>> moments.cast(pa.int64()).to_pylist(), unclear.tolist()
        ([-3600000000], [False])
    """
    if zone == "UTC":
        return naive.view(_UTC), np.zeros(len(naive), dtype=bool)
    info = zoneinfo.ZoneInfo(zone)
    clock = np.asarray(naive.view(pa.int64()).fill_null(0))
    days, day_of = np.unique(clock // _DAY, return_inverse=True)
    # On most days the offset does not change, so that few are looked up.
    of_days = [_offset(int(day) * _DAY, (int(day) + 1) * _DAY - 1, info) for day in days]
    offsets = np.array([offset or 0 for offset in of_days], dtype=np.int64)[day_of]
    unclear = np.array([offset is None for offset in of_days], dtype=bool)[day_of]
    for position in np.flatnonzero(unclear):
        moment = int(clock[position])
        if (offset := _offset(moment, moment, info)) is not None:
            offsets[position], unclear[position] = offset, False
    return pa.array(clock - offsets, mask=np.asarray(naive.is_null())).view(_UTC), unclear


def _offset(first: int, last: int, info: zoneinfo.ZoneInfo) -> int | None:
    """Return the offset from UTC, in microseconds, that two times of the clock have in common; None if it changes."""
    found = {
        (_EPOCH + dt.timedelta(microseconds=clock)).replace(tzinfo=info, fold=fold).utcoffset()
        for clock in {first, last}
        for fold in (0, 1)
    }
    offset = found.pop()
    return None if found or offset is None else offset // dt.timedelta(microseconds=1)

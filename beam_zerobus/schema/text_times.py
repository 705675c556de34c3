"""Text to timestamps, where the text may lack a time zone, or be a number since 1970."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.schema.arrow import canonical_type
from beam_zerobus.schema.reasons import RowErrorType
from beam_zerobus.schema.texts import Misfits, read_text
from beam_zerobus.schema.time_rules import EpochUnit, TimeRules, in_zone
from beam_zerobus.schema.types import Primitive

__all__ = ["read_times"]

_MICROSECONDS: dict[EpochUnit, int] = {"s": 1_000_000, "ms": 1_000, "us": 1}
_INT64_MAX = 2**63 - 1


def read_times(
    text: pa.Array, delta_type: Primitive, times: TimeRules, *, trim: bool = False
) -> tuple[pa.Array, Misfits, np.ndarray]:
    """Read text as TIMESTAMP or TIMESTAMP_NTZ.

    Args:
        text: An array of strings.
        delta_type: The type.
        times: What the text may leave open.
        trim: Ignore blanks around values.

    Returns:
        As of `read_text`; and a mask of the timestamps, among those that are rejected, which the clocks of
        `assume_timezone` show twice or never.

    Example:
        >>> rules = TimeRules(assume_timezone="Europe/Berlin", epoch_unit="s")
        >>> text = pa.array(["2026-01-01T01:00:00", "1767225600", "soon"])
        >>> values, misfits, unclear = read_times(text, Primitive.TIMESTAMP, rules)
        >>> values.cast(pa.int64()).to_pylist(), misfits[RowErrorType.INVALID_TEXT].tolist()
        ([1767225600000000, 1767225600000000, None], [False, False, True])
    """
    values, misfits = read_text(text, delta_type, trim=trim)
    unclear = np.zeros(len(text), dtype=bool)
    for reads, read in (
        (delta_type is Primitive.TIMESTAMP and times.assume_timezone is not None, _in_assumed_zone),
        (times.epoch_unit is not None, _since_1970),
    ):
        invalid = misfits.get(RowErrorType.INVALID_TEXT)
        if not reads or invalid is None:
            continue
        rest = pc.if_else(pa.array(invalid), text, pa.scalar(None, text.type))
        found, misfits_of_rest, some_unclear = read(rest, delta_type, times, trim)
        values, unclear = pc.coalesce(values, found), unclear | some_unclear
        del misfits[RowErrorType.INVALID_TEXT]
        for reason, bad in misfits_of_rest.items():
            misfits[reason] = misfits[reason] | bad if reason in misfits else bad
    return values, misfits, unclear


def _in_assumed_zone(
    text: pa.Array, _: Primitive, times: TimeRules, trim: bool
) -> tuple[pa.Array, Misfits, np.ndarray]:
    naive, misfits = read_text(text, Primitive.TIMESTAMP_NTZ, trim=trim)
    moments, unclear = in_zone(naive, times.assume_timezone or "UTC")
    if unclear.any():
        moments = pc.if_else(pa.array(unclear), pa.scalar(None, moments.type), moments)
        misfits[RowErrorType.INEXACT] = misfits.get(RowErrorType.INEXACT, unclear) | unclear
    return moments, misfits, unclear


def _since_1970(
    text: pa.Array, delta_type: Primitive, times: TimeRules, trim: bool
) -> tuple[pa.Array, Misfits, np.ndarray]:
    numbers, misfits = read_text(text, Primitive.BIGINT, trim=trim)
    factor = _MICROSECONDS[times.epoch_unit or "us"]
    limit = _INT64_MAX // factor
    large = np.asarray(pc.fill_null(pc.or_(pc.greater(numbers, limit), pc.less(numbers, -limit)), False))
    if large.any():
        numbers = pc.if_else(pa.array(large), pa.scalar(None, numbers.type), numbers)
        misfits[RowErrorType.OUT_OF_RANGE] = misfits.get(RowErrorType.OUT_OF_RANGE, large) | large
    return pc.multiply(numbers, factor).cast(canonical_type(delta_type)), misfits, np.zeros(len(text), dtype=bool)

"""The names of floats that JSON does not have."""

from __future__ import annotations

import math

__all__ = ["float_name"]


def float_name(value: float) -> str:
    """Return the name of a float that is not finite, which stands for it as text in JSON.

    Example:
        >>> float_name(float("-inf"))
        '-Infinity'
    """
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"

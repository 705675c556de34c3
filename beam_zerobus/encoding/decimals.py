"""Decimals as text: the form of DECIMAL in every wire format."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["plain_text"]


def plain_text(array: pa.Array) -> pa.Array:
    """Return decimals as large_string in plain digits, with all digits of the scale.

    Arrow itself writes small values in scientific notation, which the service does not accept.

    >>> from decimal import Decimal
    >>> plain_text(pa.array([Decimal("0.00000010"), None])).to_pylist()
    ['0.00000010', None]
    """
    text = array.cast(pa.string()).cast(pa.large_string())
    scientific = pc.fill_null(pc.match_substring(text, "E"), fill_value=False)
    if not pc.any(scientific).as_py():
        return text
    plain = [format(value, "f") for value in array.filter(scientific).to_pylist()]
    return pc.replace_with_mask(text, scientific, pa.array(plain, pa.large_string()))

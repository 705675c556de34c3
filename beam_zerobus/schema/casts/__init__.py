"""Converts a column without children to the canonical Arrow type of its Delta type.

`leaf_cast` chooses the function once for a pair of types. A function checks a whole array with a vector operation or
two, and looks at single values only if that finds a problem. Values that do not fit are rejected with their rows and
become null, so that the cast itself never fails.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from beam_zerobus.schema.casts.base import Cast, UnfitError
from beam_zerobus.schema.casts.decimals import to_decimal
from beam_zerobus.schema.casts.numbers import to_boolean, to_float, to_integer
from beam_zerobus.schema.casts.text import to_binary, to_text
from beam_zerobus.schema.casts.times import to_date, to_timestamp
from beam_zerobus.schema.time_rules import TimeRules
from beam_zerobus.schema.types import Decimal, Primitive

__all__ = ["Cast", "UnfitError", "leaf_cast"]

_CHOICES: dict[Primitive, Callable[[pa.DataType, Primitive, str], Cast | None]] = {
    Primitive.TINYINT: to_integer,
    Primitive.SMALLINT: to_integer,
    Primitive.INT: to_integer,
    Primitive.BIGINT: to_integer,
    Primitive.FLOAT: to_float,
    Primitive.DOUBLE: to_float,
    Primitive.BOOLEAN: to_boolean,
    Primitive.STRING: to_text,
    Primitive.BINARY: to_binary,
    Primitive.DATE: to_date,
    Primitive.VARIANT: to_text,
}


def leaf_cast(arrow_type: pa.DataType, delta_type: Primitive | Decimal, path: str, times: TimeRules) -> Cast | None:
    """Choose how a column without children is checked and converted.

    Args:
        arrow_type: The type of the array, without dictionary, run-end encoding or extension type around it.
        delta_type: The type of the table's column.
        path: The column's path, for messages.
        times: How timestamps without a time zone or a unit are read.

    Returns:
        The function, or None if the array is used as it is.

    Raises:
        UnfitError: The Arrow type does not fit the Delta type.
    """
    if isinstance(delta_type, Decimal):
        return to_decimal(arrow_type, delta_type, path)
    if delta_type in (Primitive.TIMESTAMP, Primitive.TIMESTAMP_NTZ):
        return to_timestamp(arrow_type, delta_type, path, times)
    return _CHOICES[delta_type](arrow_type, delta_type, path)

"""What attributes may hold: short names, and messages without secrets and values of rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.util.types import AttributeValue

from beam_zerobus.errors import RowError, ZerobusError, counted

__all__ = ["attributes_of", "describe_error", "label"]

_LABEL = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MAX_MESSAGE = 500


def label(text: object) -> str:
    """Return a short name as it is, and ``"other"`` for all else: free text may hold anything.

    >>> label("UNAVAILABLE"), label("http://user:secret@host rejected")
    ('UNAVAILABLE', 'other')
    """
    return text if isinstance(text, str) and _LABEL.fullmatch(text) else "other"


def attributes_of(values: Mapping[str, Any]) -> dict[str, AttributeValue]:
    """Return an event's attributes in our namespace: numbers as they are, text through `label`."""
    return {
        f"beam_zerobus.{name}": value if isinstance(value, bool | int | float) else label(value)
        for name, value in values.items()
    }


def describe_error(error: BaseException) -> str:
    """Describe an error without secrets and values of rows.

    Messages of this package's errors are kept without what they quote: a service may repeat values and tokens. Errors
    of rows are counted. Of other errors only the type is given, as pyarrow's messages, for one, repeat values.

    >>> describe_error(ValueError("could not convert 'Alice'"))
    'ValueError'
    """
    if not isinstance(error, ZerobusError):
        return type(error).__name__
    row_errors: Iterable[RowError] = getattr(error, "row_errors", ())
    if types := Counter(label(row_error.error_type) for row_error in row_errors):
        return f"{counted(types.total(), 'row')} rejected: " + ", ".join(
            f"{name} ({n})" for name, n in types.most_common(5)
        )
    message = str(error)
    return (message.replace(error.quoted, "...") if error.quoted else message)[:_MAX_MESSAGE]

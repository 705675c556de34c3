"""The fields of a dataclass, as its instances hold them."""

from __future__ import annotations

import dataclasses
from typing import Any

__all__ = ["dataclass_fields"]


def dataclass_fields(value: Any) -> dict[str, Any] | None:
    """Return the fields of an instance of a dataclass; None for anything else.

    A field that was never set is missing, as a key may be in a dict.

    Example:
        >>> Point = dataclasses.make_dataclass("Point", ["x", ("y", int, dataclasses.field(init=False))])
        >>> dataclass_fields(Point(1)), dataclass_fields(Point)
        ({'x': 1}, None)
    """
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return None
    names = [field.name for field in dataclasses.fields(value)]
    try:
        return {name: getattr(value, name) for name in names}
    except AttributeError:
        return {name: getattr(value, name) for name in names if hasattr(value, name)}

"""Which names of tables Zerobus accepts."""

from __future__ import annotations

import re

from beam_zerobus.errors import ConfigurationError, counted
from beam_zerobus.options.fields import shown

__all__ = ["check_table_name", "is_table_name"]

_NAME = re.compile(r"[A-Za-z0-9_]+")
_NAME_WITH_HYPHENS = re.compile(r"[A-Za-z0-9_-]+")
_WHOLE_NAME = re.compile(rf"{_NAME_WITH_HYPHENS.pattern}\.{_NAME_WITH_HYPHENS.pattern}\.{_NAME.pattern}")


def is_table_name(table: str) -> bool:
    """Return whether a text is ``catalog.schema.table``, as `check_table_name` demands.

    Example:
        >>> is_table_name("main.iot.air_quality"), is_table_name("main.iot.")
        (True, False)
    """
    return _WHOLE_NAME.fullmatch(table) is not None


def check_table_name(table: object) -> None:
    """Raise ConfigurationError unless `table` is ``catalog.schema.table`` in letters, digits and underscores.

    The names of catalogs and schemas may have hyphens, too.

    >>> check_table_name("main.iot.air_quality")
    >>> check_table_name("iot.air_quality")
    Traceback (most recent call last):
    beam_zerobus.errors.ConfigurationError: table='iot.air_quality' has 2 parts: write it as 'catalog.schema.table'
    """
    if not isinstance(table, str):
        raise ConfigurationError(f"table has the type {type(table).__name__}: write it as 'catalog.schema.table'")
    text = shown(table)
    named = "table" if text is None else f"table={text}"
    parts = table.split(".")
    if len(parts) != 3:
        raise ConfigurationError(f"{named} has {counted(len(parts), 'part')}: write it as 'catalog.schema.table'")
    for part, role in zip(parts, ("catalog", "schema", "table"), strict=True):
        if not (_NAME if role == "table" else _NAME_WITH_HYPHENS).fullmatch(part):
            quoted = "" if shown(part) is None else f" {part!r}"
            raise ConfigurationError(
                f"{named}: the {role} name{quoted} is not one that Zerobus accepts: use ASCII letters, digits and "
                f"underscores{' only' if role == 'table' else ', or hyphens'}"
            )

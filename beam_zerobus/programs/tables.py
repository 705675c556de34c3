"""The tables of a run whose rows belong to the folder, or to the Kafka topic, that they come from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from apache_beam.io.filesystems import FileSystems

from beam_zerobus.programs.command import InputError

__all__ = ["folder_of", "letters_of", "matches_template", "tables_of"]

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_]")
_FIELD = re.compile(r"\{(?:folder|topic)\}")


def tables_of(template: str, field: str, values: Iterable[str]) -> dict[str, str]:
    """Return the table of each value; characters that names cannot have become underscores. Its sink checks the name.

    Args:
        template: A table's name with the field in it; other fields are left as they are.
        field: ``"folder"`` or ``"topic"``.
        values: The folders or topics.

    Raises:
        InputError: Two values give one name.

    Example:
        >>> tables_of("main.kafka.{topic}", "topic", ["air", "orders.v1"])
        {'air': 'main.kafka.air', 'orders.v1': 'main.kafka.orders_v1'}
    """
    tables: dict[str, str] = {}
    for value in dict.fromkeys(values):
        table = template.replace(f"{{{field}}}", _NOT_IN_NAMES.sub("_", value))
        if table in tables.values():
            others = [other for other, name in tables.items() if name == table]
            raise InputError(
                f"The {field}s {others[0]!r} and {value!r} both give the table {table}: send them in runs of their own"
            )
        tables[value] = table
    return tables


def matches_template(template: str, table: str) -> bool:
    """Return whether `tables_of` gives a table for some folder or topic, or the template is its name.

    Example:
        >>> matches_template("main.iot.{folder}", "main.iot.air"), matches_template("main.iot.{folder}", "main.a.air")
        (True, False)
    """
    return re.fullmatch("[A-Za-z0-9_]+".join(map(re.escape, _FIELD.split(template))), table) is not None


def folder_of(path: str) -> str:
    """Return the name of the folder that a file is in.

    Example:
        >>> folder_of("gs://bucket/readings/air/2026.parquet")
        'air'
    """
    return path.split("/")[-2] if "://" in path else Path(path).absolute().parent.name


def letters_of(directory: str, table: str | None) -> str:
    """Return the directory for the dead letters of a table that a template chose; None stands for the only table."""
    return directory if table is None else FileSystems.join(directory, table)

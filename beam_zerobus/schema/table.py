"""`TableSchema`: the columns of a table, from whatever source they came."""

from __future__ import annotations

from dataclasses import dataclass

from beam_zerobus.schema.types import Field

__all__ = ["TableSchema"]


@dataclass(frozen=True, slots=True)
class TableSchema:
    """The columns of a Delta table, in order.

    Attributes:
        columns: The columns; each carries its protobuf field number.
    """

    columns: tuple[Field, ...]

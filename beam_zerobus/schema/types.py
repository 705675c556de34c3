"""The types of a Delta table, as plain values.

A `DeltaType` is the type of a column; a `Field` adds name, nullability and the protobuf field number; `TableSchema` (in
`table.py`) is the list of a table's columns. Every source of a schema (pyarrow, DDL, Beam rows, Unity Catalog) is
converted to these types, and these are converted to every wire format.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from beam_zerobus.errors import ConfigurationError

__all__ = ["Array", "Decimal", "DeltaType", "Field", "Map", "Primitive", "Struct"]

MAX_DECIMAL_PRECISION = 38

MAX_NESTING = 64
"""How deep types may nest; every reader of a schema rejects deeper input."""


class Primitive(Enum):
    """The types without parameters; the value is the name in DDL."""

    TINYINT = "TINYINT"
    SMALLINT = "SMALLINT"
    INT = "INT"
    BIGINT = "BIGINT"
    FLOAT = "FLOAT"
    DOUBLE = "DOUBLE"
    BOOLEAN = "BOOLEAN"
    STRING = "STRING"
    BINARY = "BINARY"
    DATE = "DATE"
    TIMESTAMP = "TIMESTAMP"
    TIMESTAMP_NTZ = "TIMESTAMP_NTZ"
    VARIANT = "VARIANT"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Decimal:
    """DECIMAL(precision, scale): 1 to 38 exact digits, `scale` of them after the decimal point."""

    precision: int = 10
    scale: int = 0

    def __post_init__(self) -> None:
        if not (1 <= self.precision <= MAX_DECIMAL_PRECISION and 0 <= self.scale <= self.precision):
            raise ConfigurationError(
                f"DECIMAL({self.precision},{self.scale}) is not a Delta type: "
                f"precision ranges from 1 to {MAX_DECIMAL_PRECISION}, scale from 0 to the precision"
            )

    def __str__(self) -> str:
        return f"DECIMAL({self.precision},{self.scale})"


@dataclass(frozen=True, slots=True)
class Array:
    """ARRAY<element>."""

    element: DeltaType
    contains_null: bool = True

    def __str__(self) -> str:
        return f"ARRAY<{self.element}>"


@dataclass(frozen=True, slots=True)
class Map:
    """MAP<key, value>; keys are never null."""

    key: DeltaType
    value: DeltaType
    value_contains_null: bool = True

    def __str__(self) -> str:
        return f"MAP<{self.key}, {self.value}>"


@dataclass(frozen=True, slots=True)
class Struct:
    """STRUCT<field: type, ...>."""

    fields: tuple[Field, ...]

    def __str__(self) -> str:
        return "STRUCT<" + ", ".join(field.to_ddl(separator=": ") for field in self.fields) + ">"


DeltaType: TypeAlias = Primitive | Decimal | Array | Map | Struct


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A column of the table, or a field of a struct.

    Attributes:
        name: The name, as the table spells it.
        type: Its type.
        nullable: False for NOT NULL.
        number: The protobuf field number: for columns of a table from Unity Catalog its position + 1,
            otherwise counted from 1.
        comment: The comment of the DDL, if any.
    """

    name: str
    type: DeltaType
    nullable: bool = True
    number: int
    comment: str | None = None

    def to_ddl(self, separator: str = " ") -> str:
        """Return the field as a CREATE TABLE statement has it.

        >>> Field(name="id", type=Primitive.BIGINT, nullable=False, number=1).to_ddl()
        'id BIGINT NOT NULL'
        """
        name = self.name if self.name.isidentifier() and self.name.isascii() else f"`{self.name.replace('`', '``')}`"
        not_null = "" if self.nullable else " NOT NULL"
        comment = (
            "" if self.comment is None else " COMMENT '" + self.comment.replace("\\", "\\\\").replace("'", "\\'") + "'"
        )
        return f"{name}{separator}{self.type}{not_null}{comment}"

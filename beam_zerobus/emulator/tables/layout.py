"""`Layout`: what a table has beside its columns, fixed when it is created."""

from __future__ import annotations

from dataclasses import dataclass

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.schema import Array, Map, Primitive, Struct, TableSchema

__all__ = ["Layout", "TableRules"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a table has beside its columns.

    Attributes:
        partitioned_by: The columns whose values separate the table's partitions; empty for a table without partitions.
        rescue_column: The column tagged ``zerobus-rescue``, for fields of JSON records that do not fit; or None.

    Example:
        >>> Layout(partitioned_by=("day",)).check(TableSchema.from_ddl("day DATE, id BIGINT"))
    """

    partitioned_by: tuple[str, ...] = ()
    rescue_column: str | None = None

    def check(self, schema: TableSchema) -> None:
        """Reject a layout that the table's columns do not allow.

        Raises:
            ConfigurationError: Names the column.
        """
        columns = {column.name: column for column in schema.columns}
        for name in self.partitioned_by:
            if name not in columns or isinstance(columns[name].type, Array | Map | Struct):
                raise ConfigurationError(
                    f"partitioned_by names {name!r}: name a column that is not an ARRAY, MAP or STRUCT"
                )
        if self.partitioned_by and len(set(self.partitioned_by)) >= len(columns):
            raise ConfigurationError("partitioned_by names every column: a table needs one more")
        if self.rescue_column is not None:
            column = columns.get(self.rescue_column)
            if column is None or column.type is not Primitive.VARIANT or not column.nullable:
                raise ConfigurationError(
                    f"rescue_column={self.rescue_column!r}: name a nullable column of type VARIANT"
                )

    def uses(self, column: str) -> bool:
        """Return whether the layout needs a column, which then cannot be dropped."""
        return column in self.partitioned_by or column == self.rescue_column


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRules:
    """Limits of the service that hold for every table.

    Attributes:
        max_partitions: Partitions of a table that may be written within five seconds; None for any number.
        readable_after: Seconds from a row's acknowledgement to the moment when the table has it.

    Raises:
        ConfigurationError: A value is out of range.
    """

    max_partitions: int | None = 1000
    readable_after: float = 0.0

    def __post_init__(self) -> None:
        if self.max_partitions is not None and self.max_partitions < 1:
            raise ConfigurationError(f"max_partitions={self.max_partitions}: set at least 1, or None for any number")
        if not 0 <= self.readable_after < float("inf"):
            raise ConfigurationError(f"readable_after={self.readable_after}: set seconds of at least 0")

"""The columns that rows will have, as the user gave them."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from beam_zerobus.check.python_values import as_converted
from beam_zerobus.errors import ZerobusError
from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.source import SchemaSource, parse_schema

__all__ = ["Rows"]


@dataclass(frozen=True, slots=True)
class Rows:
    """The columns of rows.

    Attributes:
        arrow: The schema of their batches.
        columns: The columns of a table that holds them; None where there is none.
        problem: Why there is none. A table that exists may take the rows all the same.
        is_arrow: The user gave an Arrow schema, and not the types of a table.
        python_values: The rows are Python values, and `arrow` has the types that stand for theirs.

    Example:
        >>> rows = Rows.of(pa.schema({"at": pa.time32("s")}))
        >>> rows.columns, "Delta has no type for a time of day" in rows.problem
        (None, True)
    """

    arrow: pa.Schema
    columns: TableSchema | None
    problem: str = ""
    is_arrow: bool = False
    python_values: bool = False

    @classmethod
    def of(cls, schema: SchemaSource, *, python_values: bool = False) -> Rows | None:
        """Return the columns that a user gave; None where they are the table's, or not known yet.

        Args:
            schema: What the user gave.
            python_values: It is of Python values.

        Raises:
            ConfigurationError: It is not a schema.
        """
        if not isinstance(schema, pa.Schema):
            parsed = parse_schema(schema)
            return cls.of_table(parsed) if isinstance(parsed, TableSchema) else None
        try:
            return cls(schema, TableSchema.from_arrow(schema), is_arrow=True, python_values=python_values)
        except ZerobusError as error:
            return cls(schema, None, str(error), is_arrow=True, python_values=python_values)

    @classmethod
    def of_table(cls, columns: TableSchema) -> Rows:
        """Return the columns of rows that are those of a table."""
        return cls(columns.to_canonical_arrow(), columns)

    def empty_batch(self, table: TableSchema) -> pa.RecordBatch:
        """Return a batch without rows, as they are converted for a table."""
        schema = pa.schema(as_converted(self.arrow, table.columns)) if self.python_values else self.arrow
        return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)

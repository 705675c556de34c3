"""`TableSchema`: the columns of a table, read from any source and printed in any form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from google.protobuf.descriptor_pb2 import DescriptorProto

from beam_zerobus.schema.arrow import canonical_type, fields_from_arrow, flight_type
from beam_zerobus.schema.compare import field_differences
from beam_zerobus.schema.ddl import parse_columns
from beam_zerobus.schema.descriptor import message_descriptor
from beam_zerobus.schema.proto_text import proto_text
from beam_zerobus.schema.types import Field
from beam_zerobus.schema.unity_catalog_json import fields_from_json, fields_to_json
from beam_zerobus.schema.validation import check_columns

__all__ = ["TableSchema"]


@dataclass(frozen=True, slots=True)
class TableSchema:
    """The columns of a Delta table, in order.

    Attributes:
        columns: The columns; each carries its protobuf field number.

    Raises:
        ConfigurationError: No column or more than 2,000; a name that is not ASCII letters, digits and underscore, or
            that equals another without regard to case; a field number that protobuf does not allow; types nested too
            deep.

    Example:
        >>> schema = TableSchema.from_ddl("id BIGINT NOT NULL, tags ARRAY<STRING>")
        >>> schema.to_ddl()
        'id BIGINT NOT NULL, tags ARRAY<STRING>'
        >>> schema == TableSchema.from_arrow(schema.to_arrow())
        True
    """

    columns: tuple[Field, ...]

    def __post_init__(self) -> None:
        check_columns(self.columns)

    @classmethod
    def from_ddl(cls, ddl: str) -> TableSchema:
        """Read the column list of a CREATE TABLE statement.

        Args:
            ddl: ``name TYPE [NOT NULL] [COMMENT '...'], ...`` with any Delta type that Zerobus can write; case does not
                matter, names may be in backquotes. VARCHAR(n) and CHAR(n) are read as STRING.

        Raises:
            ConfigurationError: The text is not a column list; the message gives line and column.

        Example:
            >>> TableSchema.from_ddl("point struct<x: double not null, y: double>").columns[0].name
            'point'
        """
        return cls(parse_columns(ddl))

    @classmethod
    def from_arrow(cls, schema: pa.Schema) -> TableSchema:
        """Convert an Arrow schema to the columns of a table.

        Dictionaries and run-end encoding become their value type, extension types their storage type. Unsigned
        integers become the next larger signed type, uint64 becomes BIGINT, float16 FLOAT, and Arrow's JSON type
        VARIANT.

        Raises:
            ConversionError: A column has a type without a Delta type, such as a time of day.
            ConfigurationError: The names or the number of columns are not allowed in a table.

        Example:
            >>> TableSchema.from_arrow(pa.schema([pa.field("id", pa.uint8(), nullable=False)])).to_ddl()
            'id SMALLINT NOT NULL'
        """
        return cls(fields_from_arrow(schema))

    @classmethod
    def from_unity_catalog(cls, table: Mapping[str, Any]) -> TableSchema:
        """Read the columns of a table from Unity Catalog's description.

        A nullable column of a type that Zerobus cannot write, such as INTERVAL, is left out: its rows get null. One
        warning names all such columns. Columns with a negative position are left out too.

        Args:
            table: The JSON of ``GET /api/2.1/unity-catalog/tables/catalog.schema.table``. The protobuf field number
                of a column is its position + 1; a column without ``nullable`` is nullable.

        Raises:
            ConversionError: The JSON has another form, or a NOT NULL column has a type that Zerobus cannot write.
            ConfigurationError: Zerobus cannot write to columns of these names.

        Example:
            >>> column = {"name": "id", "position": 3, "nullable": False, "type_json": '{"name": "id", "type": "long"}'}
            >>> TableSchema.from_unity_catalog({"columns": [column]}).columns[0].number
            4
        """
        return cls(fields_from_json(table.get("columns"), str(table.get("full_name") or table.get("name") or "")))

    def to_unity_catalog(self) -> list[dict[str, Any]]:
        """Return the ``columns`` of Unity Catalog's table endpoint.

        Example:
            >>> TableSchema.from_ddl("id BIGINT NOT NULL").to_unity_catalog()[0]["type_name"]
            'LONG'
        """
        return fields_to_json(self.columns)

    def to_arrow(self) -> pa.Schema:
        """Return the schema of the Arrow Flight stream into this table.

        DECIMAL is text there, VARIANT a struct of two binaries, and list elements and map values are nullable.

        Example:
            >>> TableSchema.from_ddl("price DECIMAL(10,2)").to_arrow().field("price").type
            DataType(large_string)
        """
        return pa.schema([pa.field(c.name, flight_type(c.type), nullable=c.nullable) for c in self.columns])

    def to_canonical_arrow(self) -> pa.Schema:
        """Return the schema of the batches that encoders accept.

        It is as `to_arrow`, but DECIMAL is decimal128 and VARIANT is JSON text.

        Example:
            >>> TableSchema.from_ddl("price DECIMAL(10,2)").to_canonical_arrow().field("price").type
            Decimal128Type(decimal128(10, 2))
        """
        return pa.schema([pa.field(c.name, canonical_type(c.type), nullable=c.nullable) for c in self.columns])

    def to_ddl(self) -> str:
        """Return the column list of a CREATE TABLE statement, on one line.

        Example:
            >>> TableSchema.from_ddl("a map<string,int> comment 'counts'").to_ddl()
            "a MAP<STRING, INT> COMMENT 'counts'"
        """
        return ", ".join(column.to_ddl() for column in self.columns)

    def to_descriptor(self, message_name: str = "Row") -> DescriptorProto:
        """Return the protobuf message of a row, as a protobuf stream announces it.

        Args:
            message_name: The name of the message; the service ignores it.

        Raises:
            ConversionError: Protobuf cannot hold a column, such as an array of arrays.

        Example:
            >>> [field.number for field in TableSchema.from_ddl("id BIGINT, name STRING").to_descriptor().field]
            [1, 2]
        """
        return message_descriptor(self.columns, message_name)

    def to_proto(self, message_name: str = "Row") -> str:
        """Return the text of a ``.proto`` file (proto2) with one message for a row of this table.

        Args:
            message_name: The name of the message.

        Raises:
            ConversionError: Protobuf cannot hold a column, such as an array of arrays.
            ConfigurationError: `message_name` is not a protobuf name.

        Example:
            >>> print(TableSchema.from_ddl("id BIGINT NOT NULL, tags ARRAY<STRING>").to_proto("Reading"))
            syntax = "proto2";
            <BLANKLINE>
            message Reading {
              required int64 id = 1;
              repeated string tags = 2;
            }
            <BLANKLINE>
        """
        return proto_text(self.columns, message_name)

    def differences(self, table: TableSchema) -> list[str]:
        """Return the differences to a table, one sentence each; order, comments and field numbers do not count.

        Example:
            >>> TableSchema.from_ddl("id INT, b STRING").differences(TableSchema.from_ddl("b STRING, ID BIGINT"))
            ["column 'id' is INT, in the table it is BIGINT"]
        """
        return list(field_differences(self.columns, table.columns))

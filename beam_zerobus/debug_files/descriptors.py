"""The descriptor set beside each protobuf file: how to decode it.

It is a `FileDescriptorSet` of one file with two messages: the row as it was announced to Zerobus, and ``Rows``, which
is the message that a whole debug file is. The comment of the row message holds the table's columns as DDL: protobuf
stores a TIMESTAMP as a plain int64, and readers need its type.
"""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from beam_zerobus.schema.table import TableSchema

__all__ = ["ROW_MESSAGE_PATH", "describe"]

_FILE_NAME = "rows.proto"  # protoc wants it on its command line
ROW_MESSAGE_PATH = (FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER, 0)
"""Where the file's source information has the row message."""


def describe(row: DescriptorProto, schema: TableSchema | None) -> bytes:
    """Return the serialized descriptor set of files that hold such rows."""
    wrapper = DescriptorProto(
        name="Rows" if row.name != "Rows" else "RowsOfFile",
        field=[
            FieldDescriptorProto(
                name="rows",
                number=1,
                label=FieldDescriptorProto.LABEL_REPEATED,
                type=FieldDescriptorProto.TYPE_MESSAGE,
                type_name=f".{row.name or 'Row'}",
            )
        ],
    )
    file = FileDescriptorProto(name=_FILE_NAME, syntax="proto2", message_type=[row, wrapper])
    if not row.name:
        file.message_type[0].name = "Row"
    if schema is not None:
        location = file.source_code_info.location.add(path=ROW_MESSAGE_PATH, span=(0, 0, 0))
        location.leading_comments = ", ".join(column.to_ddl() for column in schema.columns)
    return FileDescriptorSet(file=[file]).SerializeToString(deterministic=True)

"""What stands in a `.proto.desc` file: how to decode the protobuf file of the same name.

It is a `FileDescriptorSet` of one file with two messages: the row as it was announced to Zerobus, and ``Rows``, which a
debug file is as a whole. The table's columns stand as DDL in the comment of the row message: protobuf keeps a TIMESTAMP
as a plain int64, and reading back needs to know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from beam_zerobus.errors import ZerobusError
from beam_zerobus.logs import get_logger
from beam_zerobus.schema.table import TableSchema

__all__ = ["RowDescription", "describe", "parse_description"]

_log = get_logger(__name__)

_FILE_NAME = "rows.proto"  # what protoc wants to be named on its command line
_ROW_MESSAGE_PATH = (FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDescription:
    """What a descriptor set says.

    Attributes:
        rows_class: The class of the message that a file is as a whole; its ``rows`` are the rows.
        row_descriptor: The protobuf descriptor of a row.
        schema: The table's columns, or None where the writer did not know them.
    """

    rows_class: Any
    row_descriptor: Any
    schema: TableSchema | None


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
        location = file.source_code_info.location.add(path=_ROW_MESSAGE_PATH, span=(0, 0, 0))
        location.leading_comments = ", ".join(column.to_ddl() for column in schema.columns)
    return FileDescriptorSet(file=[file]).SerializeToString(deterministic=True)


def parse_description(descriptor_set: bytes) -> RowDescription:
    """Read a descriptor set that `describe` made.

    Raises:
        google.protobuf.message.DecodeError: These bytes are no descriptor set.
    """
    (file,) = FileDescriptorSet.FromString(descriptor_set).file
    comment = next(
        (loc.leading_comments for loc in file.source_code_info.location if tuple(loc.path) == _ROW_MESSAGE_PATH), ""
    )
    file.ClearField("source_code_info")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    wrapper = pool.FindMessageTypeByName(file.message_type[1].name)
    return RowDescription(
        rows_class=message_factory.GetMessageClass(wrapper),
        row_descriptor=wrapper.fields_by_name["rows"].message_type,
        schema=_parse_columns(comment),
    )


def _parse_columns(ddl: str) -> TableSchema | None:
    if not ddl:
        return None
    try:
        return TableSchema.from_ddl(ddl)
    except ZerobusError as error:  # of a newer version of this package: the rows themselves are still readable
        _log.warning("the columns in the descriptor set are not understood, protobuf's own types are shown: %s", error)
        return None

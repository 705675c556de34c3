"""Descriptor sets read back: the counterpart of `beam_zerobus.debug_files.descriptors`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import DecodeError

from beam_zerobus.debug_files.descriptors import ROW_MESSAGE_PATH
from beam_zerobus.debug_files.inspect.text import visible
from beam_zerobus.errors import ZerobusError
from beam_zerobus.logs import get_logger
from beam_zerobus.schema.table import TableSchema

__all__ = ["RowDescription", "parse_description"]

_log = get_logger(__name__)

_MAX_FIELDS = 100_000  # with those of nested messages, each counted where it is used

# What protobuf raises for bytes that are not, or not wholly, a descriptor set.
_DAMAGED = (DecodeError, TypeError, KeyError, IndexError, AttributeError, ValueError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDescription:
    """The content of a descriptor set.

    Attributes:
        rows_class: The class of the message that a whole file is; its ``rows`` are the rows.
        row_descriptor: The protobuf descriptor of a row.
        schema: The table's columns, or None if the writer did not know them.
    """

    rows_class: Any
    row_descriptor: Any
    schema: TableSchema | None


def parse_description(descriptor_set: bytes) -> RowDescription:
    """Read a descriptor set that `describe` made.

    Raises:
        ValueError: These bytes are not such a descriptor set.
    """
    try:
        return _parse(descriptor_set)
    except _DAMAGED as error:
        raise ValueError(f"not a descriptor set of debug files ({type(error).__name__}: {error})") from error


def _parse(descriptor_set: bytes) -> RowDescription:
    (file,) = FileDescriptorSet.FromString(descriptor_set).file
    comment = next(
        (loc.leading_comments for loc in file.source_code_info.location if tuple(loc.path) == ROW_MESSAGE_PATH), ""
    )
    file.ClearField("source_code_info")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    name = file.message_type[1].name
    wrapper = pool.FindMessageTypeByName(f"{file.package}.{name}" if file.package else name)
    row_descriptor = wrapper.fields_by_name["rows"].message_type
    _require_tree(row_descriptor)
    return RowDescription(
        rows_class=message_factory.GetMessageClass(wrapper),
        row_descriptor=row_descriptor,
        schema=_parse_columns(comment),
    )


def _require_tree(row: Any) -> None:
    """Check that no message contains itself: Arrow has no such type, and tables have none either."""
    waiting: list[tuple[Any, tuple[str, ...]]] = [(row, ())]
    fields = 0
    while waiting:
        message, above = waiting.pop()
        fields += len(message.fields)
        if message.full_name in above:
            raise ValueError(f"message {message.full_name} contains itself")
        if fields > _MAX_FIELDS:
            raise ValueError(f"more than {_MAX_FIELDS:,} fields")
        inner = (field.message_type for field in message.fields if field.message_type is not None)
        waiting += [(message_type, (*above, message.full_name)) for message_type in inner]


def _parse_columns(ddl: str) -> TableSchema | None:
    if not ddl:
        return None
    try:
        return TableSchema.from_ddl(ddl)
    except (ZerobusError, RecursionError) as error:  # of a newer version of this package: the rows are still readable
        _log.warning(
            "the columns in the descriptor set cannot be read, so protobuf's own types are shown: %s",
            visible(str(error)),
        )
        return None

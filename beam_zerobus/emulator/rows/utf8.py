"""Text of proto2 messages, which protobuf does not check to be UTF-8."""

from __future__ import annotations

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

__all__ = ["has_only_text"]


def has_only_text(message: Message) -> bool:
    """Return whether each string of a message is UTF-8; one that is not is bytes in Python.

    Example:
        >>> from google.protobuf.descriptor_pb2 import DescriptorProto
        >>> has_only_text(DescriptorProto.FromString(bytes((10, 1, 255))))
        False
    """
    for field, value in message.ListFields():
        if field.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE):
            continue
        values = [value] if isinstance(value, str | bytes | Message) else value
        if field.type == FieldDescriptor.TYPE_STRING and not all(isinstance(one, str) for one in values):
            return False
        if field.type == FieldDescriptor.TYPE_MESSAGE and not all(has_only_text(one) for one in values):
            return False
    return True

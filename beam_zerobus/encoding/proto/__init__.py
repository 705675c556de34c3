"""Arrow columns to protobuf rows, column by column; `docs/encoder.md` tells how."""

from beam_zerobus.encoding.proto.descriptor import message_descriptor
from beam_zerobus.encoding.proto.encoder import ProtoEncoder

__all__ = ["ProtoEncoder", "message_descriptor"]

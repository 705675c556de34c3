"""Arrow columns to protobuf rows, column by column; `docs/encoder.md` describes how."""

from beam_zerobus.encoding.proto.encoder import ProtoEncoder

__all__ = ["ProtoEncoder"]

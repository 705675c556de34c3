"""From the bytes of a call to rows of the table's types, with the service's checks."""

from beam_zerobus.emulator.rows.arrow import ArrowReader
from beam_zerobus.emulator.rows.avro import AvroReader
from beam_zerobus.emulator.rows.json import JsonReader
from beam_zerobus.emulator.rows.json_text import parse_json
from beam_zerobus.emulator.rows.protobuf import ProtoReader

__all__ = ["ArrowReader", "AvroReader", "JsonReader", "ProtoReader", "parse_json"]

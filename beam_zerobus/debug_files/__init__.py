"""Debug files: exactly what was sent, on disk, and how to read it back.

beam_zerobus.debug_files.read_arrow("debug/zerobus/arrow/main.iot.air_quality.arrow")
beam_zerobus.debug_files.read_proto("debug/zerobus/proto/main.iot.air_quality.proto")
"""

from beam_zerobus.debug_files.reading import read_arrow, read_proto
from beam_zerobus.debug_files.writer import DebugFileWriter

__all__ = ["DebugFileWriter", "read_arrow", "read_proto"]

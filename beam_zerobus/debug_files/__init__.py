"""Debug files: exactly what was sent, on disk, and how to read it back.

    from beam_zerobus.debug_files import read_arrow, read_proto

    read_arrow("debug/zerobus/arrow/main.iot.air_quality.arrow")
    read_proto("debug/zerobus/proto/main.iot.air_quality.proto")

A writer needs only what writes, so `beam_zerobus.debug_files.inspect` is imported with the first use of a reader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beam_zerobus.debug_files.writer import DebugFileWriter

if TYPE_CHECKING:
    from beam_zerobus.debug_files.inspect.reading import read_arrow, read_proto

__all__ = ["DebugFileWriter", "read_arrow", "read_proto"]


def __getattr__(name: str) -> Any:
    if name not in ("read_arrow", "read_proto"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from beam_zerobus.debug_files.inspect import reading  # noqa: PLC0415

    return getattr(reading, name)

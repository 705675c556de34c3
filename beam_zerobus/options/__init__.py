"""The options of sink and writer: frozen, keyword only, checked when they are made."""

from beam_zerobus.options.declarations import (
    ArrowCompression,
    Batching,
    CreateTable,
    DebugFiles,
    OnBadRows,
    OnUnknownFields,
    Retry,
    Telemetry,
    WireFormat,
)

__all__ = [
    "ArrowCompression",
    "Batching",
    "CreateTable",
    "DebugFiles",
    "OnBadRows",
    "OnUnknownFields",
    "Retry",
    "Telemetry",
    "WireFormat",
]

"""Apache Beam sink for Databricks Zerobus Ingest: rows straight into Delta tables.

`WriteToZerobus` is the transform for pipelines, `ZerobusWriter` the same core for any other program.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from beam_zerobus.errors import (
    AuthenticationError,
    ClosedError,
    ConfigurationError,
    ConversionError,
    RejectedError,
    RowError,
    TransientError,
    ZerobusError,
)
from beam_zerobus.options import Batching, DebugFiles, Retry, Telemetry
from beam_zerobus.version import __version__
from beam_zerobus.workspace.credentials import (
    Credentials,
    EnvironmentVariable,
    FederatedToken,
    OAuthClientCredentials,
    StaticHeaders,
)
from beam_zerobus.workspace.databricks_profile import DatabricksProfile

if TYPE_CHECKING:
    from beam_zerobus.check import check_table
    from beam_zerobus.sink import WriteResult, WriteToZerobus
    from beam_zerobus.sink.dead_letters import KeepDeadLetters
    from beam_zerobus.sink.pipeline_options import ZerobusOptions
    from beam_zerobus.writer.result import TransmissionResult
    from beam_zerobus.writer.submission import Submission
    from beam_zerobus.writer.zerobus_writer import ZerobusWriter
    from beam_zerobus.writer.zerobus_writers import ZerobusWriters

__all__ = [
    "AuthenticationError",
    "Batching",
    "ClosedError",
    "ConfigurationError",
    "ConversionError",
    "Credentials",
    "DatabricksProfile",
    "DebugFiles",
    "EnvironmentVariable",
    "FederatedToken",
    "KeepDeadLetters",
    "OAuthClientCredentials",
    "RejectedError",
    "Retry",
    "RowError",
    "StaticHeaders",
    "Submission",
    "Telemetry",
    "TransientError",
    "TransmissionResult",
    "WriteResult",
    "WriteToZerobus",
    "ZerobusError",
    "ZerobusOptions",
    "ZerobusWriter",
    "ZerobusWriters",
    "__version__",
    "check_table",
]

# Beam takes seconds to import and the SDK starts threads, so each is imported only by what needs it.
_HOMES = {
    "KeepDeadLetters": "beam_zerobus.sink.dead_letters",
    "Submission": "beam_zerobus.writer.submission",
    "TransmissionResult": "beam_zerobus.writer.result",
    "WriteResult": "beam_zerobus.sink",
    "WriteToZerobus": "beam_zerobus.sink",
    "ZerobusOptions": "beam_zerobus.sink.pipeline_options",
    "ZerobusWriter": "beam_zerobus.writer.zerobus_writer",
    "ZerobusWriters": "beam_zerobus.writer.zerobus_writers",
    "check_table": "beam_zerobus.check",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""OTLP, the protocol of OpenTelemetry: traces, logs and metrics into tables of the documented columns.

A request names one table in a header; each span, log record or data point is a row of it. Records that are not valid
are rejected and counted in the answer, the others are stored.
"""

from beam_zerobus.emulator.otlp.exports import Exports
from beam_zerobus.emulator.otlp.tables import OTLP_COLUMNS, table_names

__all__ = ["OTLP_COLUMNS", "Exports", "table_names"]

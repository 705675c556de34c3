"""The emulator of Zerobus: what the service does, on this machine, with rows in real Delta tables.

    with Emulator() as emulator:
        emulator.create_table("main.iot.air_quality", "device STRING NOT NULL, temp INT")
        ...  # write to emulator.endpoint
        emulator.table("main.iot.air_quality").to_arrow()

On the command line: ``beam-zerobus emulator --help``. It needs the extra ``emulator``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beam_zerobus.emulator.counts.stats import RecordedCall, Stats, StreamStats, TableStats
    from beam_zerobus.emulator.emulator import Emulator
    from beam_zerobus.emulator.faults import Faults, RejectRows, ScriptedFault
    from beam_zerobus.emulator.otlp import OTLP_COLUMNS
    from beam_zerobus.emulator.process import EmulatorProcess
    from beam_zerobus.emulator.tables.table import Table

__all__ = [
    "OTLP_COLUMNS",
    "Emulator",
    "EmulatorProcess",
    "Faults",
    "RecordedCall",
    "RejectRows",
    "ScriptedFault",
    "Stats",
    "StreamStats",
    "Table",
    "TableStats",
]

# Imported on first use, so that the command can say what to install if the extra is missing.
_MODULES = {
    "Emulator": "emulator",
    "EmulatorProcess": "process",
    "OTLP_COLUMNS": "otlp",
    "Faults": "faults",
    "RejectRows": "faults",
    "ScriptedFault": "faults",
    "RecordedCall": "counts.stats",
    "Stats": "counts.stats",
    "StreamStats": "counts.stats",
    "Table": "tables.table",
    "TableStats": "counts.stats",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""The local Zerobus: what the service does, on this machine, with rows in real Delta tables.

    with Emulator() as emulator:
        emulator.create_table("main.iot.air_quality", "device STRING NOT NULL, temp INT")
        ...  # write to emulator.endpoint
        emulator.table("main.iot.air_quality").to_arrow()

On the command line: ``python -m beam_zerobus.emulator --help``. It needs the extra ``beam-zerobus[emulator]``.
"""

from beam_zerobus.emulator.emulator import Emulator
from beam_zerobus.emulator.faults import Faults, RejectRows, ScriptedFault
from beam_zerobus.emulator.stats import RecordedCall, Stats, StreamStats, TableStats
from beam_zerobus.emulator.table import Table

__all__ = [
    "Emulator",
    "Faults",
    "RecordedCall",
    "RejectRows",
    "ScriptedFault",
    "Stats",
    "StreamStats",
    "Table",
    "TableStats",
]

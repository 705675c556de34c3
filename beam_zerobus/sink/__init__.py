"""The sink for Beam pipelines: `WriteToZerobus` and what it gives back. Nothing else of the core imports Beam."""

from beam_zerobus.sink.result import WriteResult
from beam_zerobus.sink.transform import WriteToZerobus

__all__ = ["WriteResult", "WriteToZerobus"]

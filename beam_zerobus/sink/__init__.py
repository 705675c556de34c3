"""The sink for Beam pipelines, its flags and its flat options.

Beam is imported here and in `beam_zerobus.yaml`; elsewhere only Beam's filesystems are, for files that are not local.
"""

from beam_zerobus.logs import importing_beam

with importing_beam():
    from beam_zerobus.sink.arrow_coder import register_arrow_coder
    from beam_zerobus.sink.result import WriteResult
    from beam_zerobus.sink.transform import WriteToZerobus

register_arrow_coder()

__all__ = ["WriteResult", "WriteToZerobus"]

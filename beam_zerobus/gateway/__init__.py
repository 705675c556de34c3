"""The gateway: programs in any language send RecordBatches over Arrow Flight, one process writes them to Zerobus.

`Gateway` runs it inside a program, ``beam-zerobus gateway`` as a process of its own.
"""

from beam_zerobus.gateway.gateway import Gateway
from beam_zerobus.gateway.settings import GatewaySettings

__all__ = ["Gateway", "GatewaySettings"]

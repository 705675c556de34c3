"""Which table each row belongs to, and which fields of it are written: pure functions, without Beam."""

from beam_zerobus.destinations.choice import Destination, TableOption, destination_of
from beam_zerobus.destinations.kept_fields import KeptFields
from beam_zerobus.destinations.split import Positions, Split

__all__ = ["Destination", "KeptFields", "Positions", "Split", "TableOption", "destination_of"]

"""The program ``beam-zerobus kafka`` by its earlier name."""

import sys

from beam_zerobus.programs.kafka_to_zerobus import main

if __name__ == "__main__":
    sys.exit(main())

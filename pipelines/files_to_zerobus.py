"""The program ``beam-zerobus send`` by its earlier name."""

import sys

from beam_zerobus.programs.files_to_zerobus import main

if __name__ == "__main__":
    sys.exit(main())

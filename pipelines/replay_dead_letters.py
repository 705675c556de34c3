"""The program ``beam-zerobus replay`` by its earlier name."""

import sys

from beam_zerobus.programs.replay_dead_letters import main

if __name__ == "__main__":
    sys.exit(main())

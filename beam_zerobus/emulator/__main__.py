"""``python -m beam_zerobus.emulator``: the emulator as a process."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from beam_zerobus.options.extras import needs_extra

__all__ = ["main"]

_EXTRA = ("cryptography", "deltalake", "grpc")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the emulator until a signal ends it.

    Args:
        argv: The arguments; None means those of the process.

    Returns:
        The exit code: 0, or 2 if an argument is wrong or the extra ``emulator`` is not installed, with the reason on
        standard error.
    """
    try:
        from beam_zerobus.emulator.command import run  # noqa: PLC0415 - needs the extra

        return run(argv)
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in _EXTRA:
            raise
        print(needs_extra("emulator", "emulator", error), file=sys.stderr)  # noqa: T201 - this is the command
        return 2


if __name__ == "__main__":
    sys.exit(main())

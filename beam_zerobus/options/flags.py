"""Command lines on which an unknown flag is rejected with the nearest known one."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any

__all__ = ["CommandParser", "flags_of", "nearest", "no_such_flag"]

_FLAG = re.compile(r"(?<![\w-])--[\w-]+")


class CommandParser(argparse.ArgumentParser):
    """A parser that names the nearest flag where one is unknown, before it says what else is missing.

    Example:
        >>> parser = CommandParser(prog="beam-zerobus inspect", exit_on_error=False)
        >>> _ = parser.add_argument("--json", action="store_true")
        >>> parser.parse_args(["--json"])
        Namespace(json=True)
    """

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse arguments; end with exit code 2 at a flag that is not known."""
        given = list(sys.argv[1:] if args is None else args)
        known = flags_of(self)
        for argument in takewhile(lambda argument: argument != "--", given):
            flag = argument.partition("=")[0]  # a value may hold a secret
            if flag.startswith("--") and not any(name.startswith(flag) for name in known):
                self.error(no_such_flag(flag, nearest(flag, known)))
        return super().parse_known_args(given, namespace)


def flags_of(parser: argparse.ArgumentParser) -> set[str]:
    """Return the long flags of a parser; its help is the only public list of them."""
    lines = [line.strip() for line in parser.format_help().splitlines() if line.startswith("  -")]
    return {flag for line in lines for flag in _FLAG.findall(re.split(r"\s{2,}", line, maxsplit=1)[0])}


def nearest(flag: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known flag that is most like another one; None where none is like it."""
    return next(iter(difflib.get_close_matches(flag, sorted(known), 1, cutoff)), None)


def no_such_flag(flag: str, near: str | None) -> str:
    """Return the message about an unknown flag.

    Example:
        >>> no_such_flag("--inptu", "--input")
        'There is no flag --inptu: did you mean --input?'
    """
    return f"There is no flag {flag}: " + (f"did you mean {near}?" if near else "see --help for the flags")

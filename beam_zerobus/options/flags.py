"""Command lines that say what is wrong in one line; an unknown flag is rejected with the nearest known one."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import Any, NoReturn

__all__ = [
    "BriefParser",
    "CommandParser",
    "flags_of",
    "nearest",
    "no_such_flag",
    "too_many_words",
    "whole_number",
]

_FLAG = re.compile(r"(?<![\w-])--[\w-]+")


class BriefParser(argparse.ArgumentParser):
    """A parser that says what is wrong, and not all that could be given: that is below ``--help``."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2, and the reason on standard error."""
        has_remedy = "--help" in message or message.endswith("?")
        self.exit(2, f"{self.prog}: {message}{'' if has_remedy else '; see --help'}\n")


class CommandParser(BriefParser):
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
        parsed, left = super().parse_known_args(given, namespace)
        if left:  # the arguments that are left may hold a secret
            self.error(too_many_words(given, left[0]))
        return parsed, left


def too_many_words(given: Sequence[str], left: str) -> str:
    """Return the message about an argument that belongs to nothing.

    It is a short flag, of which none is known; or the shell has split a value at its spaces.

    Example:
        >>> too_many_words(["--table", "main.iot.air=id", "BIGINT"], "BIGINT")
        'too many arguments after --table; if the shell has split a value at its spaces, put it into quotes, as in \
--table "..."'
    """
    if left[:1] == "-" and left[1:2].isalpha():
        return no_such_flag(left[:2], None)  # what follows may be a secret
    place = given.index(left)
    start = next((at for at in range(place - 1, -1, -1) if given[at].startswith("--")), None)
    split = "if the shell has split a value at its spaces, put it into quotes"
    if start is None:
        return f"too many arguments; {split}"
    flag, equals, _ = given[start].partition("=")
    takes_value = equals or start + 1 < place
    return f"too many arguments after {flag}; {split}" + (f', as in {flag} "..."' if takes_value else "")


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


def whole_number(least: int) -> Callable[[str], int]:
    """Return what argparse reads whole numbers with.

    Args:
        least: The smallest number.

    Example:
        >>> whole_number(1)("7")
        7
    """

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}")
        return int(text)

    return read

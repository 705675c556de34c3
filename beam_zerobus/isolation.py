"""Find the rows that the service refuses in a call that it refused, with few further calls."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

__all__ = ["ROW_PROBES", "SCHEMA_PROBES", "Found", "Search", "isolate"]

SCHEMA_PROBES = 12
"""Single rows tried before a call is given up whose refusal is about the schema, which its rows have in common."""

ROW_PROBES = 100
"""The same where nothing says that: enough to meet a good row where one in twenty is good (99.4%)."""


@dataclass(frozen=True, slots=True)
class Found:
    """The outcome of a search.

    Attributes:
        refused: The refused rows in order, each with its reason.
        given_up: Why the rows were not tried that are neither among those nor accepted; None where there are none.
    """

    refused: dict[int, str]
    given_up: str | None = None


Search: TypeAlias = "Generator[range, str | None, Found]"
"""Yields rows to send as one call; is sent None when they were accepted, else the reason of the refusal."""


def isolate(count: int, reason: str, *, probes: int = ROW_PROBES) -> Search:
    """Search the refused rows among the `count` rows of a call that was refused for `reason`.

    The rows are halved, and a half whose other half was accepted is known to hold a refused row without being sent, so
    a single refused row among n costs at most 2·log2(n) calls. A call of more than 2·`probes` rows is probed first:
    where each of `probes` single rows, spread evenly, is refused for the very same reason, the other rows are given up
    instead of being tried one by one. Nobody has refused those, and the outcome does not say so.

    Args:
        count: Rows of the refused call, at least 1.
        reason: What the service said of the call.
        probes: Single rows tried before the call is given up.

    Example:
        >>> search, answer = isolate(4, "bad"), None
        >>> try:
        ...     while True:
        ...         rows = search.send(answer)
        ...         answer = "row 2 is bad" if 2 in rows else None
        ... except StopIteration as end:
        ...     print(end.value.refused)
        {2: 'row 2 is bad'}
    """
    refused: dict[int, str] = {}
    gaps = [range(count)]
    if count > 2 * probes:
        gaps, accepted = yield from _probe(count, probes, refused)
        if not accepted and len(set(refused.values())) == 1:
            said = next(iter(refused.values()))
            return Found(refused, f"{probes} rows spread over the call were tried, and each was refused: {said}")
    # Without a refused probe, the refusal of the call still has to be explained by one of the gaps.
    unexplained = not refused
    for position, gap in enumerate(gaps):
        known = reason if unexplained and position == len(gaps) - 1 else None
        found = yield from _search(gap, known, refused)
        unexplained = unexplained and not found
    return Found(dict(sorted(refused.items())))


def _probe(count: int, probes: int, refused: dict[int, str]) -> Generator[range, str | None, tuple[list[range], bool]]:
    """Send single rows until one is accepted; return the rows between them, and whether one was."""
    tried: list[int] = []
    accepted = False
    while len(tried) < probes and not accepted:
        row = int(_spread(len(tried)) * count)
        tried.append(row)
        reason = yield range(row, row + 1)
        if reason is None:
            accepted = True
        else:
            refused[row] = reason
    edges = [-1, *sorted(tried), count]
    return [range(a + 1, b) for a, b in pairwise(edges) if a + 1 < b], accepted


def _search(rows: range, reason: str | None, refused: dict[int, str]) -> Generator[range, str | None, bool]:
    """Search `rows`, known to hold a refused one if there is a `reason`; return whether one was found."""
    if reason is None:
        reason = yield rows
        if reason is None:
            return False
    if len(rows) == 1:
        refused[rows[0]] = reason
        return True
    middle = len(rows) // 2
    found = yield from _search(rows[:middle], None, refused)
    yield from _search(rows[middle:], None if found else reason, refused)
    return True


def _spread(number: int) -> float:
    """Return the van der Corput sequence 1/2, 1/4, 3/4, 1/8, ...: each point in a widest gap of those before."""
    number, result, step = number + 1, 0.0, 0.5
    while number:
        result += step * (number & 1)
        number >>= 1
        step /= 2
    return result

"""Find the rows that the service rejects in a call that it rejected, with few further calls."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

__all__ = ["ROW_PROBES", "SCHEMA_PROBES", "Found", "Search", "isolate"]

SCHEMA_PROBES = 12
"""Single rows tried before a call is given up whose rejection is about the schema, which its rows have in common."""

ROW_PROBES = 100
"""The same where nothing says that: enough to meet a good row where one in twenty is good (99.4%)."""


@dataclass(frozen=True, slots=True)
class Found:
    """The outcome of a search.

    Attributes:
        rejected: The rejected rows in order, each with its reason.
        given_up: Why the rows were not tried that are neither among those nor accepted; None where there are none.
    """

    rejected: dict[int, str]
    given_up: str | None = None


Search: TypeAlias = "Generator[range, str | None, Found]"
"""Yields rows to send as one call; is sent None when they were accepted, else the reason of the rejection."""


def isolate(count: int, reason: str, *, probes: int = ROW_PROBES) -> Search:
    """Search the rejected rows among the `count` rows of a call that was rejected for `reason`.

    The rows are halved, and a half whose other half was accepted is known to hold a rejected row without being sent, so
    a single rejected row among n costs at most 2·log2(n) calls. A call of more than 2·`probes` rows is probed first:
    where each of `probes` single rows, spread evenly, is rejected for the very same reason, the other rows are given up
    instead of being tried one by one. Nobody has rejected those, and the outcome does not say so.

    Args:
        count: Rows of the rejected call, at least 1.
        reason: What the service said of the call.
        probes: Single rows tried before the call is given up.

    Example:
        >>> search, answer = isolate(4, "bad"), None
        >>> try:
        ...     while True:
        ...         rows = search.send(answer)
        ...         answer = "row 2 is bad" if 2 in rows else None
        ... except StopIteration as end:
        ...     print(end.value.rejected)
        {2: 'row 2 is bad'}
    """
    rejected: dict[int, str] = {}
    gaps = [range(count)]
    if count > 2 * probes:
        gaps, accepted = yield from _probe(count, probes, rejected)
        if not accepted and len(set(rejected.values())) == 1:
            said = next(iter(rejected.values()))
            return Found(rejected, f"{probes} rows spread over the call were tried, and each was rejected: {said}")
    # Without a rejected probe, the rejection of the call still has to be explained by one of the gaps.
    unexplained = not rejected
    for position, gap in enumerate(gaps):
        known = reason if unexplained and position == len(gaps) - 1 else None
        found = yield from _search(gap, known, rejected)
        unexplained = unexplained and not found
    return Found(dict(sorted(rejected.items())))


def _probe(count: int, probes: int, rejected: dict[int, str]) -> Generator[range, str | None, tuple[list[range], bool]]:
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
            rejected[row] = reason
    edges = [-1, *sorted(tried), count]
    return [range(a + 1, b) for a, b in pairwise(edges) if a + 1 < b], accepted


def _search(rows: range, reason: str | None, rejected: dict[int, str]) -> Generator[range, str | None, bool]:
    """Search `rows`, known to hold a rejected one if there is a `reason`; return whether one was found."""
    if reason is None:
        reason = yield rows
        if reason is None:
            return False
    if len(rows) == 1:
        rejected[rows[0]] = reason
        return True
    middle = len(rows) // 2
    found = yield from _search(rows[:middle], None, rejected)
    yield from _search(rows[middle:], None if found else reason, rejected)
    return True


def _spread(number: int) -> float:
    """Return the van der Corput sequence 1/2, 1/4, 3/4, 1/8, ...: each point in a widest gap of those before."""
    number, result, step = number + 1, 0.0, 0.5
    while number:
        result += step * (number & 1)
        number >>= 1
        step /= 2
    return result

"""Find the rows that the service refuses in a call that it refused, with few further calls."""

from __future__ import annotations

from collections.abc import Generator
from itertools import pairwise
from typing import TypeAlias

__all__ = ["Refused", "Search", "isolate"]

Search: TypeAlias = "Generator[range, str | None, Refused]"
"""Yields rows to send as one call; is sent None when they were accepted, else the reason of the refusal."""

Refused: TypeAlias = "dict[int, str]"
"""The refused rows, each with its reason."""

PROBES = 12
_SEARCH_BELOW = 256


def isolate(count: int, reason: str, *, probes: int = PROBES) -> Search:
    """Search the refused rows among the `count` rows of a call that was refused for `reason`.

    The rows are halved, and a half whose other half was accepted is known to hold a refused row without being sent, so
    a single refused row among n costs at most 2·log2(n) calls. A call of more than 256 rows is probed first: where each
    of `probes` single rows, spread evenly, is refused and none accepted, all its rows are taken as refused (as a
    changed schema does it) instead of being tried one by one.

    Args:
        count: Rows of the refused call, at least 1.
        reason: What the service said of the call.
        probes: Single rows tried before the whole call is given up.

    Example:
        >>> search, answer = isolate(4, "bad"), None
        >>> try:
        ...     while True:
        ...         rows = search.send(answer)
        ...         answer = "row 2 is bad" if 2 in rows else None
        ... except StopIteration as end:
        ...     print(end.value)
        {2: 'row 2 is bad'}
    """
    refused: Refused = {}
    gaps = [range(count)]
    if count > _SEARCH_BELOW:
        gaps = yield from _probe(count, probes, refused)
        if not gaps:
            said = next(iter(refused.values()))
            whole = f"{said} (refused as a whole: each of {len(refused)} rows tried alone was refused)"
            return {row: refused.get(row, whole) for row in range(count)}
    # Without a refused probe, the refusal of the call still has to be explained by one of the gaps.
    unexplained = not refused
    for position, gap in enumerate(gaps):
        known = reason if unexplained and position == len(gaps) - 1 else None
        found = yield from _search(gap, known, refused)
        unexplained = unexplained and not found
    return dict(sorted(refused.items()))


def _probe(count: int, probes: int, refused: Refused) -> Generator[range, str | None, list[range]]:
    """Send single rows until one is accepted; return the rows left between them, nothing if none was accepted."""
    tried: list[int] = []
    for number in range(probes):
        row = int(_spread(number) * count)
        tried.append(row)
        reason = yield range(row, row + 1)
        if reason is None:
            edges = [-1, *sorted(tried), count]
            return [range(a + 1, b) for a, b in pairwise(edges) if a + 1 < b]
        refused[row] = reason
    return []


def _search(rows: range, reason: str | None, refused: Refused) -> Generator[range, str | None, bool]:
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

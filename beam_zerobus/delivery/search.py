"""Find the rows that the service rejects in a call that it rejected, with few further calls and fewer streams.

A rejected call costs a stream, as the service ends it; an accepted one costs none. So the search sends parts that are
likely to be accepted.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias, TypeVar

from beam_zerobus.errors import agreeing, counted

__all__ = ["ROW_PROBES", "SCHEMA_PROBES", "RowSearch", "SearchResult", "isolate"]

SCHEMA_PROBES = 12
"""Single rows tried before a call is given up whose rejection is about the schema, which its rows have in common."""

ROW_PROBES = 100
"""The same where nothing says that: enough to meet a good row where one in twenty is good (99.4%)."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The outcome of a search.

    Attributes:
        rejected: The rejected rows in order, each with its reason.
        given_up: Why the rows were not tried that are neither among those nor accepted; None where there are none.
    """

    rejected: dict[int, str]
    given_up: str | None = None


_T = TypeVar("_T")
_Calls: TypeAlias = Generator[range, str | None, _T]
"""Yields rows to send as one call; receives None when they were accepted, else the reason of the rejection."""


class RowSearch:
    """The search for the rejected rows of one payload, from call to call; see `isolate`.

    Attributes:
        piece: The rows of the next call, counted in the payload.
        accepted: The pieces that were acknowledged.
        result: The outcome; None until the search has ended.

    Args:
        count: Rows of the rejected call, at least 1.
        reason: What the service said of the call.
        probes: As for `isolate`.
        max_rejections: As for `isolate`.

    Example:
        >>> search = RowSearch(2, "bad")
        >>> search.piece, search.answer(None), search.result
        (range(0, 1), False, SearchResult(rejected={1: 'bad'}, given_up=None))
    """

    def __init__(self, count: int, reason: str, *, probes: int = ROW_PROBES, max_rejections: int | None = None) -> None:
        self._calls = isolate(count, reason, probes=probes, max_rejections=max_rejections)
        self._sent: range | None = None
        self.piece = range(count)
        self.accepted: list[range] = []
        self.result: SearchResult | None = None
        self._next(None)

    def note_sent(self) -> bool:
        """Record that the piece was sent; return whether it had been sent before."""
        again, self._sent = self._sent == self.piece, self.piece
        return again

    def answer(self, reason: str | None) -> bool:
        """Record that the piece was accepted, or why it was rejected; return whether another is to be sent."""
        if reason is None:
            self.accepted.append(self.piece)
        return self._next(reason)

    def _next(self, reason: str | None) -> bool:
        try:
            self.piece = self._calls.send(reason)
        except StopIteration as end:
            self.result = end.value
        return self.result is None


def isolate(
    count: int, reason: str, *, probes: int = ROW_PROBES, max_rejections: int | None = None
) -> _Calls[SearchResult]:
    """Search the rejected rows among the `count` rows of a call that was rejected for `reason`.

    A call of more than 2·`probes` rows is probed first: where each of `probes` single rows, spread evenly, is rejected
    for the very same reason, the other rows are given up instead of being tried one by one. Nobody has rejected those,
    and the outcome does not say so.

    Then the first rejected row is searched by thirds, which costs at most 1.71·log2(n) calls and log3(n) rejections
    among n rows. The rows after it are sent as one call. If that is rejected too, the next row is searched; from then
    on, parts are as large as the distances between rejected rows suggest. So where few rows in a row are good, a
    rejected row costs little more than one rejection, which is the least possible.

    Args:
        count: Rows of the rejected call, at least 1.
        reason: What the service said of the call.
        probes: Single rows tried before the call is given up.
        max_rejections: Rejections after which the rows that are left are given up; None for no limit.

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
    return _Isolation(count, reason, probes, max_rejections).run()


class _GivenUpError(Exception):
    """No further row is tried; the message says why."""


class _Isolation:
    """The state of one search.

    `_rejected` has the rows that were found, and `_part` the number of rows to send as one call. Once two rows were
    found, `_distance` is the mean distance between rejected rows, in which each new one counts half.
    """

    def __init__(self, count: int, reason: str, probes: int, max_rejections: int | None) -> None:
        self._count = count
        self._reason = reason
        self._probes = probes
        self._max_rejections = max_rejections
        self._rejections = 0
        self._rejected: dict[int, str] = {}
        self._part = count
        self._distance: float | None = None

    def run(self) -> _Calls[SearchResult]:
        given_up = None
        try:
            gaps = (yield from self._probe()) if self._count > 2 * self._probes else [range(self._count)]
            for position, gap in enumerate(gaps):
                # If nothing else was rejected, the last gap is why the call was.
                is_cause = not self._rejected and position == len(gaps) - 1
                yield from self._search_gap(gap, self._reason if is_cause else None)
        except _GivenUpError as end:
            given_up = str(end)
        return SearchResult(dict(sorted(self._rejected.items())), given_up)

    def _send(self, rows: range) -> _Calls[str | None]:
        if self._rejections == self._max_rejections:
            raise _GivenUpError(f"the search ended after {self._rejections:,} rejected calls, which is the limit")
        reason = yield rows
        self._rejections += reason is not None
        return reason

    def _probe(self) -> _Calls[list[range]]:
        """Send single rows until one is accepted; return the rows between them."""
        tried: list[int] = []
        reason: str | None = self._reason
        while reason is not None and len(tried) < self._probes:
            row = int(_spread(len(tried)) * self._count)
            tried.append(row)
            reason = yield from self._send(range(row, row + 1))
            if reason is not None:
                self._rejected[row] = reason
                self._part = 1
        if len(self._rejected) == len(tried) and len(set(self._rejected.values())) == 1:
            raise _GivenUpError(
                f"{counted(len(tried), 'row')} spread over the call {agreeing(len(tried), 'was')} tried, and each was "
                f"rejected: {reason}"
            )
        edges = [-1, *sorted(tried), self._count]
        return [range(a + 1, b) for a, b in pairwise(edges) if a + 1 < b]

    def _search_gap(self, rows: range, reason: str | None) -> _Calls[None]:
        """Search consecutive rows, known to hold a rejected one if there is a `reason`."""
        since, accepted_before = rows.start, False
        while rows:
            part = rows if reason else rows[: self._part]
            reason = reason or (yield from self._send(part))
            if reason is None:
                rows = rows[len(part) :]
                self._part *= 2 if accepted_before else 1
                accepted_before = True
                continue
            row = yield from self._first_rejected(part, reason)
            if len(self._rejected) > 1:
                self._note_distance(row + 1 - since)
            rows, since = range(row + 1, rows.stop), row + 1
            reason, accepted_before = None, False

    def _first_rejected(self, rows: range, reason: str) -> _Calls[int]:
        """Return the first rejected row of a call that was rejected."""
        while len(rows) > 1:
            some = rows[: max(1, len(rows) // 3)]
            answer = yield from self._send(some)
            rows, reason = (rows[len(some) :], reason) if answer is None else (some, answer)
        self._rejected[rows[0]] = reason
        return rows[0]

    def _note_distance(self, distance: int) -> None:
        self._distance = distance if self._distance is None else (self._distance + distance) / 2
        self._part = max(1, int(self._distance / 2))


def _spread(number: int) -> float:
    """Return the van der Corput sequence 1/2, 1/4, 3/4, 1/8, ...: each point in a widest gap of those before."""
    number, result, step = number + 1, 0.0, 0.5
    while number:
        result += step * (number & 1)
        number >>= 1
        step /= 2
    return result

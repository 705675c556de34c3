"""What the page shows, as JSON: everything but rows in one answer, and the last rows of a table in another."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import json
import math
from dataclasses import dataclass
from typing import Any

from beam_zerobus.emulator.access.tokens import Token, TokenIssuer
from beam_zerobus.emulator.counts.activity import Activity, SeenStream
from beam_zerobus.emulator.counts.stats import StatsBook, StreamStats
from beam_zerobus.schema.float_names import float_name
from beam_zerobus.version import __version__

__all__ = ["PageView", "shown"]

_MAX_TEXT = 200
_MAX_STREAMS = 50
_EXACT_IN_JAVASCRIPT = 2**53


@dataclass(frozen=True, slots=True)
class PageView:
    """Answers what the page asks for.

    Attributes:
        stats: The counts, with what happened last.
        tokens: Issues tokens, and has the clock.
    """

    stats: StatsBook
    tokens: TokenIssuer

    def activity(self) -> dict[str, Any]:
        """Return counts, streams, calls, events, tokens and the clock."""
        stats, activity = self.stats.snapshot(), self.stats.activity
        seen = activity.streams()
        return {
            "version": __version__,
            "now": self.tokens.now(),
            "ahead": self.tokens.ahead,
            "rows_each_second": activity.rows_each_second(),
            "streams_opened": stats.streams_opened,
            "streams_open": stats.streams_open,
            "tokens_issued": stats.tokens_issued,
            "faults": dict(stats.faults),
            "tables": {name: dataclasses.asdict(table) for name, table in stats.tables.items()},
            "streams": [_stream(one, seen.get(one.stream_id)) for one in _last_streams(stats.streams)],
            "calls": [dataclasses.asdict(call) for call in activity.calls()],
            "events": [dataclasses.asdict(event) for event in activity.events()],
            "tokens": [self._token(token) for token in reversed(list(self.tokens.issued))],
        }

    def rows(self, table: str) -> dict[str, Any]:
        """Return the last rows of a table that became durable, the newest first."""
        activity: Activity = self.stats.activity
        return {"rows": [{name: shown(value) for name, value in row.items()} for row in activity.rows(table)]}

    def _token(self, token: Token) -> dict[str, Any]:
        state = "expired" if self.tokens.is_expired(token) else "revoked" if self.tokens.is_revoked(token) else "valid"
        return {**dataclasses.asdict(token), "state": state}


def _last_streams(streams: tuple[StreamStats, ...]) -> list[StreamStats]:
    """Return open streams before those that ended, and later ones before earlier ones."""
    newest = sorted(enumerate(streams), key=lambda one: (one[1].end is not None, -one[0]))
    return [stream for _, stream in newest[:_MAX_STREAMS]]


def _stream(stream: StreamStats, seen: SeenStream | None) -> dict[str, Any]:
    known = dataclasses.asdict(stream)
    return known if seen is None else known | dataclasses.asdict(seen)


def shown(value: Any) -> Any:
    r"""Return a value as the page shows it: text that is cut where it is long, a number, a boolean or None.

    Example:
        >>> shown(dt.date(2026, 11, 29)), shown(b"\x01\xff"), shown(["a", None]), shown(0.5)
        ('2026-11-29', '0x01ff', '["a", null]', 0.5)
    """
    value = _plain(value)
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    return _cut(value) if isinstance(value, str) else value


def _plain(value: Any) -> Any:  # noqa: PLR0911 - one for each type
    match value:
        case bool() | None:
            return value
        case int():
            return value if abs(value) < _EXACT_IN_JAVASCRIPT else str(value)
        case float():
            return value if math.isfinite(value) else float_name(value)
        case bytes():
            return f"0x{_cut(value).hex()}"
        case dt.datetime():
            return value.isoformat(sep=" ").replace("+00:00", "Z")
        case decimal.Decimal():
            return format(value, "f")
        case [(_, _), *_] if isinstance(value[0], tuple):  # a map, as pyarrow has it
            return {str(_plain(name)): _plain(one) for name, one in value[:_MAX_TEXT]}
        case list():
            return [_plain(one) for one in value[:_MAX_TEXT]]
        case dict():
            return {name: _plain(one) for name, one in value.items()}
        case _:
            return _cut(str(value))


def _cut(value: Any) -> Any:
    if len(value) <= _MAX_TEXT:
        return value
    return value[:_MAX_TEXT] if isinstance(value, bytes) else f"{value[:_MAX_TEXT]}…"

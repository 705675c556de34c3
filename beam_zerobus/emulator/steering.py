"""`Steering`: what a test sees and changes of an emulator while it runs."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any

from beam_zerobus.emulator.access.tokens import TokenIssuer
from beam_zerobus.emulator.counts.stats import Stats
from beam_zerobus.emulator.faults import FaultInjector, Faults
from beam_zerobus.emulator.host import Host
from beam_zerobus.emulator.tables.table import Table
from beam_zerobus.errors import ConfigurationError

__all__ = ["Steering", "faults_as_json"]


class Steering(ABC):
    """Counts, faults, tokens, the clock and the streams of an emulator."""

    _host: Host
    _tokens: TokenIssuer

    @property
    @abstractmethod
    def tables(self) -> tuple[Table, ...]:
        """All tables."""

    @property
    def stats(self) -> Stats:
        """The current counts."""
        return self._host.stats.snapshot()

    @property
    def faults(self) -> Faults:
        """The faults to inject; setting them takes effect at once and restarts their counts."""
        return self._host.injector.faults

    @faults.setter
    def faults(self, faults: Faults | None) -> None:
        faults = faults or Faults()
        self._record("PUT", "/control/faults", faults_as_json(faults))
        self._host.injector = FaultInjector(faults)

    @property
    def token_life(self) -> float:
        """Seconds that new tokens are valid; may be set."""
        return self._tokens.life

    @token_life.setter
    def token_life(self, seconds: float) -> None:
        self._tokens.life = seconds

    def issue_token(self, table: str | None = None, life: float | None = None, *, admin: bool = False) -> str:
        """Return an access token without asking the token endpoint.

        Args:
            table: The table that it allows writing to; None for one for the workspace's interfaces only.
            life: Seconds that it is valid; None for `token_life`.
            admin: It is the administrator's, who may execute every SQL statement; otherwise it is the client's.
        """
        token = self._tokens.issue(table, life, is_admin=admin)
        self._record("POST", "/control/tokens", {"table": table, "life": life, "admin": admin}, token)
        return token

    def revoke_tokens(self) -> None:
        """Make all tokens issued so far invalid; open streams end with UNAUTHENTICATED."""
        self._record("POST", "/control/tokens/revoke", {})
        self._tokens.revoke_all()

    def advance_clock(self, seconds: float) -> None:
        """Let seconds pass at once: tokens expire, and rows become readable that would be by then.

        Raises:
            ConfigurationError: The clock cannot go back.
        """
        if not 0 <= seconds <= 1e9:
            raise ConfigurationError(f"the clock advances by 0 to 1,000,000,000 seconds, not {seconds}")
        self._record("POST", "/control/clock", {"seconds": seconds})
        self._tokens.advance(seconds)
        for table in self.tables:
            table.advance(seconds)

    def rotate_streams(self, seconds: float = 0.0) -> None:
        """Rotate all open streams, as the service does: the close signal, and so many seconds later the end."""
        self._record("POST", "/control/streams/rotate", {"seconds": seconds})
        self._host.rotate(seconds)

    def _record(self, method: str, path: str, body: dict[str, Any], token: str | None = None) -> None:
        """Record a change as the control API's request for it."""
        if self._host.recorder is not None:
            self._host.recorder.control(method, path, body, token)

    def _record_table(self, table: Table) -> None:
        layout = {"partitioned_by": table.layout.partitioned_by, "rescue_column": table.layout.rescue_column}
        self._record("POST", "/control/tables", {"name": table.name, "columns": table.schema.to_ddl(), **layout})

    def _mark(self, kind: str) -> None:
        """Record that the emulator is killed or stopped."""
        if self._host.recorder is not None:
            self._host.recorder.mark(kind)


def faults_as_json(faults: Faults) -> dict[str, Any]:
    """Return faults in the form in which the control API takes them; without rules that are Python functions.

    Example:
        >>> faults_as_json(Faults(rate=0.5))["rate"]
        0.5
    """
    rules = [
        {"column": rule.column, "value": rule.value, "table": rule.table}
        for rule in faults.reject_rows
        if rule.predicate is None
    ]
    return {**dataclasses.asdict(dataclasses.replace(faults, reject_rows=())), "reject_rows": rules}

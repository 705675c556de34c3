"""The bodies of requests to the control API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from beam_zerobus.emulator.otlp import OTLP_COLUMNS
from beam_zerobus.errors import ConfigurationError

__all__ = ["Change", "NewTable", "NewToken", "Privileges", "Seconds"]


@dataclass(frozen=True, kw_only=True)
class NewTable:
    """A table to create: its name, and its columns as DDL, or as OTLP has them for a signal."""

    name: str
    columns: str | None = None
    otlp: Literal["traces", "logs", "metrics"] | None = None
    partitioned_by: tuple[str, ...] = ()
    rescue_column: str | None = None

    def __post_init__(self) -> None:
        if (self.columns is None) == (self.otlp is None):
            raise ConfigurationError("NewTable: set columns, or otlp, and only one of them")

    @property
    def ddl(self) -> str:
        """The columns."""
        return OTLP_COLUMNS[self.otlp] if self.otlp is not None else self.columns or ""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change of a table's columns: columns to add, as DDL; one to drop; or one to widen, and to which type."""

    add: str | None = None
    drop: str | None = None
    widen: str | None = None
    to: str | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("add", "drop", "widen") if getattr(self, name) is not None]
        if len(given) != 1 or (self.to is None) != (self.widen is None):
            raise ConfigurationError("Change: set add, or drop, or widen and to, and only one of them")


@dataclass(frozen=True, kw_only=True)
class Privileges:
    """Privileges to grant or to revoke; all that Zerobus needs if there are none."""

    privileges: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NewToken:
    """A token to issue: for a table, or for the workspace's interfaces; seconds that it is valid."""

    table: str | None = None
    life: float | None = None
    admin: bool = False


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """A number of seconds."""

    seconds: float = 0.0

"""Who may do what: the privileges of principals on catalogs, schemas and tables."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable

__all__ = ["ADMIN", "GRANTS", "PRIVILEGES", "TO_WRITE", "Grants"]

ADMIN = "admin@localhost"
"""Administers the emulator's workspace and may do everything; `Emulator.issue_token(admin=True)` makes a token."""

TO_WRITE = frozenset({"SELECT", "MODIFY"})
GRANTS = TO_WRITE | {"USE CATALOG", "USE SCHEMA"}
"""What a client needs to write to a table, each by its name."""

PRIVILEGES = GRANTS | {"ALL PRIVILEGES", "CREATE TABLE", "MANAGE"}

_LEVELS = {"USE CATALOG": 1, "USE SCHEMA": 2}
_OF_A_NEW_WORKSPACE = (frozenset({"USE CATALOG"}), frozenset({"USE SCHEMA", "CREATE TABLE"}), frozenset[str]())


class Grants:
    """The privileges of principals, each on the catalog, schema or table that it was granted on; thread-safe.

    As in Unity Catalog, what is granted on a catalog or schema holds for what is inside, and the owner of a table may
    do everything with it but write through Zerobus, which needs each privilege by its name. The client may use every
    catalog, and create tables in every schema, until that is revoked.

    Args:
        client: The principal that writes.

    Example:
        >>> grants = Grants("client")
        >>> grants.grant("client", "main.iot", {"SELECT"})
        >>> sorted(grants.effective("client", "main.iot.air"))
        ['CREATE TABLE', 'SELECT', 'USE CATALOG', 'USE SCHEMA']
    """

    def __init__(self, client: str) -> None:
        self.client = client
        self._lock = threading.Lock()
        self._granted: defaultdict[str, dict[str, frozenset[str]]] = defaultdict(dict)
        self._owners: dict[str, str] = {}

    @property
    def principals(self) -> frozenset[str]:
        """All that privileges can be granted to."""
        return frozenset({self.client, ADMIN})

    def granted(self, principal: str, name: str) -> frozenset[str]:
        """Return what a principal was granted on a catalog, schema or table itself."""
        with self._lock:
            at_first = _OF_A_NEW_WORKSPACE[name.count(".")] if principal == self.client else frozenset[str]()
            return self._granted[name.lower()].get(principal, at_first)

    def effective(self, principal: str, name: str) -> frozenset[str]:
        """Return the privileges on a catalog, schema or table, with those that are inherited."""
        parts = name.split(".")
        above = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
        return frozenset[str]().union(*(self.granted(principal, name) for name in above))

    def may(self, principal: str, privilege: str, name: str) -> bool:
        """Return whether a principal may do what a privilege allows: by that, by more, or as the owner."""
        if principal == ADMIN or self.owns(principal, name):
            return True
        held = self.effective(principal, name)
        return privilege in held or ("ALL PRIVILEGES" in held and privilege != "MANAGE")

    def owns(self, principal: str, name: str) -> bool:
        """Return whether a principal owns a table."""
        with self._lock:
            return self._owners.get(name.lower()) == principal

    def own(self, principal: str, name: str) -> None:
        """Make a principal the owner of a table."""
        with self._lock:
            self._owners[name.lower()] = principal

    def grant(self, principal: str, name: str, privileges: Iterable[str]) -> None:
        """Grant privileges on a catalog, schema or table."""
        held = self.granted(principal, name) | frozenset(privileges)
        with self._lock:
            self._granted[name.lower()][principal] = held

    def revoke(self, principal: str, name: str, privileges: Iterable[str]) -> None:
        """Revoke privileges on a catalog, schema or table; what is inherited stays."""
        held = self.granted(principal, name) - frozenset(privileges)
        with self._lock:
            self._granted[name.lower()][principal] = held

    def change(self, table: str, privileges: Iterable[str], *, held: bool) -> None:
        """Grant or revoke privileges that the client needs for a table, each where it belongs."""
        for privilege in privileges:
            level = _LEVELS.get(privilege, 3)
            name = ".".join(table.split(".")[:level])
            (self.grant if held else self.revoke)(self.client, name, {privilege})

    def forget(self, table: str) -> None:
        """Forget a table that was dropped."""
        with self._lock:
            self._granted.pop(table.lower(), None)
            self._owners.pop(table.lower(), None)

    def clear(self) -> None:
        """Be as in a new workspace."""
        with self._lock:
            self._granted.clear()
            self._owners.clear()

"""`SqlWarehouse`: SQL statements, executed by the SQL Statement API."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from beam_zerobus.errors import AuthenticationError, ConfigurationError, ZerobusError, redact_url
from beam_zerobus.workspace.http import CHECK_WORKSPACE, Answer, ask
from beam_zerobus.workspace.secret import Secret

__all__ = ["SqlWarehouse", "StatementError"]

_PATH = "/api/2.0/sql/statements"
STATEMENT_LIMIT = 600.0  # a classic warehouse takes some minutes to start
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
_UNFINISHED = ("PENDING", "RUNNING")
_SHOWN_CHARACTERS = 300
_CONDITION = re.compile(r"\[([A-Z0-9_.]+)\]")
_WHERE_IT_IS = "the end of the HTTP path in the warehouse's connection details: /sql/1.0/warehouses/<id>"
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


class StatementError(ConfigurationError):
    """A statement was executed and failed.

    Attributes:
        condition: The name that Databricks has for the failure, such as ``"PRINCIPAL_DOES_NOT_EXIST"``; else empty.
    """

    condition: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlWarehouse:
    """A SQL warehouse of a workspace.

    Databricks' SDK has the same interface. It is not used here, as each request has the limits of `http.ask` (time,
    size, no redirects), and as workers need nothing else of it.

    Attributes:
        workspace_url: The workspace.
        warehouse_id: The warehouse's id.
        headers: Fetches the headers that sign a request in.
        limit: Seconds that a statement may take, with the start of the warehouse.
    """

    workspace_url: str
    warehouse_id: str
    headers: Callable[[], Mapping[str, Secret]] = field(repr=False)
    limit: float = STATEMENT_LIMIT

    def execute(self, statement: str) -> list[list[str | None]]:
        """Execute a statement, wait for its end, and return the rows of its result.

        Args:
            statement: One SQL statement; it must do no harm if it is executed twice, as an answer may get lost.

        Raises:
            StatementError: The statement failed; the message has the warehouse's reason.
            AuthenticationError: The credentials are rejected, or may not use the warehouse.
            ConfigurationError: There is no such warehouse, or the statement takes too long.
            TransientError: The workspace cannot be reached.
        """
        headers: dict[str, str | Secret] = {**self.headers(), "content-type": "application/json"}
        # The statement is started first and asked for then: waiting for it in one request could take minutes.
        request = {"statement": statement, "warehouse_id": self.warehouse_id, "wait_timeout": "0s"}
        found = self._content(self._ask("POST", _PATH, headers, Secret(json.dumps(request))))
        deadline, pause = time.monotonic() + self.limit, _FIRST_PAUSE
        while _state(found) in _UNFINISHED:
            path = f"{_PATH}/{quote(str(found.get('statement_id')), safe='')}"
            if time.monotonic() > deadline:
                with suppress(ZerobusError):  # nobody waits for it any more
                    self._ask("POST", f"{path}/cancel", headers, Secret("{}"))
                # Not transient: another try would let the caller wait as long again.
                raise ConfigurationError(
                    f"{self._name} did not execute {_shown(statement)} within {self.limit:.0f} s: check that it starts"
                )
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            found = self._content(self._ask("GET", path, headers, None))
        if _state(found) != "SUCCEEDED":
            reason = _reason(found)
            named = _CONDITION.match(reason)
            raise StatementError(
                f"{self._name} could not execute {_shown(statement)}: {reason}",
                {"quoted": reason, "condition": named[1] if named else ""},
            )
        return _rows(found)

    def state(self) -> str:
        """Return what the warehouse does, such as ``RUNNING`` or ``STOPPED``; asking does not start it.

        Raises:
            ZerobusError: As for `execute`.
        """
        headers = self.headers()
        path = f"/api/2.0/sql/warehouses/{quote(self.warehouse_id, safe='')}"
        said = str(self._content(self._ask("GET", path, headers, None)).get("state"))
        return said if _ID.fullmatch(said) else "in an unknown state"

    @property
    def _name(self) -> str:
        shown = self.warehouse_id if _ID.fullmatch(self.warehouse_id) else "(of another form)"
        return f"The SQL warehouse {shown} at {redact_url(self.workspace_url)}"

    def _ask(self, method: str, path: str, headers: Mapping[str, str | Secret], body: Secret | None) -> Answer:
        url = f"{self.workspace_url}{path}"
        return ask(method, url, service=self._name, cause="SQL_WAREHOUSE", headers=headers, body=body)

    def _content(self, answer: Answer) -> dict[str, Any]:
        content = answer.json()
        if answer.status == 200 and isinstance(content, dict):
            return content
        if answer.status == 401:
            raise AuthenticationError(
                f"{self._name} rejected the token (401): check the credentials, and that they belong to this workspace"
            )
        if answer.status == 403:
            raise AuthenticationError(
                f"{self._name} may not be used with these credentials (403): grant CAN USE on the warehouse"
            )
        if answer.status == 404:
            raise ConfigurationError(
                f"{self._name} was not found (404): check warehouse_id (DATABRICKS_WAREHOUSE_ID), {_WHERE_IT_IS}"
            )
        if answer.status == 413:
            raise ConfigurationError(f"{self._name} takes no statement of this length (413): give it fewer columns")
        raise ConfigurationError(
            f"{self._name} answered {answer.status}: {CHECK_WORKSPACE}, and the warehouse's id, {_WHERE_IT_IS}"
        )


def _state(content: Mapping[str, Any]) -> str:
    return str(_mapping(content.get("status")).get("state"))


def _reason(content: Mapping[str, Any]) -> str:
    """Return what the warehouse says, on one line and not too long."""
    status = _mapping(content.get("status"))
    said = _mapping(status.get("error")).get("message") or f"its state is {_state(content)}"
    text = re.sub(r"[^\x20-\x7e]+", " ", str(said)).strip()
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _rows(content: Mapping[str, Any]) -> list[list[str | None]]:
    found = _mapping(content.get("result")).get("data_array")
    return [row for row in found if isinstance(row, list)] if isinstance(found, list) else []


def _shown(statement: str) -> str:
    """Return a statement's first line, without the semicolon at its end, and not too long."""
    first, *more = statement.strip().removesuffix(";").splitlines()
    shown = first[:_SHOWN_CHARACTERS]
    return f"{shown}..." if more or shown != first else first


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}

"""The SQL Statement API: statements that clients send over HTTP, and their outcomes, which clients fetch."""

from __future__ import annotations

import re
import threading
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import orjson

from beam_zerobus.emulator.http.error import HttpError
from beam_zerobus.emulator.sql.warehouse import Result, SqlError, Warehouse

__all__ = ["STATEMENTS_PATH", "WAREHOUSES_PATH", "WAREHOUSE_ID", "SqlStatements"]

STATEMENTS_PATH = "/api/2.0/sql/statements"
WAREHOUSES_PATH = "/api/2.0/sql/warehouses/"
WAREHOUSE_ID = "0123456789abcdef"
"""The id of the emulator's only SQL warehouse."""

_WAIT = re.compile(r"0s|([5-9]|[1-4][0-9]|50)s")
_MAX_KEPT = 1_000


@dataclass(slots=True)
class SqlStatements:
    """Answers requests of the SQL Statement API.

    A statement is executed while its request is answered. With ``wait_timeout`` of 0 the answer is PENDING all the
    same, as a client has to be ready for that, and the next one has the outcome.

    Invariant, under the one lock: `_outcomes` are those of the last 1,000 statements, each with its principal.

    Attributes:
        warehouse: Executes the statements.
    """

    warehouse: Warehouse
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _outcomes: OrderedDict[str, tuple[str, dict[str, Any]]] = field(default_factory=OrderedDict)

    def post(self, principal: str, path: str, body: bytes) -> dict[str, Any]:
        """Execute a statement, or cancel one that is over.

        Raises:
            HttpError: The request is rejected.
        """
        if cancelled := re.fullmatch(rf"{STATEMENTS_PATH}/([^/]+)/cancel", path):
            self._outcome(principal, cancelled[1])
            return {}
        if path.rstrip("/") != STATEMENTS_PATH:
            raise HttpError(404, "ENDPOINT_NOT_FOUND", f"No API found for 'POST {path}'")
        statement, wait = _read(body)
        outcome = {"statement_id": str(uuid.uuid4()), **self._execute(statement, principal)}
        with self._lock:
            self._outcomes[outcome["statement_id"]] = principal, outcome
            if len(self._outcomes) > _MAX_KEPT:
                self._outcomes.popitem(last=False)
        if wait == "0s":
            return {"statement_id": outcome["statement_id"], "status": {"state": "PENDING"}}
        return outcome

    def get(self, principal: str, path: str) -> dict[str, Any]:
        """Return the outcome of a statement.

        Raises:
            HttpError: There is none of that id.
        """
        return self._outcome(principal, path.removeprefix(STATEMENTS_PATH).strip("/"))

    def describe_warehouse(self, path: str) -> dict[str, Any]:
        """Describe the warehouse.

        Raises:
            HttpError: The path names another one.
        """
        if path.removeprefix(WAREHOUSES_PATH) != WAREHOUSE_ID:
            raise _no_such_warehouse()
        return {"id": WAREHOUSE_ID, "name": "emulator", "state": "RUNNING"}

    def clear(self) -> None:
        """Forget all statements."""
        with self._lock:
            self._outcomes.clear()

    def _outcome(self, principal: str, statement_id: str) -> dict[str, Any]:
        with self._lock:
            by, outcome = self._outcomes.get(statement_id, ("", {}))
        if by != principal:
            raise HttpError(404, "NOT_FOUND", f"The statement {statement_id[:100]} was not found.")
        return outcome

    def _execute(self, statement: str, principal: str) -> dict[str, Any]:
        try:
            result = self.warehouse.execute(statement, principal)
        except SqlError as error:
            problem = {"error_code": "BAD_REQUEST", "message": str(error)}
            return {"status": {"state": "FAILED", "error": problem, "sql_state": error.state}}
        return {"status": {"state": "SUCCEEDED"}, **_written(result)}


def _read(body: bytes) -> tuple[str, str]:
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise HttpError(400, "MALFORMED_REQUEST", "the body is not JSON") from None
    if not isinstance(request, dict) or not isinstance(request.get("statement"), str):
        raise _invalid("statement is missing")
    if request.get("warehouse_id") != WAREHOUSE_ID:
        raise _no_such_warehouse()
    wait = request.get("wait_timeout", "10s")
    if not isinstance(wait, str) or not _WAIT.fullmatch(wait):
        raise _invalid("wait_timeout must be 0s, or 5s to 50s")
    if request.get("disposition", "INLINE") != "INLINE" or request.get("format", "JSON_ARRAY") != "JSON_ARRAY":
        raise _invalid("the emulator knows the disposition INLINE and the format JSON_ARRAY only")
    if request.get("parameters"):
        raise _invalid("the emulator knows no parameters of statements")
    return request["statement"], wait


def _no_such_warehouse() -> HttpError:
    return HttpError(404, "NOT_FOUND", f"SQL warehouse was not found; the emulator's has the id {WAREHOUSE_ID}")


def _invalid(message: str) -> HttpError:
    return HttpError(400, "INVALID_PARAMETER_VALUE", message)


def _written(result: Result) -> dict[str, Any]:
    columns = [
        {"name": name, "position": position, "type_name": "STRING", "type_text": "STRING"}
        for position, name in enumerate(result.columns)
    ]
    rows = len(result.rows)
    chunk = {"chunk_index": 0, "row_offset": 0, "row_count": rows}
    manifest = {
        "format": "JSON_ARRAY",
        "schema": {"column_count": len(columns), "columns": columns},
        "total_chunk_count": 1 if rows else 0,
        "total_row_count": rows,
        "truncated": False,
        "chunks": [chunk] if rows else [],
    }
    return {"manifest": manifest, "result": {**chunk, "data_array": [list(row) for row in result.rows]} if rows else {}}

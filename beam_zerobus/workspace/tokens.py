"""`TokenSource`: request headers with a token, fetched with credentials, cached for its life and renewed in time."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from beam_zerobus.workspace.credentials import Credentials

__all__ = ["TokenSource"]

# The service closes a stream after about 15 minutes, so that a token this old at its opening outlives it.
_STREAM_LIFE = 16 * 60.0


class TokenSource:
    """Tokens for one table, cached and renewed; shared by the streams of a writer.

    Invariants, under the one lock: `_headers` carry what the endpoint answered last and not since rejected; it is
    renewed when less than a stream's life of it is left, or less than half of its own life if that is shorter.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        table: str,
        endpoint: str,
        workspace_url: str | None,
        on_refresh: Callable[[], None] = lambda: None,
    ) -> None:
        self._credentials = credentials
        self._table = table
        self._workspace_url = workspace_url or ""
        self._write_form = _write_form(table, endpoint)
        self._on_refresh = on_refresh
        self._lock = threading.Lock()
        self._headers: dict[str, str] | None = None
        self._renew_at = 0.0

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers of a stream, with a token that is good for the stream's life where possible.

        Raises:
            AuthenticationError: Credentials are missing or rejected.
            TransientError: The token endpoint could not be reached or is overloaded.
        """
        with self._lock:
            if self._headers is None or time.monotonic() >= self._renew_at:
                self._headers, life = self._credentials.request_headers(self._workspace_url, self._write_form)
                self._renew_at = time.monotonic() + max(life - _STREAM_LIFE, life / 2)
                if life:
                    self._on_refresh()
            return [*self._headers.items(), ("x-databricks-zerobus-table-name", self._table)]

    def invalidate(self) -> None:
        """Forget the token: the service rejected it."""
        with self._lock:
            self._headers = None

    def workspace_headers(self) -> dict[str, str]:
        """Buy headers for the workspace's own interfaces, such as Unity Catalog; not cached."""
        return self._credentials.request_headers(self._workspace_url, {"scope": "all-apis"})[0]


def _write_form(table: str, endpoint: str) -> dict[str, str]:
    """Describe a token that may write to `table`, as the service wants it."""
    catalog, schema, _ = table.split(".")
    workspace_id = (urlsplit(endpoint).hostname or "").split(".")[0]
    details = [
        {
            "type": "unity_catalog_privileges",
            "privileges": ["USE CATALOG"],
            "object_type": "CATALOG",
            "object_full_path": catalog,
        },
        {
            "type": "unity_catalog_privileges",
            "privileges": ["USE SCHEMA"],
            "object_type": "SCHEMA",
            "object_full_path": f"{catalog}.{schema}",
        },
        {
            "type": "unity_catalog_privileges",
            "privileges": ["SELECT", "MODIFY"],
            "object_type": "TABLE",
            "object_full_path": table,
            "operations": ["zerobuswrite"],
        },
    ]
    return {
        "scope": "all-apis",
        "resource": f"api://databricks/workspaces/{workspace_id}/zerobusDirectWriteApi",
        "authorization_details": json.dumps(details),
    }

"""`TokenSource`: request headers with a token, fetched with credentials, cached and renewed before it expires."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from beam_zerobus.errors import AuthenticationError, ZerobusError
from beam_zerobus.workspace.credentials import SUPPLIER_LIMIT, Credentials
from beam_zerobus.workspace.http import REQUEST_LIMIT
from beam_zerobus.workspace.secret import Secret
from beam_zerobus.workspace.single_flight import SingleFlight

__all__ = ["FETCH_LIMIT", "TokenSource"]

FETCH_LIMIT = 2 * SUPPLIER_LIMIT + REQUEST_LIMIT
"""Seconds that fetching a token may take in all: id and secret from callables, and the request."""

# The service closes a stream after about 15 minutes: a token with this much left at its opening outlives it.
_STREAM_LIFE = 16 * 60.0


class TokenSource:
    """Tokens for one table, cached and renewed; shared by the streams of a writer and any number of threads.

    Threads that need a token at the same time share one request and its outcome.

    Invariants, under the one lock: `_headers` carry the last token that was fetched and not rejected since; it is
    renewed when it is valid for less than a stream's life, or for less than half of its own lifetime if that is
    shorter. A token that was asked for before `invalidate` is not kept.
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
        self._fetching: SingleFlight[Mapping[str, Secret]] = SingleFlight(limit=FETCH_LIMIT + 5.0)
        self._headers: Mapping[str, Secret] | None = None
        self._renew_at = 0.0
        self._invalidated = 0

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers of a stream, with a token that outlives the stream where possible.

        Raises:
            AuthenticationError: Credentials are missing or rejected.
            TransientError: The token endpoint could not be reached or is overloaded.
            ConfigurationError: `workspace_url` has no token endpoint, or headers cannot be sent.
        """
        headers = self._cached() or self._fetching.run(self._renew)
        return [
            *((name, value.reveal()) for name, value in headers.items()),
            ("x-databricks-zerobus-table-name", self._table),
        ]

    def invalidate(self) -> None:
        """Forget the token: the service rejected it."""
        with self._lock:
            self._headers = None
            self._invalidated += 1
        self._fetching.forget()

    def workspace_headers(self) -> Mapping[str, Secret]:
        """Fetch headers for the workspace's own interfaces, such as Unity Catalog; not cached."""
        return self._request({"scope": "all-apis"})[0]

    def _cached(self) -> Mapping[str, Secret] | None:
        with self._lock:
            return self._headers if time.monotonic() < self._renew_at else None

    def _renew(self) -> Mapping[str, Secret]:
        if cached := self._cached():  # another thread was faster
            return cached
        with self._lock:
            invalidated = self._invalidated
        headers, lifetime = self._request(self._write_form)
        with self._lock:
            if self._invalidated == invalidated:
                self._headers = headers
                self._renew_at = time.monotonic() + max(lifetime - _STREAM_LIFE, lifetime / 2)
        if lifetime:
            self._on_refresh()
        return headers

    def _request(self, form: Mapping[str, str]) -> tuple[Mapping[str, Secret], float]:
        try:
            headers, lifetime = self._credentials.request_headers(self._workspace_url, form)
            return {name: Secret(value) for name, value in headers.items()}, lifetime
        except ZerobusError:
            raise
        except Exception as error:
            raise AuthenticationError(
                f"{type(self._credentials).__name__} raised {type(error).__name__}: correct the credentials"
            ) from error


def _write_form(table: str, endpoint: str) -> dict[str, str]:
    """Describe a token that may write to `table`, in the service's form."""
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

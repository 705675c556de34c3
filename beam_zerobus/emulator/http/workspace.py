"""What the workspace answers: OAuth's token endpoint, and Unity Catalog's endpoints of tables and permissions."""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from beam_zerobus.emulator.access.grants import ADMIN, PRIVILEGES, Grants
from beam_zerobus.emulator.access.tokens import InvalidTokenError, TokenIssuer
from beam_zerobus.emulator.counts.stats import StatsBook
from beam_zerobus.emulator.faults import FaultInjector
from beam_zerobus.emulator.http.error import HttpError
from beam_zerobus.emulator.tables.table import Table

__all__ = ["Workspace"]

_RESOURCE = re.compile(r"api://databricks/workspaces/[^/]+/zerobusDirectWriteApi")
_TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - the name of a grant


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Answers requests for tokens and for tables.

    Attributes:
        client_id: The only client.
        client_secret: Its secret.
        tokens: Issues tokens.
        find_table: Finds a table by name.
        grants: Who may do what.
        injector: Returns the current fault injector.
        stats: Counts.
    """

    client_id: str
    client_secret: str = field(repr=False)
    tokens: TokenIssuer
    find_table: Callable[[str], Table | None]
    grants: Grants
    injector: Callable[[], FaultInjector]
    stats: StatsBook

    def token(self, authorization: str | None, form: dict[str, str]) -> dict[str, Any]:
        """Answer a request for a token.

        Two grants work: client credentials, in Basic authentication or in the form, and the exchange of another
        identity provider's token, which is not checked itself.

        Raises:
            HttpError: The request is rejected.
        """
        if form.get("grant_type") == _TOKEN_EXCHANGE:
            if not form.get("subject_token"):
                raise HttpError(400, "invalid_request", "subject_token is missing")
            # Without a client id it is a token of the account, with one that of a service principal.
            if not _same(form.get("client_id", self.client_id), self.client_id):
                raise _unknown_client()
        elif form.get("grant_type") == "client_credentials":
            self._authenticate(authorization, form)
        else:
            raise HttpError(400, "unsupported_grant_type", "grant_type must be client_credentials")
        if form.get("scope") != "all-apis":
            raise HttpError(400, "invalid_scope", "scope must be all-apis")
        table = _table_of(form)
        fault = self.injector().on_token(table)
        if fault is not None:
            self.stats.fault_injected(fault.kind)
            raise HttpError(fault.http_status, "temporarily_unavailable", "injected fault")
        self.stats.token_issued()
        return {
            "access_token": self.tokens.issue(table),
            "token_type": "Bearer",
            "expires_in": max(1, round(self.tokens.life)),
            "scope": "all-apis",
        }

    def _authenticate(self, authorization: str | None, form: dict[str, str]) -> None:
        if authorization is None:
            client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
        else:
            client_id, secret = _basic(authorization)
        if not (_same(client_id, self.client_id) & _same(secret, self.client_secret)):
            raise _unknown_client()

    def describe(self, authorization: str | None, name: str) -> dict[str, Any]:
        """Answer a request for a table.

        Raises:
            HttpError: The request is rejected.
        """
        principal = self.principal(authorization)
        table = self.find_table(name)
        if table is None:
            raise HttpError(404, "TABLE_DOES_NOT_EXIST", f"Table '{name}' does not exist.")
        if not self.grants.may(principal, "SELECT", name) or not {"USE CATALOG", "USE SCHEMA"} <= table.grants:
            raise HttpError(403, "PERMISSION_DENIED", f"User does not have SELECT on Table '{name}'.")
        catalog, schema, short = table.name.split(".")
        return {
            "name": short,
            "catalog_name": catalog,
            "schema_name": schema,
            "full_name": table.name,
            "table_type": "MANAGED",
            "data_source_format": "DELTA",
            "columns": table.schema.to_unity_catalog(),
            "storage_location": table.path.as_uri() if table.path is not None else "memory:",
            "properties": {},
            **table.description,
        }

    def permissions(self, authorization: str | None, kind: str, name: str) -> dict[str, Any]:
        """Answer a request for the privileges of the client on a catalog, a schema or a table, inherited ones too.

        Raises:
            HttpError: The request is rejected.
        """
        self.principal(authorization)
        parts = {"catalog": 1, "schema": 2, "table": 3}.get(kind)
        if parts != name.count(".") + 1 or (parts == 3 and self.find_table(name) is None):
            raise HttpError(404, f"{kind.upper()}_DOES_NOT_EXIST", f"{kind.capitalize()} '{name}' does not exist.")
        held = sorted(self.grants.effective(self.client_id, name) & PRIVILEGES)
        privileges = [{"privilege": privilege.replace(" ", "_")} for privilege in held]
        return {"privilege_assignments": [{"principal": self.client_id, "privileges": privileges}]}

    def principal(self, authorization: str | None) -> str:
        """Return whose token a request has.

        Raises:
            HttpError: UNAUTHENTICATED.
        """
        kind, _, token = (authorization or "").partition(" ")
        try:
            if kind.lower() != "bearer":
                raise InvalidTokenError("the header authorization must be 'Bearer' and an access token")
            return ADMIN if self.tokens.check(token).is_admin else self.client_id
        except InvalidTokenError as error:
            raise HttpError(401, "UNAUTHENTICATED", str(error)) from None


def _unknown_client() -> HttpError:
    return HttpError(401, "invalid_client", "Client authentication failed")


def _same(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), known.encode())


def _basic(authorization: str) -> tuple[str, str]:
    """Read Basic authentication; anything else reads as an unknown client."""
    kind, _, encoded = authorization.partition(" ")
    if kind.lower() != "basic":
        return "", ""
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return client_id, secret


def _table_of(form: dict[str, str]) -> str | None:
    """Return the table that a token is for; None for a token that writes nowhere."""
    if "authorization_details" not in form:
        return None
    table, privileges = _requested(form["authorization_details"])
    if privileges == {"SELECT"}:
        return None  # the official tools read a table's description with such a token
    if not {"SELECT", "MODIFY"} <= privileges:
        raise _incomplete_details()
    if not _RESOURCE.fullmatch(form.get("resource", "")):
        raise HttpError(
            400, "invalid_target", "resource must be api://databricks/workspaces/<workspace id>/zerobusDirectWriteApi"
        )
    return table


def _requested(details: str) -> tuple[str, set[str]]:
    """Return the one table of the authorization details and the privileges asked for on it."""
    try:
        by_type = {detail["object_type"]: detail for detail in json.loads(details)}
        table = by_type["TABLE"]["object_full_path"]
        catalog, schema, _ = table.split(".")
        expected = {"CATALOG": (catalog, "USE CATALOG"), "SCHEMA": (f"{catalog}.{schema}", "USE SCHEMA")}
        complete = all(
            by_type[kind]["object_full_path"] == path and privilege in by_type[kind]["privileges"]
            for kind, (path, privilege) in expected.items()
        ) and all(detail["type"] == "unity_catalog_privileges" for detail in by_type.values())
        privileges = set(by_type["TABLE"]["privileges"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _incomplete_details() from None
    if not complete:
        raise _incomplete_details()
    return str(table), privileges


def _incomplete_details() -> HttpError:
    return HttpError(
        400,
        "invalid_authorization_details",
        "authorization_details must ask for USE CATALOG, USE SCHEMA, and on one table SELECT and MODIFY, "
        "or SELECT alone to read its description",
    )

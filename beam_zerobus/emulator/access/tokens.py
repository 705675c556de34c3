"""Access tokens: issued for one table or for all APIs, and checked with nothing but a key."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
import uuid
from collections import deque
from dataclasses import dataclass

__all__ = ["ALL_APIS", "InvalidTokenError", "Token", "TokenIssuer"]

ALL_APIS = "all-apis"
_MAX_ISSUED = 100


class InvalidTokenError(Exception):
    """The token is malformed, not ours, expired or revoked; the message says which."""


@dataclass(frozen=True, slots=True)
class Token:
    """The content of a token.

    Attributes:
        table: The table it allows writing to, or None for a plain token for the REST APIs.
        expires_at: When it expires, in seconds since the epoch.
        issued_at: Seconds since the epoch.
        is_admin: It is the administrator's.
    """

    table: str | None
    expires_at: float
    issued_at: float
    is_admin: bool = False


class TokenIssuer:
    """Issues and checks JSON Web Tokens, signed with a key derived from the client's secret.

    So a token stays valid when the emulator is killed and started again, as with the real service.

    Attributes:
        life: Seconds that a token is valid.
        ahead: Seconds that the clock is ahead of the system's.
        issued: What the last tokens allow.
    """

    def __init__(self, secret: str, life: float = 3600.0) -> None:
        self._key = hashlib.sha256(b"beam-zerobus emulator\0" + secret.encode()).digest()
        self.life = life
        self.issued: deque[Token] = deque(maxlen=_MAX_ISSUED)
        self._revoked_before = 0.0
        self.ahead = 0.0

    def now(self) -> float:
        """Return the time by which tokens expire, in seconds since the epoch."""
        return time.time() + self.ahead

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass for tokens."""
        self.ahead += seconds

    def is_expired(self, token: Token) -> bool:
        """Return whether a token has expired."""
        return self.now() >= token.expires_at

    def issue(self, table: str | None, life: float | None = None, *, is_admin: bool = False) -> str:
        """Return a token for one table, or for the REST APIs when `table` is None; the client's, or the admin's."""
        now = self.now()
        expires_at = now + (self.life if life is None else life)
        self.issued.append(Token(table, expires_at, now, is_admin))
        claims: dict[str, object] = {
            "iat": now,
            "exp": expires_at,
            "jti": uuid.uuid4().hex,
        }
        if table is not None:
            claims["table"] = table
        if is_admin:
            claims["admin"] = True
        head = _encode(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
        body = f"{head}.{_encode(json.dumps(claims).encode())}"
        return f"{body}.{_encode(self._sign(body))}"

    def check(self, text: str) -> Token:
        """Return the content of a token.

        Raises:
            InvalidTokenError: It is malformed, has another signature, has expired or was revoked.
        """
        body, _, signature = text.rpartition(".")
        if not hmac.compare_digest(_encode(self._sign(body)).encode(), signature.encode()):
            raise InvalidTokenError("the access token was not issued here")
        try:
            claims = json.loads(_decode(body.partition(".")[2]))
            token = Token(claims.get("table"), claims["exp"], claims["iat"], claims.get("admin", False))
        except (ValueError, KeyError, binascii.Error):
            raise InvalidTokenError("the access token is malformed") from None
        if self.is_expired(token):
            raise InvalidTokenError("the access token has expired")
        if self.is_revoked(token):
            raise InvalidTokenError("the access token was revoked")
        return token

    def is_revoked(self, token: Token) -> bool:
        """Return whether `revoke_all` was called since the token was issued."""
        return token.issued_at < self._revoked_before

    def revoke_all(self) -> None:
        """Make every token issued so far invalid, also on open streams."""
        self._revoked_before = self.now()

    def _sign(self, body: str) -> bytes:
        return hmac.digest(self._key, body.encode(), "sha256")


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

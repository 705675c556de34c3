"""What a recording writes in place of secrets and tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, urlencode

from beam_zerobus.emulator.access.tokens import InvalidTokenError, Token, TokenIssuer

__all__ = ["CLIENT_SECRET", "Secrets"]

CLIENT_SECRET = "client-secret"  # noqa: S105 - what is written in its place
_WRONG = "wrong"
_MAX_TOKENS = 100_000
_MIN_BYTES = 8
_TOKEN = re.compile(rb"eyJhbGciOiAiSFMyNTYi[\w-]*\.[\w-]+\.[\w-]+")
_IN_FORMS = {
    "client_secret",
    "subject_token",
    "actor_token",
    "client_assertion",
    "assertion",
    "refresh_token",
    "password",
}


class Secrets:
    """Numbers tokens, and removes secrets; `_numbers` is used under `_lock`, which is taken inside `_finding`.

    Args:
        client_id: The client.
        client_secret: Its secret.
        control_token: The token of the control API.
        tokens: Checks tokens.
        found: Records a token that was issued before; receives what it allows, and its number.
    """

    def __init__(
        self,
        *,
        client_id: str,
        client_secret: str,
        control_token: str,
        tokens: TokenIssuer,
        found: Callable[[Token, int], None],
    ) -> None:
        self._client_id = client_id
        self._client_secret = client_secret
        self._control_token = control_token
        self._tokens = tokens
        self._found = found
        self._texts = [text for secret in (client_secret, control_token) for text in _forms(secret)]
        self._lock = threading.Lock()
        self._finding = threading.Lock()
        self._numbers: dict[bytes, int] = {}
        self._last = 0

    def number(self, token: str) -> int:
        """Return the number of a token that the emulator issued."""
        return self._number(token)[0]

    def _number(self, token: str) -> tuple[int, bool]:
        key = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        with self._lock:
            if key in self._numbers:
                return self._numbers[key], False
            while len(self._numbers) >= _MAX_TOKENS:
                del self._numbers[next(iter(self._numbers))]
            self._last += 1
            self._numbers[key] = self._last
            return self._last, True

    def auth(self, authorization: str | None) -> dict[str, Any] | None:
        """Return what a header ``Authorization`` holds, without its secret."""
        if authorization is None:
            return None
        kind, _, text = authorization.partition(" ")
        if kind.lower() == "basic":
            return {"client": True} if _same(_decoded(text), f"{self._client_id}:{self._client_secret}") else _unknown()
        if kind.lower() != "bearer":
            return _unknown()
        if _same(text, self._control_token):
            return {"control": True}
        return self._token(text)

    def _token(self, text: str) -> dict[str, Any]:
        with self._finding:  # so that no line has a token's number before the line that issues the token
            with self._lock:
                known = self._numbers.get(hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest())
            if known is not None:
                return {"token": known}
            try:
                token = self._tokens.check(text)
            except InvalidTokenError:
                return _unknown()
            number, is_new = self._number(text)
            if is_new:
                self._found(token, number)
            return {"token": number}

    def form(self, body: bytes) -> bytes:
        """Return a form without the values of its secrets."""
        try:
            fields = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=100)
        except ValueError:
            return b""
        return urlencode([(name, self._field(name, value)) for name, value in fields]).encode()

    def _field(self, name: str, value: str) -> str:
        if name == "client_secret":
            return CLIENT_SECRET if _same(value, self._client_secret) else _WRONG
        return _WRONG if name in _IN_FORMS and value else value

    def removed(self, body: bytes) -> bytes:
        """Return a body with asterisks in place of secrets and tokens; its length is the same.

        A secret of fewer than 8 bytes, which may be a part of any word, is not looked for.
        """
        for text in self._texts:
            if text in body:
                body = body.replace(text, b"*" * len(text))
        if b"eyJhbGciOiAiSFMyNTYi" in body:
            body = _TOKEN.sub(lambda found: b"*" * len(found[0]), body)
        return body


def _forms(secret: str) -> set[bytes]:
    """Return a secret as it is, in JSON, and in a URL or a form."""
    texts = (
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret),
        quote_plus(secret),
    )
    return {text.encode() for text in texts if len(text.encode()) >= _MIN_BYTES}


def _unknown() -> dict[str, Any]:
    return {"unknown": True}


def _same(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), known.encode())


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        return ""

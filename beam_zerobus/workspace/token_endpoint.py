"""Asks a workspace's OAuth token endpoint."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from beam_zerobus.errors import AuthenticationError, ConfigurationError, redact_url
from beam_zerobus.workspace.http import CHECK_WORKSPACE, Answer, ask
from beam_zerobus.workspace.secret import Secret

__all__ = ["fetch_token"]

_DEFAULT_LIFETIME = 3600.0
_MAX_LIFETIME = 24 * 3600.0
_ERROR_CODE = re.compile(r"[A-Za-z0-9_.-]{1,50}")
_TOKEN = re.compile(r"[\x21-\x7e]+")


def fetch_token(
    workspace_url: str, form: Mapping[str, str | Secret], *, authorization: Secret | None
) -> tuple[dict[str, Secret], float]:
    """Fetch a token.

    Args:
        workspace_url: The workspace.
        form: The fields of the request.
        authorization: The header of that name, if there is one.

    Returns:
        The headers that carry the token, and its lifetime in seconds.

    Raises:
        AuthenticationError: The endpoint rejected the credentials.
        TransientError: It could not be reached or is overloaded.
        ConfigurationError: The answer is not a token endpoint's.
    """
    service = f"The token endpoint {redact_url(workspace_url)}/oidc/v1/token"
    answer = ask(
        "POST",
        f"{workspace_url}/oidc/v1/token",
        service=service,
        cause="TOKEN_ENDPOINT",
        headers={
            "content-type": "application/x-www-form-urlencoded",
            **({"authorization": authorization} if authorization is not None else {}),
        },
        body=Secret(urlencode({name: Secret(value).reveal() for name, value in form.items()})),
    )
    if answer.status in (400, 401, 403):
        raise AuthenticationError(
            f"{service} rejected the credentials ({answer.status}{_oauth_error(answer)}): "
            "check client id and secret, and that the service principal may use the workspace and the table"
        )
    if answer.status != 200:
        raise ConfigurationError(f"{service} answered {answer.status}: {CHECK_WORKSPACE}")
    token, lifetime = _token(answer), _lifetime(answer)
    if token is None:
        raise ConfigurationError(f"{service} answered without a usable access_token: {CHECK_WORKSPACE}")
    if lifetime is None:
        raise ConfigurationError(f"{service} answered with an expires_in that is not seconds: {CHECK_WORKSPACE}")
    return {"authorization": token}, lifetime


def _token(answer: Answer) -> Secret | None:
    """Return the value of an authorization header; None where there is no token, or not one that a header can carry."""
    token = Secret(_field(answer, "access_token"))
    if not isinstance(token.reveal(), str) or not _TOKEN.fullmatch(token.reveal()):
        return None
    return Secret(f"Bearer {token.reveal()}")


def _lifetime(answer: Answer) -> float | None:
    """Return the seconds that the token is good for, a day at most; None where they cannot be read."""
    seconds = _field(answer, "expires_in", _DEFAULT_LIFETIME)
    if isinstance(seconds, str) and re.fullmatch(r"[0-9]{1,18}", seconds):
        seconds = int(seconds)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    if not seconds > 0 or seconds == math.inf:
        return None
    return float(min(seconds, _MAX_LIFETIME))


def _oauth_error(answer: Answer) -> str:
    """Return the endpoint's error code; its description may repeat what was sent, so it is left out."""
    code = _field(answer, "error")
    return f", {code}" if isinstance(code, str) and _ERROR_CODE.fullmatch(code) else ""


def _field(answer: Answer, name: str, default: object = None) -> Any:
    fields = answer.json()
    return fields.get(name, default) if isinstance(fields, dict) else default

"""Credentials of users without Python, whose messages say where these users can put an id and a secret."""

from __future__ import annotations

from collections.abc import Callable

from beam_zerobus.workspace.credentials import OAuthClientCredentials, SecretValue

__all__ = ["credentials_with"]


def credentials_with(remedy: str) -> Callable[..., OAuthClientCredentials]:
    """Return a function that makes `OAuthClientCredentials`, from the same arguments.

    Args:
        remedy: Where to set a variable that is missing, and what else would help.

    Example:
        >>> credentials_with("in the environment, or name a profile")() == OAuthClientCredentials()
        True
    """

    def make(**given: SecretValue) -> OAuthClientCredentials:
        credentials = OAuthClientCredentials(**given)
        object.__setattr__(credentials, "_remedy", remedy)
        return credentials

    return make

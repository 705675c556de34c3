"""`harmless`: telemetry never fails what it watches."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from beam_zerobus.logs import get_logger, outline

__all__ = ["harmless", "note_failure"]

_log = get_logger(__name__)

S = TypeVar("S")
P = ParamSpec("P")


def harmless(method: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
    """Let a method fail without its caller's notice: a provider may run anybody's code."""

    @functools.wraps(method)
    def guarded(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001  the promise of this module
            note_failure(error)

    return guarded


def note_failure(error: Exception) -> None:
    """Warn of the first failure in this process; the others are at DEBUG."""
    _warn_once()
    _log.debug("Recording telemetry failed: %s", outline(error))


@functools.cache
def _warn_once() -> None:
    _log.warning("Recording telemetry failed; sending goes on without it. This is said once: more is at DEBUG")

"""`harmless`: a failure of telemetry never becomes one of sending."""

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
    """Hide a method's failure from its caller: a provider may run code of the application."""

    @functools.wraps(method)
    def guarded(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001  the promise of this module
            note_failure(error)

    return guarded


def note_failure(error: Exception) -> None:
    """Warn of the first failure in this process; log all at DEBUG."""
    _warn_once()
    _log.debug("Recording telemetry failed: %s", outline(error))


@functools.cache
def _warn_once() -> None:
    _log.warning("Recording telemetry failed; sending goes on without it. Further failures are logged at DEBUG")

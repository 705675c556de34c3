"""Turns unexpected exceptions into errors of this package."""

from __future__ import annotations

from beam_zerobus.errors import ZerobusError
from beam_zerobus.logs import get_logger, outline

__all__ = ["unexpected"]

_log = get_logger(__name__)


def unexpected(error: BaseException, what: str) -> ZerobusError:
    """Return an error of this package for any other exception, and log where that was raised.

    Args:
        error: What was raised.
        what: What did not work, as the beginning of a sentence.

    Example:
        >>> unexpected(KeyError("id"), "Delivery to main.iot.air failed")
        ZerobusError("Delivery to main.iot.air failed unexpectedly: KeyError('id')")
    """
    if isinstance(error, ZerobusError):
        return error
    _log.error("%s unexpectedly: %s", what, outline(error))
    return ZerobusError(f"{what} unexpectedly: {error!r}").quoting(repr(error))

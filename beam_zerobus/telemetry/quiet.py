"""The exporters' own messages: one at each failed try, unless somebody keeps them down."""

from __future__ import annotations

import logging
import threading
from typing import Final

from beam_zerobus.logs import get_logger
from beam_zerobus.telemetry.redaction import label

__all__ = ["THREAD_PREFIX", "quieten"]

_log = get_logger(__name__)

THREAD_PREFIX: Final = "beam_zerobus telemetry"


class _OursToDebug(logging.Filter):
    """Turns what is logged in threads of ours into DEBUG records of ours; the application's exporters keep theirs."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not threading.current_thread().name.startswith(THREAD_PREFIX):
            return True
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s: %s", record.name, _in_short_words(record))
        return False


def _in_short_words(record: logging.LogRecord) -> str:
    """Return a message without what a receiver may have repeated: headers, say, that hold a key."""
    values = record.args if isinstance(record.args, tuple) else ()
    try:
        return record.msg % tuple(value if isinstance(value, int | float) else label(str(value)) for value in values)
    except (TypeError, ValueError):
        return label(record.msg)


_FILTER = _OursToDebug()


def quieten(exporter: object) -> None:
    """Keep the messages of an exporter down to DEBUG, where it runs in a thread of ours."""
    for kind in type(exporter).__mro__:
        if kind.__module__.startswith("opentelemetry."):
            logging.getLogger(kind.__module__).addFilter(_FILTER)

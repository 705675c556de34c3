"""Messages about options as the user wrote these: as flags of a command line, or as keys of Beam YAML."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from beam_zerobus.errors import ConfigurationError

__all__ = ["as_flags", "as_yaml", "in_words"]


def as_flags(message: str, names: Mapping[str, str]) -> str:
    """Return a message about parameters as one about flags.

    Args:
        message: The message.
        names: The flat name for each parameter, such as ``batch_max_rows`` for ``Batching.max_rows``.

    Example:
        >>> as_flags("endpoint is not set: pass endpoint=...", {"endpoint": "endpoint"})
        '--zerobus_endpoint is not set: pass --zerobus_endpoint=...'
    """
    return _renamed(message, names, lambda name, equals: f"--zerobus_{name}{equals}")


def as_yaml(message: str, names: Mapping[str, str]) -> str:
    """Return a message about parameters as one about keys of YAML.

    Example:
        >>> as_yaml("Batching.max_rows=0: set a whole number", {"Batching.max_rows": "batch_max_rows"})
        'batch_max_rows: 0: set a whole number'
    """
    return _renamed(message, names, lambda name, equals: f"{name}: " if equals else name)


@contextmanager
def in_words(words: Callable[[str, Mapping[str, str]], str], names: Mapping[str, str]) -> Iterator[None]:
    """Translate the errors of a block that checks options.

    Raises:
        ConfigurationError: The block raised one; its message is in the words.
    """
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(words(str(error), names)) from error


def _renamed(message: str, names: Mapping[str, str], write: Callable[[str, str], str]) -> str:
    """Rename parameters where they begin a clause or have a value; elsewhere the same word may mean anything."""
    alternatives = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    pattern = rf"(?<![\w.\-$])({alternatives})(=|(?= (?:is|are|has|holds|looks|begins|lacks|and|names|needs|\()))"
    return re.sub(pattern, lambda found: write(names[found[1]], found[2]), message)

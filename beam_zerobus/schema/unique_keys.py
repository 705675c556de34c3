"""Objects of JSON whose keys are all different: RFC 8259 leaves open what the same key twice means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

__all__ = ["RepeatedKeyError", "unique_keys"]

_SHOWN_CHARACTERS = 64


class RepeatedKeyError(ValueError):
    """An object has the same key twice.

    Attributes:
        key: The key; of a long one the start.
    """

    def __init__(self, key: Any) -> None:
        self.key = str(key)[:_SHOWN_CHARACTERS]
        super().__init__(f"an object has the key {self.key!r} twice")


def unique_keys(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return the members of an object as a dict; the `object_pairs_hook` of a parser that loses none of them.

    Raises:
        RepeatedKeyError: Two have the same key.

    Example:
        >>> unique_keys([("a", 1), ("a", 2)])
        Traceback (most recent call last):
        beam_zerobus.schema.unique_keys.RepeatedKeyError: an object has the key 'a' twice
    """
    members = dict(pairs)
    if len(members) < len(pairs):
        raise RepeatedKeyError(Counter(key for key, _ in pairs).most_common(1)[0][0])
    return members

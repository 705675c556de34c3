"""Whether JSON texts may have the same key twice in an object, of which orjson keeps the last one only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from beam_zerobus.batching.json_objects import json_bytes

__all__ = ["may_repeat_keys"]

_QUOTE, _COLON, _LAST_SPACE = b'": '
_SPACES = b" \t\r\n"
_AT_ONCE = 1_000
# A space, a quote and a colon inside strings, which are counted as those of keys are, but not in this form.
_ESCAPED = re.compile(rb"\\u00(?:20|22|3[aA])")


def may_repeat_keys(texts: Sequence[Any], objects: Sequence[dict[str, Any]]) -> bool:
    r"""Return whether a text may have more keys than the object that a parser made of it.

    Each key is a colon after a quote. If there are as many of these in all texts as keys in the objects, or as many as
    in the objects' own texts, no key was lost. So this costs a small part of the parser's time.

    Args:
        texts: Valid JSON, as str or bytes.
        objects: What was parsed.

    Returns:
        False only if no key was lost; it may be True for texts without the same key twice.

    Example:
        >>> may_repeat_keys(['{"a": 1, "b": 2}'], [{"a": 1, "b": 2}]), may_repeat_keys(['{"a":1,"a":2}'], [{"a": 2}])
        (False, True)
    """
    # A few at a time: memory that fits into the processor's cache, and that the allocator has, costs much less.
    return any(
        _may_repeat(texts[start : start + _AT_ONCE], objects[start : start + _AT_ONCE])
        for start in range(0, len(texts), _AT_ONCE)
    )


def _may_repeat(texts: Sequence[Any], objects: Sequence[dict[str, Any]]) -> bool:
    text = _joined(texts)
    count = _colons_after_quotes(text)
    if count == sum(map(len, objects)):
        return False
    try:
        written = json_bytes(objects)
    except TypeError:  # orjson writes less deep values than it reads
        return True
    # One byte is found much sooner than the pattern.
    return count != _colons_after_quotes(written) or (b"\\" in text and _ESCAPED.search(text) is not None)


def _joined(texts: Sequence[Any]) -> bytes:
    with suppress(TypeError):
        return "".join(texts).encode()
    with suppress(TypeError):
        return b"".join(texts)
    return b"".join(text.encode() if isinstance(text, str) else text for text in texts)


def _colons_after_quotes(text: bytes) -> int:
    """Return how many there are if spaces do not count, not even those in strings."""
    characters = np.frombuffer(text, np.uint8)
    before, colon = characters[:-1], characters[1:] == _COLON
    if (colon & (before <= _LAST_SPACE)).any():
        return _colons_after_quotes(text.translate(None, _SPACES))
    return int(np.count_nonzero(colon & (before == _QUOTE)))

"""`HttpAnswer`: an answer of the HTTP port that is not a JSON object; and `Headers` of a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Headers", "HttpAnswer"]


class Headers(Protocol):
    """The headers of a request; names match in any case."""

    def get(self, name: str, /) -> str | None:
        """Return a header, or None."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """A body of any type.

    Attributes:
        content_type: Its media type.
        body: Its bytes.
        status: The HTTP status.
        headers: Further headers.
    """

    content_type: str
    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

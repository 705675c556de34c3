"""The coder of elements that hold many rows: Beam samples sizes of elements, and would pickle them to learn it."""

from __future__ import annotations

import pickle
from typing import Any

from apache_beam import coders

__all__ = ["WholeCoder"]

_SIZE = 1 << 20  # a guess: Beam only shows it


class WholeCoder(coders.Coder):
    """Pickles an element only where a runner really stores or sends it.

    Args:
        kind: The type of the elements.
    """

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def encode(self, value: Any) -> bytes:
        """Pickle the element."""
        return pickle.dumps(value, protocol=5)

    def decode(self, encoded: bytes) -> Any:
        """Unpickle the element, which another worker of this pipeline pickled."""
        return pickle.loads(encoded)  # noqa: S301

    def estimate_size(self, value: Any) -> int:  # noqa: ARG002 - Beam's own signature
        """Return a guess."""
        return _SIZE

    def is_deterministic(self) -> bool:
        """Return that equal elements may be pickled differently."""
        return False

    @classmethod
    def from_type_hint(cls, kind: Any, registry: Any) -> Any:  # noqa: ARG003 - Beam's own signature
        """Create the coder of a type."""
        return cls(kind)

    def to_type_hint(self) -> type:
        """Return the type, which Beam asks for where it reads a pipeline back, as in notebooks."""
        return self._kind

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._kind is self._kind

    def __hash__(self) -> int:
        return hash((type(self), self._kind))

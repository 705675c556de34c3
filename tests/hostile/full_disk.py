"""A disk that is full: no file of this process grows beyond a size, and a write gets an error of the system."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

__all__ = ["files_end_at", "needs_limit"]

needs_limit = pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file's size")


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Let no file become larger in the block; a write up to the size is cut, the next one fails."""
    import resource

    before, highest = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, highest))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, highest))

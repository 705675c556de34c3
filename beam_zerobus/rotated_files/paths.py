"""Paths as users write them: local ones, ``file://`` URLs, and those of Beam's filesystems."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

__all__ = ["as_local_path", "is_remote"]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # every scheme is longer than a drive letter of Windows


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a path belongs to a Beam filesystem.

    >>> is_remote("gs://bucket/debug"), is_remote("file:///tmp/debug"), is_remote("debug")
    (True, False, False)
    """
    text = os.fspath(path)
    return _URL.match(text) is not None and not text.startswith("file://")


def as_local_path(path: str | os.PathLike[str]) -> Path:
    """Return the path on this machine; ``file://`` URLs are local too."""
    text = os.fspath(path)
    return Path(url2pathname(urlsplit(text).path) if text.startswith("file://") else text)

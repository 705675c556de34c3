"""How the gateway's process keeps memory between batches."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Mapping

__all__ = ["keep_freed_memory"]

# From malloc.h of glibc; what they mean is in mallopt(3).
_M_TRIM_THRESHOLD, _TRIM_BYTES = -1, 128 << 20
_M_MMAP_THRESHOLD, _MMAP_BYTES = -3, 32 << 20  # the largest value that glibc takes


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Let the C library keep freed memory for the next batch, instead of returning it to the system.

    It keeps 128 MB at the end of each of its arenas, and all that lies between blocks in use: about as much as calls
    took at their busiest.

    gRPC allocates and frees the bytes of each batch. glibc returns such blocks to the system, which then has to supply
    them again page by page: measured, a quarter of the gateway's time. Settings of the environment, ``MALLOC_...`` and
    ``GLIBC_TUNABLES``, are left as they are.

    Returns:
        Whether it took effect: only with glibc, so not on macOS, on Windows and with musl.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith(("MALLOC_", "GLIBC_")) for name in environment):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES) and mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES))

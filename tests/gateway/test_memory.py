"""Freed memory stays with the process, where the C library can do so and the user has not chosen."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from beam_zerobus.gateway.memory import keep_freed_memory

GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is one of glibc")
# Takes and frees 24 MB, twice: without the setting the system has to supply its pages again.
PROGRAM = """
import ctypes, resource
from beam_zerobus.gateway.memory import keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(24 << 20)
    libc.memset(block, 1, 24 << 20)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

kept = keep_freed_memory()
faults()
print(kept, faults())
"""


@GLIBC
def test_a_block_that_was_freed_needs_no_new_pages():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True, timeout=250, env={}
    )
    kept, faults = done.stdout.split()
    assert kept == "True"
    assert int(faults) < 100  # of 6,144 pages


@GLIBC
@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_what_the_environment_says_is_left_alone(name):
    assert not keep_freed_memory({name: "131072"})

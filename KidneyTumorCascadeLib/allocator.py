"""How this process treats memory that is free again: glibc hands it back to the system and asks for it anew, page by page, hundreds of times a scan.

A network makes and drops tensors of some megabytes all the time. With glibc's own settings each of them is new memory from the system, and the
first touch of every page of it costs more than what is computed there: a quarter of a pass through a V-Net.
"""

from __future__ import annotations

import ctypes
import sys

# Names and numbers of malloc.h. Whatever is larger than the threshold, as scans are, goes back to the system at once, as before.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
KEPT_BYTES, LARGE_BYTES, AT_ONCE_BYTES = 512 << 20, 96 << 20, 16 << 20


def keep_freed_memory() -> bool:
    """Let this process reuse freed memory up to 512 MB. Only for processes that are the program's own: the setting is one of the whole process.

    Returns whether it could be done; elsewhere than on Linux with glibc nothing happens, and nothing is lost but time.
    """
    glibc = c_library("mallopt")
    settings = ((M_MMAP_THRESHOLD, LARGE_BYTES), (M_TRIM_THRESHOLD, KEPT_BYTES), (M_TOP_PAD, AT_ONCE_BYTES))
    return glibc is not None and all(glibc.mallopt(name, value) for name, value in settings)


def give_back_freed_memory() -> bool:
    """Hand all memory that is free back to the system; returns whether that was possible, and there was any."""
    glibc = c_library("malloc_trim")
    return glibc is not None and bool(glibc.malloc_trim(ctypes.c_size_t(0)))


def c_library(function: str) -> ctypes.CDLL | None:
    """The C library of this process if it is one on Linux with that function."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        library = ctypes.CDLL(None)
        getattr(library, function)
    except (OSError, AttributeError):
        return None
    return library

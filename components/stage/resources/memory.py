"""How this process gives memory back to the system."""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
LARGEST_HEAP_BLOCK = 32 * 2**20  # above it, some versions of the C library refuse the option
KEPT_KERNELS = "32"


def keep_freed_memory() -> None:
    """Ask the C library to reuse freed blocks instead of returning them (glibc; elsewhere nothing happens).

    A training step, and each batch of a frozen tower, frees and asks for the same tens of megabytes again.
    Handed back each time, they come as fresh zeroed pages: on a machine of two virtual cores a tower saw 70
    pictures a second instead of 40. The process stays at its peak size.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    if not mallopt(M_MMAP_THRESHOLD, 2**30):
        mallopt(M_MMAP_THRESHOLD, LARGEST_HEAP_BLOCK)


def keep_few_kernels() -> None:
    """Ask oneDNN, before torch loads it, to keep the kernels of the last few shapes only.

    It keeps 1,024 by default, each with its code and scratch. Writing text meets a new shape with every token
    and hardly one twice: over 1,516 listings they grew to 1.5 of 4.1 GiB, and without them it is no slower.
    Not for training, which comes back to its shapes.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", KEPT_KERNELS)

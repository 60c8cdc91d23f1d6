"""On which cores this process computes."""

from __future__ import annotations

import os

_ALLOWED = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


def hold_threads_in_place() -> None:
    """Ask OpenMP, before a library loads it, to keep each of its threads on a core of its own.

    A training step is hundreds of short parallel loops. Where two of their threads share a core for a while,
    each loop waits for the slower one: on two virtual cores a step took 174 ms, and 101 ms with threads held.
    For a stage of the graph only, which has its machine to itself; what the environment says already stays
    (``OMP_PROC_BIND=false`` where several runs share a machine). NumPy's OpenBLAS gets one thread, so that
    its sums do not depend on how many cores a stage was given.
    """
    if "DVC_STAGE" in os.environ:
        os.environ.setdefault("OMP_PROC_BIND", "true")
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def leave_place() -> None:
    """Let the calling thread run on any core: a new thread inherits the core its maker is held on."""
    if _ALLOWED is not None:
        os.sched_setaffinity(0, _ALLOWED)

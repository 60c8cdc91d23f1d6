"""One row of a benchmark's results, for loops that are timed side by side."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple


class Task(NamedTuple):
    """What both sides do in a run: so many items; ``unit`` of the rate, such as ``listings/s``."""

    items: int
    peer_name: str
    unit: str


def rate_row(case: str, task: Task, ours_s: Sequence[float], peer_s: Sequence[float]) -> dict[str, Any]:
    """Items per second of both, by the medians of their runs, and the spread of ours.

    Args:
        ours_s, peer_s: seconds of each run.
    """
    middle = statistics.median(ours_s)
    fast, slow = task.items / middle, task.items / statistics.median(peer_s)
    return {
        "case": case,
        "ours": round(fast, 1),
        "peer": round(slow, 1),
        "peer_name": task.peer_name,
        "unit": task.unit,
        "ratio": round(fast / slow, 2),
        "runs": len(ours_s),
        "spread": round((max(ours_s) - min(ours_s)) / middle, 3),
    }

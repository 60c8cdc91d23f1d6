"""One row of a benchmark's results, for loops that are timed side by side."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any


def rate_row(
    case: str, ours_s: Sequence[float], peer_s: Sequence[float], items: int, peer_name: str, unit: str
) -> dict[str, Any]:
    """Items per second of both, by the medians of their runs, and the spread of ours.

    Args:
        ours_s, peer_s: seconds of each run over ``items`` items. unit: such as ``listings/s``.
    """
    middle = statistics.median(ours_s)
    fast, slow = items / middle, items / statistics.median(peer_s)
    return {
        "case": case,
        "ours": round(fast, 1),
        "peer": round(slow, 1),
        "peer_name": peer_name,
        "unit": unit,
        "ratio": round(fast / slow, 2),
        "runs": len(ours_s),
        "spread": round((max(ours_s) - min(ours_s)) / middle, 3),
    }

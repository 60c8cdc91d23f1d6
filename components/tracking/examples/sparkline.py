"""Curves as lines of text: MLflow's notes show no picture and no chart, but they show these."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

BARS = "▁▂▃▄▅▆▇█"
WIDE = 40
MOST = 6  # curves


def sparklines(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> list[str]:
    """One line for each curve: its name, its course, its first and its last value; [] without curves."""
    told = {
        name: [p["value"] for p in points if math.isfinite(p.get("value", math.nan))]
        for name, points in curves.items()
    }
    told = {name: values for name, values in list(told.items())[:MOST] if len(values) > 1}
    wide = max(map(len, told), default=0)
    return [
        f"{name:<{wide}}  {line(values):<{WIDE}}  {values[0]:.4g} → {values[-1]:.4g}"
        for name, values in told.items()
    ]


def line(values: Sequence[float]) -> str:
    """At most ``WIDE`` bars, each the mean of its part of the values; the lowest is the smallest of them."""
    parts = min(WIDE, len(values))
    cuts = [round(i * len(values) / parts) for i in range(parts + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(cuts)]
    low, high = min(means), max(means)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((mean - low) * scale)] for mean in means)

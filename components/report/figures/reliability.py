"""How honest a model is about each attribute: a small reliability diagram beside its calibration error."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from components.report.errors import ReportInputError
from components.stage.record import Interval

COLUMNS = ["variant", "attribute", "confidence", "right", "n"]
ERROR = "calibration_error_"  # before an attribute, among the metrics of listings
Bin = tuple[float, float, int]  # mean confidence, share that is right, values


@dataclass(frozen=True)
class Reliability:
    """One attribute of one row: bins of its values by confidence, and its expected calibration error."""

    attribute: str
    error: float
    bins: tuple[Bin, ...]

    @property
    def n(self) -> int:
        """Values in all bins."""
        return sum(n for _, _, n in self.bins)

    @property
    def in_words(self) -> str:
        """What the diagram shows, for who cannot see it: ``30% sure, 25% right; 80% sure, 85% right``."""
        return "; ".join(f"{sure:.0%} sure, {right:.0%} right" for sure, right, _ in self.bins)


def reliability(path: Path, variant: str, row: Mapping[str, Interval]) -> list[Reliability]:
    """The attributes of ``variant`` in ``plots/listing_attributes.csv``, the least honest first.

    Args:
        row: figures of the variant, among them the calibration error of each attribute.

    Raises:
        ReportInputError: a column is missing, or a cell is no share or no count.
    """
    bins: dict[str, list[Bin]] = {}
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle)
        if missing := [name for name in COLUMNS if name not in (reader.fieldnames or [])]:
            raise ReportInputError(f"{path} has no column {', '.join(missing)}; run listing_eval again.")
        for line in reader:
            if line["variant"] == variant:
                bins.setdefault(line["attribute"], []).append(_bin(path, reader.line_num, line))
    found = [
        Reliability(name, row[ERROR + name].value, tuple(sorted(points)))
        for name, points in bins.items()
        if ERROR + name in row
    ]
    return sorted(found, key=lambda each: (-each.error, each.attribute))


def _bin(path: Path, number: int, line: dict[str, str]) -> Bin:
    try:
        sure, right, n = float(line["confidence"]), float(line["right"]), int(line["n"])
    except (TypeError, ValueError):
        sure, right, n = math.nan, math.nan, 0
    if not (0 <= sure <= 1 and 0 <= right <= 1 and n > 0):
        raise ReportInputError(
            f"{path}, line {number}: confidence and right must be shares, n a count above zero."
        )
    return sure, right, n

"""Gate weights of a mixture of experts, averaged by category and by kind of query, as stacked bars."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.report.catalogue import read_results
from components.report.errors import ReportInputError

EXPERTS = ("text", "image", "cross")
COLUMNS = ["variant", "kind", "product_id", "category", *EXPERTS]
TOLERANCE = 0.01  # how far a product's weights may be from summing to 1


@dataclass(frozen=True)
class Bar:
    """Mean weights of one group; ``count`` is how many were averaged."""

    name: str
    count: int
    weights: tuple[float, ...]  # in the order of EXPERTS, summing to 1

    @property
    def parts(self) -> list[tuple[str, float, float]]:
        """(expert, where its part of the bar starts, how long it is), in shares of the bar."""
        starts = [sum(self.weights[:i]) for i in range(len(self.weights))]
        return list(zip(EXPERTS, starts, self.weights, strict=True))


@dataclass(frozen=True)
class GatePlot:
    """Bars by category (each product once) and by kind of query (each product found, as often as found)."""

    system: str
    variant: str
    categories: tuple[Bar, ...]
    kinds: tuple[Bar, ...]

    @property
    def ranges(self) -> str:
        """What the bars by category say: ``By category text weighs 80% to 92%, image 2% to 3%, …``."""
        spans = []
        for expert, weights in zip(
            EXPERTS, zip(*(bar.weights for bar in self.categories), strict=True), strict=True
        ):
            low, high = f"{min(weights):.0%}", f"{max(weights):.0%}"
            spans.append(f"{expert} {low}" + (f" to {high}" if high != low else ""))
        return f"Over the categories the weights are: {', '.join(spans)}."


def gate_plot(path: Path, system: str, variant: str) -> GatePlot:
    """Average the gates of ``variant`` in ``gates.parquet``: weights of the products that searches found.

    Raises:
        ReportInputError: the file or a column is missing, the variant has no rows, or weights are not shares.
    """
    rows = [row for row in read_results(path, COLUMNS) if row["variant"] == variant]
    if not rows:
        raise ReportInputError(
            f"{path} has no gate weights of variant '{variant}'; run the evaluation again, or set "
            "report.gates to a network that has a gate."
        )
    for row in rows:
        _check(path, row)
    products = {row["product_id"]: row for row in rows}.values()
    return GatePlot(system, variant, _bars(products, "category"), _bars(rows, "kind"))


def _check(path: Path, row: dict[str, Any]) -> None:
    weights = [row[name] for name in EXPERTS]
    if any(w is None or not math.isfinite(w) or w < -1e-6 for w in weights) or (
        abs(sum(weights) - 1) > TOLERANCE
    ):
        raise ReportInputError(
            f"{path}, product '{row['product_id']}': the gate weights {weights} are not shares of 1."
        )


def _bars(rows: Iterable[dict[str, Any]], column: str) -> tuple[Bar, ...]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row[column] or "", []).append(row)
    bars = []
    for name, group in sorted(groups.items()):
        # fsum: the order of the file's rows must not show in the last digits
        means = [math.fsum(row[expert] for row in group) / len(group) for expert in EXPERTS]
        total = math.fsum(means)
        bars.append(Bar(name, len(group), tuple(max(mean, 0.0) / total for mean in means)))
    return tuple(bars)

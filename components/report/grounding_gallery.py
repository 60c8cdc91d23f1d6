"""Pointings to look at: the true box, the point found, and the box found where there is one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.report.catalogue import CheckedCatalogue, drawn
from components.report.errors import ReportInputError
from components.report.params import GroundingGalleryParams
from components.report.per_query import read_results

Box = tuple[float, float, float, float]
COLUMNS = ["product_id", "x", "y", "hit", "box"]


@dataclass(frozen=True)
class Pointing:
    """Where a model saw the product; all coordinates in fractions of width and height."""

    product_id: str
    x: float
    y: float
    hit: bool
    box: Box
    found_box: Box | None


@dataclass(frozen=True)
class GroundingGallery:
    """Pointings shown, misses first."""

    total: int
    missed: int
    pointings: tuple[Pointing, ...]


def grounding_gallery(
    path: Path,
    variant: str,
    params: GroundingGalleryParams,
    seed: int,
    checked: CheckedCatalogue,
) -> GroundingGallery | None:
    """Draw pointings that have a true ``box``; None where there is no pointing file or no true box.

    Columns ``variant`` (then only the rows of ``variant`` count) and ``found_box`` may be there.

    Raises:
        ReportInputError: a coordinate is missing or outside 0..1, or a product is not in the catalogue.
    """
    if not path.is_file():
        return None
    found = read_results(path, COLUMNS)
    rows = {row["product_id"]: row for row in found if row["box"] and row.get("variant") in (None, variant)}
    if not rows:
        return None
    misses = [each for each, row in rows.items() if not row["hit"]]
    hits = [each for each, row in rows.items() if row["hit"]]
    ids = drawn(misses, params.failures, seed) + drawn(hits, params.successes, seed)
    return GroundingGallery(
        len(rows), len(misses), tuple(_pointing(path, rows[each], checked) for each in ids)
    )


def _pointing(path: Path, row: dict[str, Any], checked: CheckedCatalogue) -> Pointing:
    product_id = row["product_id"]
    if product_id not in checked.types:
        raise ReportInputError(
            f"{path} names product '{product_id}', which data/checked lacks; run the evaluation again."
        )
    found_box = row.get("found_box")
    return Pointing(
        product_id=product_id,
        x=_fraction(path, product_id, "x", row["x"]),
        y=_fraction(path, product_id, "y", row["y"]),
        hit=bool(row["hit"]),
        box=_box(path, product_id, "box", row["box"]),
        found_box=None if found_box is None else _box(path, product_id, "found_box", found_box),
    )


def _fraction(path: Path, product_id: str, name: str, value: float | None) -> float:
    if value is None or not math.isfinite(value) or not -1e-6 <= value <= 1 + 1e-6:
        raise ReportInputError(
            f"{path}, product '{product_id}', {name}: {value} is no fraction of the picture (0 to 1)."
        )
    return value


def _box(path: Path, product_id: str, name: str, edges: list[float]) -> Box:
    if len(edges) != 4:
        raise ReportInputError(
            f"{path}, product '{product_id}', {name}: needs x0 y0 x1 y1, has {len(edges)} numbers."
        )
    x0, y0, x1, y1 = (_fraction(path, product_id, name, edge) for edge in edges)
    return x0, y0, x1, y1

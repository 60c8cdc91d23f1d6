"""Pointings to look at: the true box, the point found, and the box found."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.report.catalogue import CheckedCatalogue, drawn, read_truth
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
    box: Box | None
    truth: Box


@dataclass(frozen=True)
class GroundingGallery:
    """Pointings shown, misses first."""

    total: int
    missed: int
    pointings: tuple[Pointing, ...]


def grounding_gallery(
    path: Path,
    truth: Path,
    variants: Collection[str],
    params: GroundingGalleryParams,
    seed: int,
    checked: CheckedCatalogue,
) -> GroundingGallery | None:
    """Draw pointings that have a true box; None where there is no pointing file or no true box.

    Where the file has a column ``variant``, the rows of ``variants`` count.

    Raises:
        ReportInputError: a coordinate is missing or outside 0..1, or a product is not in the catalogue.
    """
    if not path.is_file() or not truth.is_file():
        return None
    found = read_results(path, COLUMNS)
    rows = {row["product_id"]: row for row in found if row.get("variant") in (None, *variants)}
    boxes = {each: row.box for each, row in read_truth(truth, rows.keys()).items() if row.box}
    scored = {each: row for each, row in rows.items() if each in boxes}
    if not scored:
        return None
    misses = [each for each, row in scored.items() if not row["hit"]]
    hits = [each for each, row in scored.items() if row["hit"]]
    ids = drawn(misses, params.failures, seed) + drawn(hits, params.successes, seed)
    shown = tuple(_pointing(path, scored[each], boxes[each], checked) for each in ids)
    return GroundingGallery(len(scored), len(misses), shown)


def _pointing(path: Path, row: dict[str, Any], truth: Box, checked: CheckedCatalogue) -> Pointing:
    product_id = row["product_id"]
    if product_id not in checked.types:
        raise ReportInputError(
            f"{path} names product '{product_id}', which data/checked lacks; run the evaluation again."
        )
    box = tuple(row["box"]) if row["box"] is not None else None
    for name, value in [("x", row["x"]), ("y", row["y"]), *(("box", edge) for edge in box or ())]:
        if value is None or not math.isfinite(value) or not -1e-6 <= value <= 1 + 1e-6:
            raise ReportInputError(
                f"{path}, product '{product_id}', {name}: {value} is no fraction of the picture (0 to 1)."
            )
    if box is not None and len(box) != 4:
        raise ReportInputError(
            f"{path}, product '{product_id}', box: needs x0 y0 x1 y1, has {len(box)} numbers."
        )
    return Pointing(product_id, row["x"], row["y"], bool(row["hit"]), box, truth)

"""Pointings shown as examples: the true box, the point found, and the box found where there is one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.report.catalogue import CheckedCatalogue, drawn, read_results
from components.report.errors import ReportInputError
from components.report.params import GroundingGalleryParams, ReportParams
from components.stage.paths import Paths

Box = tuple[float, float, float, float]
BOXES = "boxes.parquet"  # of data/grounding
COLUMNS = ["product_id", "x", "y", "hit", "box"]


@dataclass(frozen=True)
class Pointing:
    """Where a model saw the product; all coordinates in fractions of width and height."""

    product_id: str
    x: float | None
    y: float | None
    missed: bool
    box: Box | None  # the true one, where it is known
    found_box: Box | None
    iou: float | None
    fallback: str | None  # why the whole picture was kept; "" when no reason was recorded

    @property
    def verdict(self) -> str:
        """In two words, for the badge."""
        if self.fallback is not None:
            return "○ fallback"
        if self.box is None:
            return "○ box"
        return "✗ miss" if self.missed else "✓ hit"


@dataclass(frozen=True)
class GroundingGallery:
    """Pointings shown: fallbacks first, then misses, then hits."""

    folder: str
    variant: str
    total: int
    missed: int
    fallbacks: int
    boxed: bool  # whether boxes were measured, or points alone
    judged: bool  # whether true boxes are known
    pointings: tuple[Pointing, ...]

    @property
    def parts(self) -> list[tuple[str, list[Pointing]]]:
        """Pictures kept whole, misses, hits, each headed by the count of them all; empty ones left out."""
        whole = [each for each in self.pointings if each.fallback is not None]
        found = [each for each in self.pointings if each.fallback is None]
        missed = [each for each in found if self.judged and each.missed]
        rest = [each for each in found if each not in missed]
        left = self.total - self.fallbacks - self.missed
        named = [
            (f"Kept whole ({self.fallbacks:,})", whole),
            (f"Missed ({self.missed:,})", missed),
            (f"{'Hit' if self.judged else 'Found'} ({left:,})", rest),
        ]
        return [(title, pointings) for title, pointings in named if pointings]


def grounding_gallery(
    paths: Paths, folder: str, params: ReportParams, checked: CheckedCatalogue
) -> GroundingGallery | None:
    """Draw pointings of ``folder/pointing.parquet`` that have a true ``box``; None where there is none.

    Columns ``variant`` (then only the rows of the variant shown count), ``found_box``, ``iou`` and
    ``fallback`` may be there. The boxes of ``data/grounding`` say why a picture that is shown fell back.

    Raises:
        ReportInputError: a coordinate is missing or outside 0..1, the edges of a box are in the wrong order,
            a product is not in the catalogue, or a file is broken.
    """
    wanted, variant = params.grounding, params.grounding.variants[folder]
    path = paths.per_query / folder / "pointing.parquet"
    found = read_results(path, COLUMNS) if path.is_file() else []
    rows = {row["product_id"]: row for row in found if row["box"] and row.get("variant") in (None, variant)}
    if not rows:
        return None
    fallbacks = [each for each, row in rows.items() if row.get("fallback")]
    boxed = {each: row for each, row in rows.items() if not row.get("fallback")}
    missed = [each for each, row in boxed.items() if _missed(row, wanted)]
    hits = [each for each, row in boxed.items() if not _missed(row, wanted)]
    first = drawn(fallbacks, wanted.fallbacks, params.seed)
    reasons = read_results(paths.grounding / BOXES, ["product_id", "reason"]) if first else []
    why = {row["product_id"]: row["reason"] for row in reasons}
    ids = [
        *first,
        *drawn(missed, wanted.failures, params.seed),
        *drawn(hits, wanted.successes, params.seed),
    ]
    return GroundingGallery(
        folder=folder,
        variant=variant,
        total=len(rows),
        missed=len(missed),
        fallbacks=len(fallbacks),
        boxed=any(row.get("iou") is not None for row in rows.values()),
        judged=True,
        pointings=tuple(_pointing(path, rows[each], wanted, why.get(each), checked) for each in ids),
    )


def unjudged_gallery(
    paths: Paths, params: ReportParams, checked: CheckedCatalogue
) -> GroundingGallery | None:
    """Draw boxes of ``data/grounding`` for a catalogue without true ones; None where no box was looked for.

    Raises:
        ReportInputError: as for judged boxes.
    """
    wanted, path = params.grounding, paths.grounding / BOXES
    if not wanted.unjudged or not path.is_file():
        return None
    found = read_results(path, ["product_id", "box", "point", "fallback", "reason"])
    rows = {row["product_id"]: row for row in found}
    fallbacks = [each for each, row in rows.items() if row["fallback"]]
    boxed = [each for each, row in rows.items() if not row["fallback"]]
    ids = drawn(fallbacks, wanted.fallbacks, params.seed) + drawn(boxed, wanted.unjudged, params.seed)
    shown = []
    for each in ids:
        row = rows[each]
        x, y = row["point"] or (None, None)
        pointed = {"x": x, "y": y, "hit": True, "box": None, "found_box": row["box"]}
        shown.append(_pointing(path, row | pointed, wanted, row["reason"], checked))
    folder = path.parent.name
    return GroundingGallery(folder, "ground", len(rows), 0, len(fallbacks), True, False, tuple(shown))


def _missed(row: dict[str, Any], params: GroundingGalleryParams) -> bool:
    """A box that covers too little of the true one; where only points were found, a point outside it."""
    iou = row.get("iou")
    return not row["hit"] if iou is None else bool(iou < params.minimum_iou)


def _pointing(
    path: Path,
    row: dict[str, Any],
    params: GroundingGalleryParams,
    reason: str | None,
    checked: CheckedCatalogue,
) -> Pointing:
    product_id = row["product_id"]
    if product_id not in checked.types:
        raise ReportInputError(
            f"{path} names product '{product_id}', which data/checked lacks; run the evaluation again."
        )
    found_box, iou = row.get("found_box"), row.get("iou")
    return Pointing(
        product_id=product_id,
        x=None if row["box"] is None and row["x"] is None else _fraction(path, product_id, "x", row["x"]),
        y=None if row["box"] is None and row["y"] is None else _fraction(path, product_id, "y", row["y"]),
        missed=_missed(row, params),
        box=None if row["box"] is None else checked_box(path, product_id, "box", row["box"]),
        found_box=None if found_box is None else checked_box(path, product_id, "found_box", found_box),
        iou=None if iou is None else _fraction(path, product_id, "iou", iou),
        fallback=(reason or "") if row.get("fallback") else None,
    )


def _fraction(path: Path, product_id: str, name: str, value: float | None) -> float:
    if value is None or not math.isfinite(value) or not -1e-6 <= value <= 1 + 1e-6:
        raise ReportInputError(
            f"{path}, product '{product_id}', {name}: {value} is not a fraction of the picture (0 to 1)."
        )
    return value


def checked_box(path: Path, product_id: str, name: str, edges: list[float]) -> Box:
    """A box of a file of results.

    Raises:
        ReportInputError: not four fractions x0 y0 x1 y1 in order.
    """
    if len(edges) != 4:
        raise ReportInputError(
            f"{path}, product '{product_id}', {name}: needs x0 y0 x1 y1, has {len(edges)} numbers."
        )
    x0, y0, x1, y1 = (_fraction(path, product_id, name, edge) for edge in edges)
    if x1 < x0 or y1 < y0:
        raise ReportInputError(
            f"{path}, product '{product_id}', {name}: {edges} must be x0 y0 x1 y1, x0 <= x1, y0 <= y1."
        )
    return x0, y0, x1, y1

"""Reading files of boxes: a valid box for every product of the catalogue, whoever wrote the file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.encoder.model.crops.boxes import WHOLE, Boxes, checked_box
from components.encoder.model.crops.errors import GroundingDataError
from components.stage.errors import InvalidDataError

COLUMNS = ("product_id", "box", "score", "fallback", "reason", "point")
TAUGHT, CENTRE = "scenes", "centre"  # methods of meta.json: a dense head, or no head could be taught
DENSE_HEAD = "dense_head"
BY_TYPE, BY_CATEGORY = "boxes.parquet", "categories.parquet"  # asked with a product's type, or category


@dataclass(frozen=True)
class Grounding:
    """Boxes in catalogue order; the whole picture where a product fell back to it."""

    boxes: Boxes  # [N, 4]
    points: Boxes  # [N, 2]; the centre of the picture where there is none
    scores: list[float]
    fallback: list[bool]
    reasons: list[str]


def table_of(file: Path, columns: Sequence[str], error: type[InvalidDataError], stage: str) -> pa.Table:
    """Columns of a stage's file; ``error`` is raised where it is missing, damaged, or lacks one."""
    mend = f"run 'vitrine run --until {stage}'"
    try:
        table = pq.read_table(file)
    except FileNotFoundError:
        raise error(f"{file} does not exist; {mend}.") from None
    except (OSError, pa.ArrowException) as problem:
        raise error(f"{file} is damaged ({' '.join(str(problem).split())[:120]}); {mend}.") from None
    if missing := sorted(set(columns) - set(table.column_names)):
        raise error(f"{file} has no column {', '.join(missing)}; {mend} again.")
    return table.select(list(columns))


def made_by(folder: Path) -> str:
    """Which row of a table a folder of boxes is: the dense head, or the kind of detector that made them.

    Raises:
        GroundingDataError: its ``meta.json`` is damaged.
    """
    method = _method(folder)
    return DENSE_HEAD if method in (TAUGHT, CENTRE) else method.replace("-", "_")


def by_dense_head(folder: Path) -> bool:
    """Whether a taught dense head made the boxes: no detector, and no centre crops in its place.

    Raises:
        GroundingDataError: the folder's ``meta.json`` is damaged.
    """
    return _method(folder) == TAUGHT


def _method(folder: Path) -> str:
    file = folder / "meta.json"
    try:
        if not file.exists():
            return TAUGHT
        return str(json.loads(file.read_text(encoding="utf-8"))["made"]["method"])
    except (OSError, ValueError, KeyError, TypeError):
        raise GroundingDataError(
            f"{file} does not say what made the boxes; run 'vitrine run --until ground'."
        ) from None


def read_grounding(folder: Path, product_ids: Sequence[str], name: str = BY_TYPE) -> Grounding:
    """The boxes of a grounding folder's file ``name``, for exactly these products in this order.

    Raises:
        GroundingDataError: the file is missing or damaged, or is of another catalogue.
        BoxError: a box is not four finite fractions in order inside the picture.
    """
    file = folder / name
    rows = table_of(file, COLUMNS, GroundingDataError, "ground").to_pylist()
    if [r["product_id"] for r in rows] != list(product_ids):
        raise GroundingDataError(
            f"{file} holds {len(rows):,} products that are not the catalogue's {len(product_ids):,} in its "
            "order; run 'vitrine run --until ground' again."
        )
    boxes = [
        WHOLE if r["fallback"] else checked_box(r["box"] or (), f"product {r['product_id']} in {file}")
        for r in rows
    ]
    points = [r["point"] or (0.5, 0.5) for r in rows]
    return Grounding(
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        points=np.array(points, np.float64).reshape(-1, 2),
        scores=[r["score"] for r in rows],
        fallback=[r["fallback"] for r in rows],
        reasons=[r["reason"] for r in rows],
    )

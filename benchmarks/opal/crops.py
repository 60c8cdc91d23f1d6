"""What a listing could know of a product if it read the box of its category and not the whole picture.

OPAL is told a photo and a category. The dense head finds whatever is of that category
(``data/grounding/categories.parquet``). A linear probe of the same frozen features is taught by refined
listings, from the whole picture, from that box, and from both side by side; and from the box that is found
with the product's own type, which a seller of a new photo has not stated. Measured against the truth, on
validation products, whose kinds of scene (plain, cluttered) the truth knows.

In a workspace whose demo has run: ``python -m benchmarks.opal.crops``. What features the demo has not left is
computed: minutes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from components.catalog.format.schema import read_schema
from components.encoder.model.crops.boxes import iou
from components.encoder.model.crops.crops import CropCache
from components.encoder.model.crops.grounding_file import BY_CATEGORY, BY_TYPE, read_grounding
from components.encoder.model.features.encode import FEATURE_BATCH, FEATURE_PRECISION, BatchEncoder
from components.encoder.model.features.picture_features import FeatureCache
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.features.rows import read_rows, read_truth
from components.encoder.model.towers.files import load_encoder
from components.opal.evaluate.listings.baselines import Known, probed
from components.opal.evaluate.listings.held_out import HeldOutListings, read_held_out_listings
from components.opal.evaluate.listings.macro_f1 import count_values, macro_f1
from components.opal.evaluate.listings.risk import Ranked
from components.opal.model.listings import refined_listings
from components.opal.model.params import ListingEvalParams
from components.opal.model.writing.generate import Generated
from components.stage.paths import Paths
from components.stage.resources.memory import keep_freed_memory

RESULTS = Path("benchmarks/results/crops.json")
WHOLE = "whole picture"
SHOWN = {  # to the probe
    WHOLE: (WHOLE,),
    "box of the category": (BY_CATEGORY,),
    "whole picture and box of the category": (WHOLE, BY_CATEGORY),
    "box of the type": (BY_TYPE,),
}
HALF = 49  # of the grid of completions: 0.5
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Shown(NamedTuple):
    """Features of some catalogue rows, as a probe takes them."""

    of: npt.NDArray[np.float32]  # [rows of the catalogue, F]

    def take(self, at: Ints) -> npt.NDArray[np.float32]:
        """``[len(at), F]``."""
        return self.of[at]


def figures(held: HeldOutListings, written: Sequence[Generated], chosen: Ints) -> dict[str, float]:
    """Of some held-out products: how much is wrong, of all that is stated and of the surest half."""
    targets = [held.targets[i] for i in chosen]
    ranked = Ranked(targets, [written[i] for i in chosen], [held.groups[i] for i in chosen])
    once = np.ones((1, ranked.groups))
    none_wrong = ranked.no_wrong_value()
    counts = count_values(targets, [written[i].listing for i in chosen])
    found = {
        "macro_f1": float(macro_f1(counts, np.ones((1, len(targets))))[0]),
        "wrong": float(ranked.wrong.mean()),
        "completion": float(ranked.fills.sum() / ranked.fields.sum()),
        "wrong_at_half": float(ranked.at_completions(once)[0, HALF]),
        "risk_coverage_area": float(ranked.area(once)[0]),
        "no_wrong_value": float("nan") if none_wrong is None else float(none_wrong.mean()),
    }
    return {"n": len(targets), **{name: round(value, 3) for name, value in found.items()}}


def main() -> None:
    """Measure, print and write."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    keep_freed_memory()
    torch.set_num_threads(2)
    paths = Paths()
    rows, schema = read_rows(paths.catalogue), read_schema(paths.catalogue / "schema.json")
    refined, truth = refined_listings(paths.refined), read_truth(paths.truth)
    encoder = BatchEncoder(load_encoder(paths.encoder), FEATURE_BATCH, FEATURE_PRECISION)
    names, side = [row["product_id"] for row in rows], encoder.encoder.image_px
    boxes = {name: read_grounding(paths.grounding, names, name).boxes for name in (BY_TYPE, BY_CATEGORY)}
    pixels = {name: CropCache(paths.catalogue, boxes[name], side, paths.cache, 2) for name in boxes}
    pixels[WHOLE] = PixelCache(paths.catalogue, side, paths.cache, 2)
    every = np.arange(len(rows))
    seen = {name: FeatureCache(of, encoder, paths.cache).take(every) for name, of in pixels.items()}
    held = read_held_out_listings(rows, ListingEvalParams(split="validation"), paths.truth, refined)
    titles = [target.listing.title or target.product_id for target in held.targets]
    scenes = np.array([truth[target.product_id]["scene"] for target in held.targets])
    table: dict[str, Any] = {}
    for name, parts in SHOWN.items():
        known = Known(rows, refined, Shown(np.concatenate([seen[part] for part in parts], axis=1)))  # type: ignore[arg-type]
        written = probed(known, held, titles, schema)
        table[name] = {
            kind: figures(held, written, np.flatnonzero((scenes == kind) | (kind == "all")))
            for kind in ("all", "plain", "cluttered")
        }
        print(name, json.dumps(table[name]["all"]), flush=True)
    overlap = {name.removesuffix(".parquet"): _overlap(rows, truth, of) for name, of in boxes.items()}
    RESULTS.write_text(
        json.dumps({"iou_cluttered": overlap, "probe": table}, indent=1) + "\n", encoding="utf-8"
    )


def _overlap(rows: Sequence[dict[str, Any]], truth: Any, boxes: Floats) -> float:
    """Mean intersection over union with the true boxes of cluttered validation pictures."""
    found = []
    for row, box in zip(rows, boxes, strict=True):
        known = truth[row["product_id"]]
        if row["split"] == "validation" and known["scene"] == "cluttered" and known["box"]:
            found.append(float(iou(box[None], np.array([known["box"]]))[0]))
    return round(float(np.mean(found)), 3)


if __name__ == "__main__":
    main()

"""What a listing could know of a product if it read the box of its category and not the whole picture.

OPAL is told a photo and a category. The dense head finds whatever is of that category
(``data/grounding/categories.parquet``). A linear probe of the same frozen features is taught by refined
listings, from the whole picture, from that box, and from both side by side; and from the box that is found
with the product's own type, which a seller of a new photo has not stated. Measured against the truth, on
validation products, whose kinds of scene (plain, cluttered) the truth knows.

In a workspace whose demo has run: ``python -m benchmarks.opal.crops [--products 4000]``. It makes boxes and
features of so many train products and of all validation products: minutes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch

from components.catalog.format.schema import read_schema
from components.encoder.model.crops.boxes import WHOLE, iou
from components.encoder.model.crops.crops import crop_square
from components.encoder.model.crops.grounding_file import BY_CATEGORY, BY_TYPE, read_grounding
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.pixels import shard_paths
from components.encoder.model.features.rows import read_rows, read_truth
from components.encoder.model.towers.files import load_encoder
from components.opal.evaluate.listings.held_out import HeldOutListings, read_held_out_listings
from components.opal.evaluate.listings.linear_probe import Known, probed
from components.opal.evaluate.listings.macro_f1 import count_values, macro_f1
from components.opal.evaluate.listings.risk import Ranked
from components.opal.model.listings import refined_listings
from components.opal.model.params import ListingEvalParams
from components.opal.model.writing.generate import Generated
from components.stage.paths import Paths
from components.stage.resources.memory import keep_freed_memory

RESULTS = Path("benchmarks/results/crops.json")
AT_ONCE = 128  # pictures
HALF = 49  # of the grid of completions: 0.5
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Crops:
    """Features of crops of catalogue rows, by the workspace's own encoder."""

    def __init__(self, paths: Paths) -> None:
        self.encoder = BatchEncoder(load_encoder(paths.encoder), AT_ONCE // 2, "bf16")
        self.images: list[bytes] = []
        for shard in shard_paths(paths.catalogue):
            column = pq.read_table(shard, columns=["image"])["image"].combine_chunks()
            self.images += column.field("bytes").to_pylist()

    def features(self, at: Ints, boxes: Floats) -> npt.NDArray[np.float16]:
        """Features ``[N, F]`` of the crops."""
        side, parts = self.encoder.encoder.image_px, []
        for part in np.array_split(np.arange(len(at)), max(1, len(at) // AT_ONCE)):
            crops = [crop_square(self.images[at[k]], boxes[k], side) for k in part]
            parts.append(self.encoder.pixel_features(np.stack(crops)))
        return np.concatenate(parts)


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=4000, help="of the train split, drawn")
    asked = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(2)
    paths = Paths()
    rows, schema = read_rows(paths.catalogue), read_schema(paths.catalogue / "schema.json")
    refined, truth = refined_listings(paths.refined), read_truth(paths.truth)
    train = [i for i, row in enumerate(rows) if row["split"] == "train" and row["product_id"] in refined]
    drawn = np.random.default_rng(0).permutation(train)[: asked.products]
    judged = [i for i, row in enumerate(rows) if row["split"] == "validation"]
    at = np.array(sorted([*drawn, *judged]))
    crops, names = Crops(paths), [row["product_id"] for row in rows]
    named, of_category = (
        read_grounding(paths.grounding, names, file).boxes[at] for file in (BY_TYPE, BY_CATEGORY)
    )
    whole = crops.features(at, np.tile(np.array(WHOLE), (len(at), 1)))
    seen = {
        "box of the category": crops.features(at, of_category),
        "box of the type": crops.features(at, named),
    }
    shown: dict[str, Callable[[], npt.NDArray[np.float16]]] = {
        "whole picture": lambda: whole,
        "box of the category": lambda: seen["box of the category"],
        "both": lambda: np.concatenate([whole, seen["box of the category"]], axis=1),
        "whole picture and box of the type": lambda: np.concatenate([whole, seen["box of the type"]], axis=1),
    }
    kept = {
        rows[i]["product_id"]: refined[rows[i]["product_id"]] for i in at if rows[i]["product_id"] in refined
    }
    held = read_held_out_listings(rows, ListingEvalParams(split="validation"), paths.truth, kept)
    titles = [target.listing.title or target.product_id for target in held.targets]
    scenes = np.array([truth[target.product_id]["scene"] for target in held.targets])
    table: dict[str, Any] = {}
    for name, made in shown.items():
        features = np.zeros((len(rows), made().shape[1]), np.float32)
        features[at] = made()
        written = probed(Known(rows, kept, Shown(features)), held, titles, schema)  # type: ignore[arg-type]
        table[name] = {
            kind: figures(held, written, np.flatnonzero((scenes == kind) | (kind == "all")))
            for kind in ("all", "plain", "cluttered")
        }
        print(name, json.dumps(table[name]["all"]), flush=True)
    overlap = {
        name: _overlap(rows, truth, at, boxes) for name, boxes in (("category", of_category), ("type", named))
    }
    out = {"train": len(drawn), "iou_cluttered": overlap, "probe": table}
    RESULTS.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")


def _overlap(rows: Sequence[dict[str, Any]], truth: Any, at: Ints, boxes: Floats) -> float:
    """Mean intersection over union with the true boxes of cluttered validation pictures."""
    found = []
    for row, box in zip((rows[i] for i in at), boxes, strict=True):
        known = truth[row["product_id"]]
        if row["split"] == "validation" and known["scene"] == "cluttered" and known["box"]:
            found.append(float(iou(box[None], np.array([known["box"]]))[0]))
    return round(float(np.mean(found)), 3)


if __name__ == "__main__":
    main()

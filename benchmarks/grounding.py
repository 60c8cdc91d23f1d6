"""Boxes on street photos with human labels, beside boxes that need no text.

``python -m benchmarks.grounding FOLDER PRODUCTS [--params params.yaml] [--half first|second|both]``

FOLDER holds ``boxes.jsonl`` (image, label, kind, bbox_norm_xyxy) and the pictures; every ``item`` box of
at least ``--minimum-area`` of its photo is asked for with its label as the only prompt. PRODUCTS holds
``products.jsonl`` (image, split, category_path) and the pictures that block ``ground`` of the parameters
learns from: the train split's, each with the last name of its category as type. The towers are those that
block ``encoder`` starts from. Settings were chosen on the first half of the photos (by name); figures are of
the second, and of both. Prints a table and writes ``benchmarks/results/grounding.json``; without the folders
it says so and ends with 0: the data may not be shared.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from components.vlclip.grounding.grounding import Grounder
    from components.vlclip.model.params import GroundParams

# Street photos show things smaller than a catalogue's pictures do: scenes and photos are larger here.
STREET = {
    "composer": {"image_px": 224, "pictures": 3000},
    "training": {"scenes": 1200, "steps": 350},
    "sizes_px": [448],
    # Composed scenes, whose things are smaller, choose 0.25 of the peak: on the first half of the photos that
    # draws boxes around most of a person.
    "region": {"shares": [0.4], "margins": [0.0]},
}
RESULTS = Path(__file__).parent / "results" / "grounding.json"
BASELINES = ("whole_image", "centre_crop", "random_box", "foreground")
BATCH = 256


@dataclass(frozen=True)
class Item:
    """One thing to find: its photo, its label, and the box that people drew."""

    image: str
    label: str
    box: tuple[float, float, float, float]


def read_items(folder: Path, minimum_area: float) -> list[Item]:
    """Item boxes of at least ``minimum_area``, in the file's order."""
    lines = (folder / "boxes.jsonl").read_text(encoding="utf-8").splitlines()
    found = [row for row in map(json.loads, lines) if row["kind"] == "item"]
    items = [Item(r["image"], r["label"], tuple(r["bbox_norm_xyxy"])) for r in found]
    return [i for i in items if (i.box[2] - i.box[0]) * (i.box[3] - i.box[1]) >= minimum_area]


@dataclass(frozen=True)
class Answers:
    """Boxes ``[N, 4]`` and points ``[N, 2]`` for every item."""

    boxes: npt.NDArray[np.float64]
    points: npt.NDArray[np.float64]


def halves(items: Sequence[Item]) -> dict[str, list[int]]:
    """Positions of the items whose photos are in the first and in the second half by name, and of all."""
    names = sorted({i.image for i in items})
    first = set(names[: len(names) // 2])
    return {
        "first": [at for at, i in enumerate(items) if i.image in first],
        "second": [at for at, i in enumerate(items) if i.image not in first],
        "both": list(range(len(items))),
    }


def jsonl_pictures(folder: Path, most: int) -> list[tuple[bytes, str]]:
    """Pictures of the train split of a ``products.jsonl``, as the stage reads a catalogue's."""
    from components.vlclip.grounding.dense.teach import chosen_pictures

    lines = (folder / "products.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["split"] == "train"]
    kinds = [row["category_path"][-1] for row in rows]
    return [((folder / rows[i]["image"]).read_bytes(), kinds[i]) for i in chosen_pictures(kinds, most)]


def street_params(params: GroundParams) -> GroundParams:
    """The block with what street photos need; a detector's is left alone."""
    block = params.model_dump()
    if block["scenes"] is None:
        return params
    for name, value in STREET.items():
        block["scenes"][name] = {**block["scenes"][name], **value} if isinstance(value, dict) else value
    return type(params).model_validate(block)


def taught(products: Path, params: GroundParams, file: Path) -> tuple[Grounder, float]:
    """The grounder that the parameters name, taught by a folder of products; and the seconds it took."""
    from components.encoder.model.params import EncoderParams
    from components.encoder.model.towers.start import starting_model
    from components.stage.params import load_params
    from components.vlclip.grounding.stage import make_grounder

    start = time.perf_counter()
    encoder = lambda: starting_model(load_params("encoder", EncoderParams, file))  # noqa: E731
    made = make_grounder(params, encoder, partial(jsonl_pictures, products))
    return made.grounder, time.perf_counter() - start


def grounded(
    folder: Path, items: Sequence[Item], params: GroundParams, grounder: Grounder
) -> tuple[Answers, float, float]:
    """The grounder's answers, its fallback rate, and questions per second."""
    from components.vlclip.grounding.grounding import ground

    known = {i.label for i in items}
    found = []
    start = time.perf_counter()
    for at in range(0, len(items), BATCH):
        part = items[at : at + BATCH]
        pictures = [(folder / i.image).read_bytes() for i in part]
        found += ground(grounder, pictures, [i.label for i in part], known, params.minimum_area)
    rate = len(items) / (time.perf_counter() - start)
    boxes = np.array([f.box or (0.0, 0.0, 1.0, 1.0) for f in found])
    points = np.array([f.point or (0.5, 0.5) for f in found])
    return Answers(boxes, points), float(np.mean([f.fallback for f in found])), rate


def baselines(folder: Path, items: Sequence[Item]) -> dict[str, Answers]:
    """Boxes that need no text."""
    from components.encoder.model.features.pixels import square
    from components.vlclip.evaluate.grounding import foregrounds, random_boxes
    from components.vlclip.model.boxes import centre_boxes

    names = sorted({i.image for i in items})
    pixels = np.stack([square((folder / n).read_bytes(), 64) for n in names])
    salient = dict(zip(names, foregrounds(pixels), strict=True))
    boxes = {
        "whole_image": centre_boxes(len(items), 1.0),
        "centre_crop": centre_boxes(len(items), 0.75),
        "random_box": random_boxes(len(items), seed=0),
        "foreground": np.array([salient[i.image] for i in items]),
    }
    return {name: Answers(b, (b[:, :2] + b[:, 2:]) / 2) for name, b in boxes.items()}


def rows(
    items: Sequence[Item], ours: Answers, others: dict[str, Answers], half: str, chosen: Sequence[int]
) -> list[dict[str, Any]]:
    """IoU and pointing beside each baseline; photos are the independent units of the intervals."""
    from components.retrieval.significance import paired_bootstrap
    from components.vlclip.model.boxes import inside, iou

    true = np.array([items[i].box for i in chosen])
    photos = [items[i].image for i in chosen]

    def values(answers: Answers) -> dict[str, Any]:
        """IoU and pointing hit of each item."""
        return {
            "iou": iou(answers.boxes[chosen], true),
            "pointing": inside(*answers.points[chosen].T, true),
        }

    out = []
    mine = values(ours)
    for name in BASELINES:
        peer = values(others[name])
        for metric in ("iou", "pointing"):
            test = paired_bootstrap(mine[metric], peer[metric], seed=0, samples=2000, clusters=photos)
            a, b = float(mine[metric].mean()), float(peer[metric].mean())
            out.append({
                "case": f"{metric}, {half} half, {len(chosen):,} items".replace("both half", "all photos"),
                "ours": round(a, 4), "peer": round(b, 4),
                "peer_name": name, "unit": "share", "ratio": round(a / max(b, 1e-9), 3), "runs": 1,
                "spread": 0.0, "difference_low": round(test.low, 4), "difference_high": round(test.high, 4),
                "n": test.n,
            })  # fmt: skip
    return out


def main() -> int:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("products", type=Path)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument(
        "--minimum-area", type=float, default=0.02, help="of an item's box, as a share of its photo"
    )
    parser.add_argument(
        "--half", choices=("first", "second", "both"), default="both",
        help="of the photos; results are written for both alone",
    )  # fmt: skip
    asked = parser.parse_args()
    for file in (asked.folder / "boxes.jsonl", asked.products / "products.jsonl"):
        if not file.is_file():
            print(f"skipped: {file} does not exist", file=sys.stderr)
            return 0
    import torch

    from components.stage.params import load_params
    from components.vlclip.model.params import GroundParams

    params = street_params(load_params("ground", GroundParams, asked.params))
    torch.set_num_threads(params.threads)
    every = read_items(asked.folder, asked.minimum_area)
    items = [every[i] for i in halves(every)[asked.half]]
    grounder, seconds = taught(asked.products, params, asked.params)
    ours, fallback, rate = grounded(asked.folder, items, params, grounder)
    others, parts = baselines(asked.folder, items), halves(items)
    shown = (
        {"second": parts["second"], "both": parts["both"]}
        if asked.half == "both"
        else {asked.half: parts["both"]}
    )
    table = [row for half, chosen in shown.items() for row in rows(items, ours, others, half, chosen)]
    print(f"taught in {seconds:,.0f} s; {len(items):,} items, {rate:,.0f}/s, fallback {fallback:.3f}")
    for row in table:
        interval = f"[{row['difference_low']:+.3f}, {row['difference_high']:+.3f}]"
        figures = f"{row['ours']:>8.3f}{row['peer']:>8.3f}  {interval}"
        print(f"{row['case']:<40}{row['peer_name']:<14}{figures}")
    if asked.half == "both":
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

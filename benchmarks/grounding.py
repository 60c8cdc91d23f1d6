"""Boxes on street photos with human labels, beside boxes that need no text.

``python -m benchmarks.grounding FOLDER [--model models/encoder] [--params params.yaml] [--quick]``

FOLDER holds ``boxes.jsonl`` (image, label, kind, bbox_norm_xyxy) and the pictures; every ``item`` box of
at least ``--minimum-area`` of its photo is asked for with its label as the only prompt. The grounder is the
one that block ``ground`` of the parameters names. Prints a table and writes
``benchmarks/results/grounding.json``; without the folder it says so and ends with 0: the data
may not be shared.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

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


def grounded(folder: Path, items: Sequence[Item], params: Any, model: Path) -> tuple[Answers, float, float]:
    """The grounder's answers, its fallback rate, and photos per second."""
    from components.vlclip.grounding.grounding import Examples, ground
    from components.vlclip.grounding.stage import make_grounder

    def examples(empty: Any) -> Examples:
        """Photos whose grounds say what a picture of nothing scores; no box is read."""
        chosen = items[:: max(1, len(items) // empty.pictures)][: empty.pictures]
        return Examples([(folder / i.image).read_bytes() for i in chosen], [i.label for i in chosen])

    grounder = make_grounder(params, model, examples)
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
    from components.vlclip.evaluate import baseline_boxes

    names = sorted({i.image for i in items})
    pixels = np.stack([square((folder / n).read_bytes(), 64) for n in names])
    salient = dict(zip(names, baseline_boxes.foregrounds(pixels), strict=True))
    boxes = {
        "whole_image": baseline_boxes.whole_images(len(items)),
        "centre_crop": baseline_boxes.centre_crops(len(items), 0.75),
        "random_box": baseline_boxes.random_boxes(len(items), seed=0),
        "foreground": np.array([salient[i.image] for i in items]),
    }
    return {name: Answers(b, (b[:, :2] + b[:, 2:]) / 2) for name, b in boxes.items()}


def rows(items: Sequence[Item], ours: Answers, others: dict[str, Answers]) -> list[dict[str, Any]]:
    """IoU and pointing beside each baseline; photos are the independent units of the intervals."""
    from components.retrieval.significance import paired_bootstrap
    from components.vlclip.model.boxes import inside, iou

    true = np.array([i.box for i in items])
    photos = [i.image for i in items]

    def values(answers: Answers) -> dict[str, Any]:
        """IoU and pointing hit of each item."""
        return {"iou": iou(answers.boxes, true), "pointing": inside(*answers.points.T, true)}

    out = []
    mine = values(ours)
    for name in BASELINES:
        peer = values(others[name])
        for metric in ("iou", "pointing"):
            test = paired_bootstrap(mine[metric], peer[metric], seed=0, samples=2000, clusters=photos)
            a, b = float(mine[metric].mean()), float(peer[metric].mean())
            out.append({
                "case": f"{metric}, {len(items):,} items", "ours": round(a, 4), "peer": round(b, 4),
                "peer_name": name, "unit": "share", "ratio": round(a / max(b, 1e-9), 3), "runs": 1,
                "spread": 0.0, "difference_low": round(test.low, 4), "difference_high": round(test.high, 4),
                "n": test.n,
            })  # fmt: skip
    return out


def main() -> int:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, default=Path("models/encoder"))
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument(
        "--minimum-area", type=float, default=0.02, help="of an item's box, as a share of its photo"
    )
    parser.add_argument("--quick", action="store_true", help="the first 400 items")
    asked = parser.parse_args()
    if not (asked.folder / "boxes.jsonl").is_file():
        print(f"skipped: {asked.folder}/boxes.jsonl does not exist", file=sys.stderr)
        return 0
    import torch

    from components.stage.params import load_params
    from components.vlclip.model.params import GroundParams

    params = load_params("ground", GroundParams, asked.params)
    torch.set_num_threads(params.threads)
    items = read_items(asked.folder, asked.minimum_area)[: 400 if asked.quick else None]
    ours, fallback, rate = grounded(asked.folder, items, params, asked.model)
    table = rows(items, ours, baselines(asked.folder, items))
    print(f"{len(items):,} items, {rate:,.0f} photos/s, fallback {fallback:.3f}")
    for row in table:
        interval = f"[{row['difference_low']:+.3f}, {row['difference_high']:+.3f}]"
        figures = f"{row['ours']:>8.3f}{row['peer']:>8.3f}  {interval}"
        print(f"{row['case']:<28}{row['peer_name']:<14}{figures}")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Preference optimisation with the reference's log-probabilities cached, beside the same with them online.

Both train one model on the same pairs in the same order, runs alternating. Cases: every weight of the graph's
tuned model; and LoRA on a model of random weights, 256 wide with 6 layers, for adapters are for large models:
on the small one they cost as much as training every weight. The time to compute the cache is told apart, and
after how many epochs it has paid.

By operations a step can be 4/3 times as fast with every weight trained (forward 1, backward 2, reference 1)
and 3/2 times with LoRA (its backward needs no gradients of frozen weights).

Needs a workspace with ``data/checked``, ``data/preferences`` and ``models/listing/sft_refined``. Run:
``python -m benchmarks.dpo [--steps 40] [--runs 3]``
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.result import Task, rate_row
from components.encoder.model.features.rows import read_rows
from components.opal.model.dpo.preferring import prefer
from components.opal.model.dpo.stage import read_pairs
from components.opal.model.language.files import load_listing_model, read_note
from components.opal.model.language.listing_model import ListingModel
from components.opal.model.language.pictures import pictures_of
from components.opal.model.params import DpoParams, ListingParams, LoraParams
from components.opal.model.sft.samples import read_lessons
from components.opal.model.sft.starting_model import starting_model
from components.opal.model.train.run import TuningRun
from components.stage.params import load_params
from components.stage.paths import Paths
from components.stage.resources.memory import keep_freed_memory

RESULTS = Path("benchmarks/results/dpo.json")
REFERENCES = ("cached", "online")


WIDE = {"width": 256, "heads": 8, "layers": 6, "feed_forward": 768, "aligned_start": False}


class Case:
    """A model, the graph's pairs and pictures: the tuned model, or one of random weights that is ``wide``."""

    def __init__(self, paths: Paths, steps: int, wide: bool) -> None:
        self.listing = load_params("listing", ListingParams)
        dpo = load_params("dpo", DpoParams)
        training = dpo.training.model_copy(update={"steps": steps})
        # the image term has a cost of its own
        self.params = dpo.model_copy(update={"training": training, "image_weight": 0.0})
        self.pairs = read_pairs(paths.preferences)
        if wide:
            language = self.listing.language.model_copy(update=WIDE)
            self.listing = self.listing.model_copy(update={"language": language})
            lessons = read_lessons("refined", self.listing, paths.catalogue, paths.refined)
            self.first, self.pictures = starting_model(self.listing, lessons, lessons.whole, paths)
        else:
            folder = paths.listing / "sft_refined"
            self.first = load_listing_model(folder)
            self.pictures = pictures_of(self.first.model, read_note(folder), paths)
        self.positions = {row["product_id"]: i for i, row in enumerate(read_rows(paths.catalogue))}

    def run(self, reference: str, lora: LoraParams | None) -> tuple[float, float, float]:
        """Seconds of the steps, seconds of everything, and the last loss."""
        model = ListingModel(copy.deepcopy(self.first.model), self.first.processor, self.first.context_length)
        params = self.params.model_copy(update={"reference": reference})
        listing = self.listing.model_copy(update={"lora": lora})
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            course = TuningRun(params, listing, Path(folder))
            done = prefer(model, self.pairs, self.positions, self.pictures.take, course)
            return done.train_seconds, time.perf_counter() - start, done.curves[-1]["loss"]


def measured(case: Case, name: str, lora: LoraParams | None, runs: int) -> dict[str, Any]:
    """A row of the table: pairs per second of both, and after how many epochs the cache has paid."""
    steps: dict[str, list[float]] = {r: [] for r in REFERENCES}
    before: dict[str, list[float]] = {r: [] for r in REFERENCES}
    losses = {}
    for _ in range(runs):
        for reference in REFERENCES:
            training, whole, losses[reference] = case.run(reference, lora)
            steps[reference].append(training)
            before[reference].append(whole - training)
    training = case.params.training
    pairs = training.steps * training.batch_size * training.accumulation
    row = rate_row(name, Task(pairs, "the online reference", "pairs/s"), steps["cached"], steps["online"])
    once, saved = (
        statistics.median(one) - statistics.median(other)
        for one, other in ((before["cached"], before["online"]), (steps["online"], steps["cached"]))
    )
    distinct = min(pairs, len(case.pairs))
    epochs = round((once / distinct) / (saved / pairs), 2) if saved > 0 else None
    print(f"{name}: last losses {losses}")
    return {**row, "cache_s": round(once, 2), "saved_s": round(saved, 2), "break_even_epochs": epochs}


def main() -> None:
    """Run both cases, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(2)
    rows = []
    for name, wide, lora in (("every_weight", False, None), ("lora_wide", True, LoraParams())):
        rows.append(measured(Case(Paths(), arguments.steps, wide), name, lora, arguments.runs))
        print(rows[-1], flush=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

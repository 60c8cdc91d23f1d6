"""Visual instruction tuning by our loop beside TRL's plain SFTTrainer: same model, batches, precision.

The peer is TRL's example for vision-language models (its documentation, "Training vision language models"):
``SFTTrainer`` with pictures in the dataset and the collator that it makes itself. Both train the same model
from the same first weights on the same listings in the same order, by AdamW, runs alternating. Case
``frozen_tower``: ours reads a frozen tower's tokens of a picture; the peer computes them each time. The time
to compute them all counts. Losses of both are printed: they differ by rounding only.

Needs a workspace with ``data/checked``, ``data/refined`` and ``models/encoder``. Run:
``python -m benchmarks.sft [--steps 40] [--runs 3]``
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from trl import SFTConfig, SFTTrainer

from benchmarks.result import Task, rate_row
from components.encoder.model.features.pixels import PixelCache
from components.opal.model.language.listing_model import ListingModel, as_input
from components.opal.model.language.pictures import catalogue_pixels, reads_crops
from components.opal.model.params import ListingParams, SftParams
from components.opal.model.sft.samples import Sample, read_lessons
from components.opal.model.sft.starting_model import starting_model
from components.opal.model.sft.tuning import tune
from components.opal.model.train.run import TuningRun
from components.opal.model.train.trainer_setup import common_arguments
from components.opal.model.writing.conversation import Conversation
from components.stage.params import load_params
from components.stage.paths import Paths
from components.stage.resources.memory import keep_freed_memory

RESULTS = Path("benchmarks/results/sft.json")


def ours(
    model: ListingModel, samples: list[Sample], pixels: PixelCache, params: SftParams, listing: ListingParams
) -> tuple[float, float]:
    """Seconds and last loss of our loop, the tokens of every picture included."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        rows = np.unique([s.position for s in samples])
        with torch.inference_mode():
            seen = model.model.model.vision_tower.seen(as_input(pixels.take(rows))).half().numpy()
        course = TuningRun(params, listing, Path(folder))
        done = tune(model, samples, lambda at: seen[np.searchsorted(rows, at)], course)
        return time.perf_counter() - start, done.curves[-1]["loss"]


def plain(
    model: ListingModel, samples: list[Sample], pixels: PixelCache, params: SftParams, listing: ListingParams
) -> tuple[float, float]:
    """Seconds and last loss of TRL's trainer as its documentation writes it; pictures are ready in memory."""
    conversation = Conversation(model)
    shown = pixels.take(np.array([s.position for s in samples]))
    data = Dataset.from_dict(
        {
            "prompt": [conversation.prompt(s.question) for s in samples],
            "completion": [conversation.answer(s.answer) for s in samples],
            "images": [[Image.fromarray(picture)] for picture in shown],
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = common_arguments(TuningRun(params, listing, Path(folder)))
        trainer = SFTTrainer(
            model=model.model,
            args=SFTConfig(**arguments),
            train_dataset=data,
            processing_class=model.processor,
        )
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
    return seconds, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry][-1]


def main() -> None:
    """Run the case, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(2)
    listing, sft = load_params("listing", ListingParams), load_params("sft", SftParams)
    new = {"steps": arguments.steps, "optimiser": "adamw", "learning_rate": 0.003}
    params = sft.model_copy(
        update={"instruction_share": 0.0, "rarity": 0.0, "training": sft.training.model_copy(update=new)}
    )
    paths = Paths()
    lessons = read_lessons("refined", listing, paths.catalogue, paths.refined)
    samples = lessons.order(params)
    first, pictures = starting_model(listing, lessons, samples, paths)
    pixels = catalogue_pixels(paths, pictures.image_px, reads_crops(listing, paths))
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    losses: dict[str, float] = {}
    for _ in range(arguments.runs):
        for name, loop in (("ours", ours), ("peer", plain)):
            model = ListingModel(copy.deepcopy(first.model), first.processor, first.context_length)
            seconds, losses[name] = loop(model, samples, pixels, params, listing)
            times[name].append(seconds)
    task = Task(len(samples), "TRL's SFTTrainer with its own collator", "samples/s")
    rows = [rate_row("frozen_tower", task, times["ours"], times["peer"])]
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(rows[0])
    print(f"last loss: {losses}")


if __name__ == "__main__":
    main()

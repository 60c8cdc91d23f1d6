"""Contrastive training beside open_clip's own loop: same towers, heads, data, batch and precision.

Three cases, runs alternating, medians over ``--runs``; pairs a second over ``--epochs`` epochs from JPEG:

* ``locked``: both towers frozen, heads learn. Ours counts building the shards and the features that are
  computed once; the peer computes them in every step, as its loop does. Its time is measured over two epochs
  and counted for all, each costing the same.
* ``text``: the image tower is frozen, the text tower is tuned. Both sides tune the same tower on the same
  texts, so the peer's work per pair by ours is a ceiling: ``ceiling`` is the ratio of their floating-point
  operations a pair (torch's count; ours with the features' share). Two epochs are measured of each and
  counted for all, building shards and features once.
* ``unlocked``: both towers are tuned, from pixels. Ours counts building the shards, the pixel cache and the
  features that its heads start from, once. One epoch is measured of each and counted for all. Both sides do
  the same multiplications, so decoding is all that a cache can save.

The peer is ``open_clip_train.train_one_epoch`` over its ``CsvDataset`` (random resized crop, one worker).
Needs ``pip install -e '.[benchmarks]'``. Run:
``python -m benchmarks.training [--products 1000] [--epochs 20] [--runs 3] [--cases text] [--quick]``
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from components.catalog.format.records import Product
from components.catalog.format.schema import CatalogSchema, write_schema
from components.catalog.format.shards import CatalogueWriter, write_qrels, write_queries
from components.encoder.model.params import EncoderParams
from components.encoder.model.towers.dual_encoder import Encoder
from components.encoder.model.towers.start import starting_model
from components.encoder.model.towers.tokenizer import TextTokenizer
from components.encoder.model.train.contrastive import Contrastive
from components.encoder.model.train.training_set import make_training_set
from components.stage.resources.accelerator import multiplies_bf16
from components.stage.resources.memory import keep_freed_memory
from components.training.optimiser import adamw

COLOURS = ("red", "green", "blue", "white", "black", "yellow")
RESULTS = Path("benchmarks/results/training.json")
MEASURED = 2  # epochs that stand for all where a tower is frozen, of the peer, and of ours where one is tuned
CASES = {"locked": (False, False), "text": (False, True), "unlocked": (True, True)}  # what is tuned


def parameters(epochs: int, case: str) -> EncoderParams:
    """The default towers and heads; titles are the only captions."""
    tune_image, tune_text = CASES[case]
    block = EncoderParams().model_dump()
    block["captions"] = dict.fromkeys(block["captions"], 0.0) | {"title": 1.0}
    block["training"] |= {"epochs": epochs, "batch_size": 64, "swapped_captions": False, "topic_size": 1}
    block["training"] |= {"tune_image": tune_image, "tune_text": tune_text}
    block["training"] |= {"validate_every_epochs": 1000, "checkpoint_every_s": 1e9}
    return EncoderParams.model_validate(block)


def title(number: int) -> str:
    """About ten words."""
    return f"{COLOURS[number % 6]} cotton shirt with long sleeves, number {number}, for the office"


def write_pictures(folder: Path, count: int) -> list[tuple[Path, str]]:
    """JPEG files of 224 px with a title of about ten words each."""
    from PIL import Image

    rng = np.random.default_rng(1)
    found = []
    for i in range(count):
        small = rng.integers(0, 256, (14, 14, 3), dtype=np.uint8)
        file = folder / f"{i:06d}.jpg"
        Image.fromarray(small).resize((224, 224), Image.Resampling.BICUBIC).save(file, quality=88)
        found.append((file, title(i)))
    return found


def write_catalogue(folder: Path, pictures: list[tuple[Path, str]]) -> None:
    """The same pictures as a catalogue."""
    with CatalogueWriter(folder, rows_per_shard=4096) as writer:
        for i, (file, words) in enumerate(pictures):
            writer.add(
                Product(
                    product_id=f"p{i:06d}",
                    image=file.read_bytes(),
                    title=words,
                    category="c",
                    product_type="shirt",
                    group_id=f"g{i}",
                    split="train",
                )
            )
    write_queries(folder, [])
    write_qrels(folder, [])
    category = {"product_types": ["shirt"], "attributes": {}}
    write_schema(folder / "schema.json", CatalogSchema.model_validate({"categories": {"c": category}}))


class _Network(torch.nn.Module):
    """The same encoder under the names that open_clip's loop calls; pictures come normalised."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        encoder.normalise = lambda pixels: pixels  # type: ignore[method-assign]
        self.encoder = encoder
        self.logit_scale = encoder.towers.logit_scale

    def forward(self, image: torch.Tensor, text: torch.Tensor) -> dict[str, torch.Tensor]:
        """Vectors of a batch."""
        return {
            "image_features": self.encoder.encode_image(image),
            "text_features": self.encoder.encode_text(text),
            "logit_scale": self.encoder.temperature,
        }


def peer_epochs(params: EncoderParams, encoder: Encoder, loader: Any, epochs: int) -> float:
    """Seconds that open_clip's loop takes over ``loader``."""
    from open_clip.loss import ClipLoss
    from open_clip_train.train import train_one_epoch

    network = _Network(encoder)
    optimizer = adamw(network, params.training)
    arguments = SimpleNamespace(
        device="cpu",
        precision="amp_bf16" if multiplies_bf16("cpu") else "fp32",  # as ours does
        distill=False,
        accum_freq=1,
        skip_scheduler=True,
        grad_clip_norm=None,
        horovod=False,
        rank=0,
        local_rank=0,
        log_local=False,
        world_size=1,
        log_every_n_steps=1000,
        batch_size=params.training.batch_size,
        wandb=False,
    )
    data = {"train": SimpleNamespace(dataloader=loader, set_epoch=lambda _: None)}
    start = time.perf_counter()
    for epoch in range(epochs):
        train_one_epoch(network, data, ClipLoss(), epoch, optimizer, None, None, None, arguments)
    return time.perf_counter() - start


def peer_from_jpeg(params: EncoderParams, table: Path, epochs: int) -> float:
    """open_clip's CSV dataset, its training transform and a worker process to decode."""
    from open_clip import image_transform
    from open_clip_train.data import get_csv_dataset

    model = starting_model(params)
    tokenizer: TextTokenizer = model.tokenizer
    arguments = SimpleNamespace(
        train_data=str(table),
        csv_img_key="image",
        csv_caption_key="title",
        csv_separator="\t",
        distributed=False,
        batch_size=params.training.batch_size,
        workers=1,
    )
    size = model.encoder.preprocessing
    transform = image_transform(params.image_px, is_train=True, mean=size.mean, std=size.std)
    short = tokenizer.with_context(24)  # the titles' length: the peer would pad to 64
    info = get_csv_dataset(arguments, transform, True, tokenizer=lambda texts: torch.from_numpy(short(texts)))
    return peer_epochs(params, model.encoder, info.dataloader, epochs)


def ours(params: EncoderParams, catalogue: Path, cache: Path) -> tuple[float, float]:
    """Seconds until our training can start, with nothing in the cache, and of training."""
    start = time.perf_counter()
    model = starting_model(params)
    data, _ = make_training_set(catalogue, params, model, cache)
    prepared = time.perf_counter()
    Contrastive(model.encoder, data, params).loop().run()
    return prepared - start, time.perf_counter() - prepared


def flops_ceiling(catalogue: Path, cache: Path, epochs: int) -> float:
    """How many times the work of ours the peer does for a pair, where the text tower alone is tuned."""
    from torch.utils.flop_counter import FlopCounterMode

    params = parameters(1, "text")
    model = starting_model(params)
    data, _ = make_training_set(catalogue, params, model, cache)
    objective = Contrastive(model.encoder, data, params)
    batch = objective.batch(0)
    with FlopCounterMode(display=False) as step:
        objective.losses(batch)["loss"].backward()
    pixels = torch.zeros(len(batch.rows), 3, params.image_px, params.image_px)
    with FlopCounterMode(display=False) as tower, torch.no_grad():
        model.encoder.image_features(pixels)
    once, every = tower.get_total_flops(), step.get_total_flops()
    return (every + once) / (every + once / epochs)


def rows_of(times: dict[str, tuple[list[float], list[float]]], pairs: int) -> list[dict[str, Any]]:
    """The benchmark's rows: pairs per second, medians of alternating runs."""
    out = []
    for case, (mine, peer) in times.items():
        a, b = (pairs / statistics.median(t) for t in (mine, peer))
        spread = (max(mine) - min(mine)) / statistics.median(mine)
        row = {"case": case, "ours": round(a, 1), "peer": round(b, 1), "peer_name": "open_clip_train"}
        out.append(
            row | {"unit": "pairs/s", "ratio": round(a / b, 3), "runs": len(mine), "spread": round(spread, 3)}
        )
    return out


def main() -> None:
    """Measure, print a table, write ``benchmarks/results/training.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--cases", nargs="+", choices=CASES, default=list(CASES), help="others keep their rows"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run; writes nothing")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.products, arguments.epochs, arguments.runs = 128, 2, 1
    logging.disable(logging.INFO)
    keep_freed_memory()  # for both sides: they share this process
    torch.set_num_threads(2)
    times: dict[str, tuple[list[float], list[float]]] = {case: ([], []) for case in arguments.cases}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "jpeg").mkdir()
        pictures = write_pictures(work / "jpeg", arguments.products)
        table = work / "pairs.csv"
        table.write_text("image\ttitle\n" + "".join(f"{f}\t{t}\n" for f, t in pictures))
        for run in range(arguments.runs):
            for case, (mine, peer) in times.items():
                epochs = arguments.epochs
                measured = 1 if case == "unlocked" else min(epochs, MEASURED)
                mine_measured = epochs if case == "locked" else measured
                catalogue, cache = work / f"catalogue{run}{case}", work / f"cache{run}{case}"
                start = time.perf_counter()
                write_catalogue(catalogue, pictures)
                built = time.perf_counter() - start
                params = parameters(mine_measured, case)
                prepared, trained = ours(params, catalogue, cache)
                mine.append((built + prepared) / epochs + trained / mine_measured)
                peer.append(peer_from_jpeg(params, table, measured) / measured)
        if "text" in times:
            ceiling = flops_ceiling(work / "catalogue0text", work / "cache0text", arguments.epochs)
    batch = parameters(1, "locked").training.batch_size
    rows = rows_of(times, arguments.products // batch * batch)
    for row in rows:
        if row["case"] == "text":
            row["ceiling"] = round(ceiling, 3)
    for row in rows:
        print(
            "{case:15s} ours {ours:8.1f}  {peer_name} {peer:8.1f} {unit}  ratio {ratio:.2f}".format(**row),
            end="",
        )
        print(f"  ceiling {row['ceiling']:.2f}" if "ceiling" in row else "")
    if not arguments.quick:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
        by_case = {row["case"]: row for row in [*known, *rows]}
        RESULTS.write_text(json.dumps([by_case[c] for c in CASES if c in by_case], indent=1) + "\n")


if __name__ == "__main__":
    main()

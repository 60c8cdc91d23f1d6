"""Training a fusion network on cached vectors beside training the same network through its towers.

Both sides draw the same pairs (same seed, same batch size, same hard negatives) and minimise the same loss.
Ours reads the towers' vectors from memory; the peer runs text tower, image tower and network forward and
backward in each step, as a system without the cache would. Filling the cache is reported as a row of its own:
it is paid once for all networks.

Needs a workspace with ``data/checked`` and ``models/fusion/align_image``. Run:
``python -m benchmarks.fusion [--network moe_bilinear] [--runs 3] [--steps 6] [--quick]``
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.features.rows import read_rows
from components.encoder.model.train.training_set import split_rows
from components.encoder.model.train.views import random_views
from components.fusion.model.data.pairs import PairBatch, query_to_product
from components.fusion.model.fuse.fusing import Fusing
from components.fusion.model.fuse.training_set import make_fuse_data
from components.fusion.model.networks.layers import create_network
from components.fusion.model.params import AlignImageParams, AlignmentParams, FuseParams, FusionParams
from components.fusion.model.towers.aligned import load_towers
from components.fusion.model.towers.product_texts import WholeTexts
from components.fusion.model.towers.towers import Towers
from components.stage.params import load_params
from components.stage.paths import Paths
from components.stage.resources.accelerator import autocast
from components.stage.resources.memory import keep_freed_memory
from components.training.loop import Loop

CATALOGUE, TOWERS, CACHE = Paths().catalogue, Paths().fusion / "align_image", Paths().cache
RESULTS = Path("benchmarks/results/fusion.json")


class ThroughTowers:
    """The peer: the same loss, with gradients through both towers."""

    def __init__(self, fusing: Fusing, fusion: FusionParams, align: AlignmentParams) -> None:
        self.fusing, self.align = fusing, align
        loaded = load_towers(TOWERS).encoder
        self.encoder = loaded.encoder
        rows, self.at = split_rows(read_rows(CATALOGUE), "train")
        self.tokens = WholeTexts(rows, fusion.text, loaded.tokenizer)
        self.queries = loaded.tokenizer(fusing.data.sampler.judgements.texts)
        self.pixels = PixelCache(CATALOGUE, self.encoder.image_px, CACHE, align.threads)
        self.module = nn.ModuleList([self.encoder, fusing.module])

    def batch(self, step: int) -> tuple[PairBatch, Tensor, Tensor]:
        """Pairs, product tokens and views."""
        sampler = self.fusing.data.sampler
        rng = sampler.order.rng(step)
        batch = sampler.batch(step, rng)
        tokens = self.tokens.draw(batch.products, rng)
        pixels = torch.from_numpy(self.pixels.take(self.at[batch.products]))
        return batch, tokens, random_views(pixels, self.encoder.image_px, self.align.augmentation, rng)

    def losses(self, step: tuple[PairBatch, Tensor, Tensor]) -> dict[str, Tensor]:
        """Towers forward, network, InfoNCE."""
        batch, tokens, views = step
        with autocast(torch.device("cpu"), self.align.precision):
            queries = self.encoder.encode_text(torch.from_numpy(self.queries[batch.queries]))
            text, image = self.encoder.encode_text(tokens), self.encoder.encode_image(views)
        there = torch.ones(len(text), dtype=torch.bool)
        fused = self.fusing.module(text, image, there, there)
        return {"loss": query_to_product(queries, fused, 1 / self.fusing.params.temperature, batch)}

    def ids(self, step: tuple[PairBatch, Tensor, Tensor]) -> dict[str, list[str]]:
        """The queries and products of a step."""
        return self.fusing.data.sampler.ids(step[0], self.fusing.data.items.product_ids)

    def after_step(self) -> None:
        """Nothing: the temperature is fixed."""

    def validate(self) -> dict[str, float]:
        """Nothing: only speed is measured."""
        return {}


def seconds_per_step(loop: Loop[Any], steps: int) -> float:
    """Median seconds of a step, after one that warms up."""
    times = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        loop._one_step()
        loop.step += 1
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def measure(name: Any, runs: int, steps: int) -> list[dict[str, Any]]:
    """Rows of the benchmark."""
    fusion, params = load_params("fusion", FusionParams), load_params("fuse", FuseParams)
    align = load_params("align_image", AlignImageParams)
    torch.set_num_threads(params.threads)
    keep_freed_memory()
    towers = Towers(load_towers(TOWERS), fusion.text, params.encode, None, params.threads)
    start = time.perf_counter()
    data = make_fuse_data(CATALOGUE, towers, fusion, params)
    filling = time.perf_counter() - start
    ours: list[float] = []
    peer: list[float] = []
    for _ in range(runs):
        fusing = Fusing(create_network(name, towers.dimension, params.network, params.seed), data, params)
        batch = data.sampler.order.batch_size
        ours.append(batch / seconds_per_step(fusing.loop(), 10 * steps))
        through = ThroughTowers(fusing, fusion, align)
        loop = Loop(through, fusing.plan)
        peer.append(batch / seconds_per_step(loop, steps))
    a, b = statistics.median(ours), statistics.median(peer)
    spread = (max(ours) - min(ours)) / a
    row = {"case": name, "ours": round(a, 1), "peer": round(b, 1), "peer_name": "through the towers"}
    row |= {"unit": "pairs/s", "ratio": round(a / b, 1), "runs": runs, "spread": round(spread, 3)}
    pairs = params.optimisation.steps * data.sampler.order.batch_size
    once, always = filling + pairs / a, pairs / b
    whole = {"case": f"{name}, vectors and training", "ours": round(pairs / once, 1), "peer": round(b, 1)}
    whole |= {"peer_name": "through the towers", "unit": "pairs/s", "ratio": round(always / once, 1)}
    return [row, whole | {"runs": 1, "spread": 0.0}]


def main() -> None:
    """Measure, print a table, write ``benchmarks/results/fusion.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="moe_bilinear")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--quick", action="store_true", help="a smoke run; writes nothing")
    arguments = parser.parse_args()
    np.seterr(all="raise", under="ignore")
    runs, steps = (1, 1) if arguments.quick else (arguments.runs, arguments.steps)
    rows = measure(arguments.network, runs, steps)
    for row in rows:
        print("{case:36s} ours {ours:10.1f}  {peer_name} {peer:8.1f} {unit}  ratio {ratio:.1f}".format(**row))
    if not arguments.quick:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

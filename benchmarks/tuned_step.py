"""One training step of the default image tower, tuned whole, and what might make it cheaper.

Forward and backward of 64 pictures in float32 without a loss of any meaning: seconds, medians of ``--runs``
alternating runs. ``--compile`` adds ``torch.compile``, which needs a C++ compiler and minutes.
Run: ``python -m benchmarks.tuned_step [--runs 3] [--compile]``
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from components.encoder.model.params import EncoderParams, LastBlocks
from components.encoder.model.towers.start import starting_model
from components.encoder.model.towers.tuned import freeze
from components.stage.resources.memory import keep_freed_memory


def without_batch_norm(tower: nn.Module) -> nn.Module:
    """The tower with only the activations of its normalisations: the most that folding them could save."""
    for module in list(tower.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, getattr(child, "act", nn.Identity()))
    return tower


def seconds(tower: nn.Module, pictures: torch.Tensor) -> float:
    """Of a step."""
    tower.zero_grad(set_to_none=True)
    start = time.perf_counter()
    tower(pictures).square().mean().backward()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(2)
    params = EncoderParams()
    encoder = starting_model(params).encoder
    freeze(encoder, LastBlocks(last_blocks=3), False)
    last_blocks = copy.deepcopy(encoder.towers.visual).train()
    freeze(encoder, True, False)
    visual = encoder.towers.visual
    rows = torch.rand(64, 3, params.image_px, params.image_px)
    pictures = rows.contiguous(memory_format=torch.channels_last)

    towers = [copy.deepcopy(visual).train() for _ in range(4 + arguments.compile)]
    cases: dict[str, Callable[[], float]] = {}
    for name, network, batch in (
        ("whole tower, channels last (what training does)", towers[0], pictures),
        ("planes in memory", towers[1].to(memory_format=torch.contiguous_format), rows),
        ("statistics of batch normalisation fixed", towers[2].eval(), pictures),
        ("no batch normalisation at all (a bound)", without_batch_norm(towers[3]), pictures),
        ("last three blocks tuned alone", last_blocks, pictures),
        *([("torch.compile", torch.compile(towers[4]), pictures)] if arguments.compile else []),
    ):
        cases[name] = partial(seconds, network, batch)
        print(f"first step {cases[name]():6.2f} s  {name}", flush=True)
    rounds = [{name: step() for name, step in cases.items()} for _ in range(arguments.runs)]
    for name in cases:
        print(f"{statistics.median(measured[name] for measured in rounds):6.2f} s  {name}")


if __name__ == "__main__":
    main()

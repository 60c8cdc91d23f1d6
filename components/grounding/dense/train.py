"""Training of the dense head on scenes: the frozen trunk reads each of them once, the head many times."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from components.grounding.dense.head import DenseHead, Maps
from components.grounding.dense.scenes import IGNORED, Composer
from components.grounding.params import HeadTraining
from components.stage.progress import Progress
from components.stage.resources.accelerator import autocast
from components.stage.resources.placement import leave_place

AT_ONCE = 32  # scenes that the trunk reads in one batch
SCALE_SCENES = 256  # scenes that set the mean and spread of the features
LAST_STEPS = 50  # over which the reported loss is averaged


class ScenePool(NamedTuple):
    """Maps ``[N, C, h, w]`` (half precision), finest first, and cells ``[N, rows, columns]`` of scenes."""

    maps: list[Tensor]
    cells: Tensor


def scene_pool(maps: Maps, composer: Composer, count: int, threads: int) -> ScenePool:
    """Compose scenes 0 to ``count`` and read them once."""
    progress = Progress("reading scenes", count, "scenes")
    kept, cells = list[list[Tensor]](), list[Tensor]()
    with ThreadPoolExecutor(threads, initializer=leave_place) as pool:
        for start in range(0, count, AT_ONCE):
            scenes = list(pool.map(composer.scene, range(start, min(count, start + AT_ONCE))))
            pixels = torch.from_numpy(np.stack([s.pixels for s in scenes])).permute(0, 3, 1, 2)
            kept.append([m.half().cpu() for m in maps(pixels)])
            cells.append(torch.from_numpy(np.stack([s.cells for s in scenes])))
            progress.advance(len(scenes))
    return ScenePool([torch.cat(level) for level in zip(*kept, strict=True)], torch.cat(cells))


def train_head(
    pool: ScenePool, types: int, params: HeadTraining, device: torch.device, precision: str
) -> tuple[DenseHead, float]:
    """The head in evaluation mode, and its mean loss over the last steps.

    Args:
        types: how many product types compete. precision: ``bf16`` for autocast.
    """
    torch.manual_seed(params.seed)
    head = DenseHead([m.shape[1] for m in pool.maps], types, params.hidden, params.dropout)
    head.fit_scale([m[:SCALE_SCENES] for m in pool.maps])
    head = head.to(device, memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(head.parameters(), params.learning_rate, weight_decay=params.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, params.learning_rate, total_steps=params.steps, pct_start=0.1
    )
    progress, losses = Progress("training the dense head", params.steps, "steps"), list[float]()
    for rows in islice(_batches(len(pool.cells), params), params.steps):
        with autocast(device, precision):
            logits = head([_taken(m, rows, device) for m in pool.maps])
        loss = cell_loss(logits, pool.cells[rows].to(device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        progress.advance(1)
    return head.eval(), float(np.mean(losses[-LAST_STEPS:]))


def cell_loss(logits: Tensor, cells: Tensor) -> Tensor:
    """Cross-entropy of logits ``[B, types + 1, h, w]`` with the type of each cell, on the cells' grid."""
    logits = logits.float()
    if logits.shape[-2:] != cells.shape[-2:]:
        logits = F.interpolate(logits, size=cells.shape[-2:], mode="bilinear", align_corners=False)
    return F.cross_entropy(logits, cells, ignore_index=IGNORED)


def _taken(maps: Tensor, rows: Tensor, device: torch.device) -> Tensor:
    return maps[rows].to(device).contiguous(memory_format=torch.channels_last)


def _batches(count: int, params: HeadTraining) -> Iterator[Tensor]:
    """Rows of step after step, without end: every scene once before any comes again."""
    generator = torch.Generator().manual_seed(params.seed)
    size = min(params.batch_size, count)
    while True:
        yield from torch.randperm(count, generator=generator)[: count - count % size].split(size)

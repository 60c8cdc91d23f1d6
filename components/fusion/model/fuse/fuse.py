"""Training of a fusion network on the towers' cached vectors; the towers stay frozen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from components.encoder.model.features.vector_cache import Vectors
from components.fusion.model.align.align import batch_names
from components.fusion.model.align.contrast import query_to_product
from components.fusion.model.align.loop import Loop
from components.fusion.model.data.pairs import PairSampler
from components.fusion.model.networks.networks import FusionNetwork
from components.fusion.model.params import FuseParams, ModalityDropout
from components.fusion.model.towers.towers import Items
from components.stage.accelerator import device


@dataclass(frozen=True)
class FuseData:
    """The train split as vectors: queries ``[Q, D]``, and products with both towers' vectors."""

    queries: Vectors
    items: Items
    sampler: PairSampler


def dropped(
    has_text: Tensor, has_image: Tensor, params: ModalityDropout, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Flags ``[N]`` after modality dropout: a product loses its text, or its picture, never its last one."""
    draw = torch.from_numpy(rng.random(len(has_text))).to(has_text.device)
    both = has_text & has_image
    loses_text = both & (draw < params.text)
    loses_image = both & (draw >= 1 - params.image)
    return has_text & ~loses_text, has_image & ~loses_image


class Fusing:
    """The loss of a fusion network as a function of the step."""

    def __init__(self, network: FusionNetwork, data: FuseData, params: FuseParams) -> None:
        self.device = device()
        self.network, self.data, self.params = network.to(self.device), data, params
        items = data.items
        self._queries, self._text, self._image, self._has_text, self._has_image = (
            torch.from_numpy(values).to(self.device)
            for values in (data.queries, items.text, items.image, items.has_text, items.has_image)
        )

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """InfoNCE of frozen query vectors and fused item vectors."""
        rng = self.data.sampler.schedule.rng(step)
        batch = self.data.sampler.batch(step, rng)
        at = torch.from_numpy(batch.products).to(self.device)
        has_text, has_image = dropped(
            self._has_text[at], self._has_image[at], self.params.modality_dropout, rng
        )
        fused = self.network(
            self._text[at] * has_text[:, None], self._image[at] * has_image[:, None], has_text, has_image
        )
        queries = self._queries[torch.from_numpy(batch.queries).to(self.device)]
        contrast = [
            torch.from_numpy(values).to(self.device)
            for values in (batch.target, batch.excluded, batch.correction)
        ]
        return query_to_product(queries, fused, 1 / self.params.temperature, *contrast), {}

    def names(self, step: int) -> str:
        """The queries and products of a step."""
        sampler = self.data.sampler
        batch = sampler.batch(step, sampler.schedule.rng(step))
        return batch_names(self.data.items.product_ids, sampler.judgements.query_ids, batch)

    def loop(self, validate: Callable[[], dict[str, float]] | None, resume: Path | None) -> Loop:
        """The training loop."""
        return Loop(
            self.network, self.data.sampler.schedule, self.loss, self.names, validate=validate, resume=resume
        )


def fused_vectors(network: FusionNetwork, items: Items) -> Vectors:
    """Item vectors ``[N, D]``, on the network's device, in evaluation mode."""
    where = next(network.parameters()).device
    with torch.inference_mode():
        arrays = (items.text, items.image, items.has_text, items.has_image)
        out: Vectors = network(*(torch.from_numpy(a).to(where) for a in arrays)).cpu().numpy()
    return out


def gate_weights(network: FusionNetwork, items: Items) -> Vectors | None:
    """Gate weights ``[N, 3]`` of each product (text, image, cross); None without experts."""
    where = next(network.parameters()).device
    with torch.inference_mode():
        arrays = (items.text, items.image, items.has_text, items.has_image)
        gates = network.gates(*(torch.from_numpy(a).to(where) for a in arrays))
    return None if gates is None else gates.cpu().numpy()

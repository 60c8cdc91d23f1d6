"""Training of a fusion network on the towers' cached vectors; the towers stay frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from components.encoder.model.features.vector_cache import Vectors
from components.fusion.model.align.alignment import Validate
from components.fusion.model.data.pairs import PairBatch, PairSampler, plan_of, query_to_product
from components.fusion.model.networks.layers import FusionNetwork
from components.fusion.model.params import FuseParams, ModalityDropout
from components.fusion.model.towers.towers import Items
from components.stage.resources.accelerator import device
from components.training.loop import Loop


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


class FuseBatch(NamedTuple):
    """One step: its pairs, query vectors ``[B, D]``, and a network's inputs for its ``C`` products."""

    pairs: PairBatch
    queries: Tensor
    products: tuple[Tensor, Tensor, Tensor, Tensor]


class Fusing:
    """The objective of a fusion network.

    Args:
        network: trained in place. data: the train split. params: block ``fuse``.
        validate: its figures become curves and choose nothing; None for none.
    """

    def __init__(
        self, network: FusionNetwork, data: FuseData, params: FuseParams, validate: Validate | None = None
    ) -> None:
        self.device = device()
        self.module = network.to(self.device)
        self.data, self.params, self._validate = data, params, validate
        self.plan = plan_of(params.optimisation, data.sampler, params.seed)
        items = data.items
        self._queries, self._text, self._image, self._has_text, self._has_image = (
            torch.from_numpy(values).to(self.device)
            for values in (data.queries, items.text, items.image, items.has_text, items.has_image)
        )

    def loop(self, resume: Path | None = None) -> Loop[FuseBatch]:
        """The training loop; ``resume`` is the folder of its state."""
        return Loop(self, self.plan, resume)

    def batch(self, step: int) -> FuseBatch:
        """Pairs of one step; some products lose their text or their picture."""
        rng = self.data.sampler.order.rng(step)
        pairs = self.data.sampler.batch(step, rng)
        at = torch.from_numpy(pairs.products).to(self.device)
        has_text, has_image = dropped(
            self._has_text[at], self._has_image[at], self.params.modality_dropout, rng
        )
        text, image = self._text[at] * has_text[:, None], self._image[at] * has_image[:, None]
        queries = self._queries[torch.from_numpy(pairs.queries).to(self.device)]
        return FuseBatch(pairs, queries, (text, image, has_text, has_image))

    def losses(self, batch: FuseBatch) -> dict[str, Tensor]:
        """``loss``: InfoNCE of frozen query vectors and fused item vectors."""
        fused = self.module(*batch.products)
        return {"loss": query_to_product(batch.queries, fused, 1 / self.params.temperature, batch.pairs)}

    def ids(self, batch: FuseBatch) -> Mapping[str, Sequence[str]]:
        """The batch's queries and products."""
        return self.data.sampler.ids(batch.pairs, self.data.items.product_ids)

    def after_step(self) -> None:
        """Nothing: the temperature is fixed."""

    def validate(self) -> dict[str, float]:
        """nDCG@10 on the validation split."""
        return self._validate() if self._validate is not None else {}

"""What a fusion network makes of products: their vectors, and the gates between its experts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from components.encoder.model.features.query_types import QueryTypes
from components.encoder.model.features.vector_cache import Vectors
from components.fusion.model.networks.layers import FusionNetwork
from components.fusion.model.params import SourceName
from components.fusion.model.sources.bm25 import Bm25, Scores
from components.fusion.model.sources.evidence import UNSEEN, Flags, SourceScores
from components.fusion.model.towers.towers import Items


def unpictured(items: Items) -> Items:
    """The same products, and no picture of any."""
    return replace(items, image=np.zeros_like(items.image), has_image=np.zeros_like(items.has_image))


def _tensors(network: FusionNetwork, items: Items) -> list[Tensor]:
    """A network's inputs, on its device."""
    where = next(network.parameters()).device
    arrays = (items.text, items.image, items.has_text, items.has_image)
    return [torch.from_numpy(array).to(where) for array in arrays]


def fused_vectors(network: FusionNetwork, items: Items) -> Vectors:
    """Item vectors ``[N, D]`` of a network in evaluation mode."""
    with torch.inference_mode():
        out: Vectors = network(*_tensors(network, items)).cpu().numpy()
    return out


def gate_weights(network: FusionNetwork, items: Items) -> Vectors | None:
    """Gate weights ``[N, 3]`` of each product (text, image, cross); None without experts."""
    with torch.inference_mode():
        gates = network.gates(*_tensors(network, items))
    return None if gates is None else gates.cpu().numpy()


class QueryInputs(NamedTuple):
    """Queries, as the sources read them.

    Attributes:
        vectors: ``[Q, D]``. lexical: ``[Q, N]`` BM25 of the products. known: ``[Q]`` the share of a query's
            words that their texts know. types: ``[Q, N]`` log-probability of the products' types; None where
            nobody has asked for it.
    """

    vectors: Vectors
    lexical: Scores
    known: Scores
    types: Scores | None = None

    @classmethod
    def of(cls, vectors: Vectors, texts: Sequence[str], index: Bm25) -> QueryInputs:
        """Queries of ``texts`` asked of the products of an index."""
        return cls(vectors, index.scores(texts), index.known_share(texts))

    def typed(self, types: QueryTypes, log_probabilities: Scores, items: Items) -> QueryInputs:
        """The same with the types of ``items``."""
        return self._replace(types=type_scores(types, log_probabilities, items))


def type_scores(types: QueryTypes, log_probabilities: Scores, items: Items) -> Scores:
    """Log-probability ``[Q, N]`` of the products' types; a product without text says none."""
    told = zip(items.rows, items.has_text, strict=True)
    return types.of_types(log_probabilities, [row["product_type"] if there else None for row, there in told])


def evidence_of(asked: QueryInputs, items: Items, vectors: Vectors) -> SourceScores:
    """What every source says of products with the fused ``vectors [N, D]``."""
    queries, lexical, known, types = asked
    seen = items.has_text | items.has_image
    fused = queries @ vectors.T
    fused[:, ~seen] = UNSEEN
    text, image = queries @ items.text.T, queries @ items.image.T
    scores: dict[SourceName, Scores] = {"text": text, "image": image, "fused": fused, "lexical": lexical}
    sees: dict[SourceName, Flags] = {"text": items.has_text, "image": items.has_image, "fused": seen}
    sees["lexical"] = items.has_text
    if types is not None:
        scores["type"], sees["type"] = types, items.has_text
    return SourceScores(queries, known, scores, sees)

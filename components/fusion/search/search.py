"""Search by text over fused item vectors, from saved models and the catalogue alone.

Item vectors are made in one pass over the shards; with the cache of tower vectors a second search computes
nothing but the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.encoder.model.features.vector_cache import Vectors
from components.encoder.model.towers.files import load_encoder
from components.fusion.model.data.product_text import plain
from components.fusion.model.errors import FusionDataError
from components.fusion.model.fuse.item_vectors import fused_vectors
from components.fusion.model.networks.files import TrainedNetwork, load_network
from components.fusion.model.params import EncodeParams
from components.fusion.model.towers.towers import Items, Towers
from components.retrieval.hits import Hit


@dataclass(frozen=True)
class FusionModel:
    """The frozen towers and the network that stands on them."""

    towers: Towers
    network: TrainedNetwork

    def items(self, catalogue: Path) -> Iterator[tuple[Items, Vectors]]:
        """Products and their fused vectors ``[N, D]``, a row group at a time, in catalogue order."""
        for items in self.towers.stream(catalogue):
            yield items, fused_vectors(self.network.network, items)


def open_model(
    models: Path, network: str, encode: EncodeParams, cache: Path | None, threads: int
) -> FusionModel:
    """Load ``models/align_image`` and ``models/<network>``.

    Raises:
        ModelFileError, NetworkFileError: a folder is missing, damaged, or they do not belong together.
    """
    loaded = load_encoder(models / "align_image")
    found = load_network(models / network, loaded.model_sha256)
    return FusionModel(Towers(loaded, found.text, encode, cache, threads), found)


def _fulfils(row: Mapping[str, Any], where: Mapping[str, str]) -> bool:
    known = {pair["name"]: pair["value"] for pair in row["attributes"] or ()}
    known |= {"category": row["category"], "product_type": row["product_type"]}
    return all(known.get(name) == value for name, value in where.items())


def search(model: FusionModel, text: str, k: int, where: Mapping[str, str], catalogue: Path) -> list[Hit]:
    """The ``k`` products that answer ``text`` best; equal scores put the greater product id first.

    A product without picture, or without text, is ranked by what it has; one with neither is left out.

    Args:
        where: attributes, ``category`` or ``product_type`` that a product must have.

    Raises:
        FusionDataError: the text is empty, or ``k`` is not positive.
    """
    if not plain(text) or k < 1:
        raise FusionDataError("Say what to search for: a text that is not empty, and k of at least 1.")
    query = model.towers.queries([text])[0]
    best: list[tuple[float, str, Mapping[str, Any]]] = []
    for items, vectors in model.items(catalogue):
        scores = vectors @ query
        for row, score, seen in zip(items.rows, scores, items.has_text | items.has_image, strict=True):
            if seen and _fulfils(row, where):
                best.append((float(score), row["product_id"], row))
        best = sorted(best, key=lambda hit: hit[:2], reverse=True)[:k]
    return [
        Hit(rank, score, name, row["title"] or "", row["product_type"], _attributes(row))
        for rank, (score, name, row) in enumerate(best, start=1)
    ]


def _attributes(row: Mapping[str, Any]) -> dict[str, str]:
    return {pair["name"]: pair["value"] for pair in row["attributes"] or ()}

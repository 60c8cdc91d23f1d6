"""Search by text, from saved models and the catalogue alone: by the gate's mixture, or by fused vectors.

One pass over the texts makes the index of words, one over the shards the scores of all vectors; with the
cache of tower vectors a second search computes nothing but the network. Memory holds a few numbers per
product.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.catalog.format.parquet import row_groups
from components.catalog.format.records import TEXT_COLUMNS
from components.encoder.model.features.pixels import shard_paths
from components.encoder.model.features.vector_cache import Vectors
from components.fusion.model.data.product_text import field_text, plain
from components.fusion.model.errors import FusionDataError
from components.fusion.model.fuse.item_vectors import Asked, evidence_of, fused_vectors, unpictured
from components.fusion.model.networks.files import TrainedNetwork, load_network
from components.fusion.model.params import EncodeParams
from components.fusion.model.sources.bm25 import Bm25
from components.fusion.model.sources.evidence import Evidence
from components.fusion.model.towers.aligned import load_towers
from components.fusion.model.towers.towers import Items, Towers
from components.retrieval.hits import Hit
from components.retrieval.ranking import top_k

Row = Mapping[str, Any]
NAMES = {"text": "text", "image": "picture", "fused": "both in one vector", "lexical": "words (BM25)"}


@dataclass(frozen=True)
class FusionModel:
    """The frozen towers and the network that stands on them."""

    towers: Towers
    network: TrainedNetwork

    def items(self, catalogue: Path) -> Iterator[tuple[Items, Vectors]]:
        """Products and their fused vectors ``[N, D]``, a row group at a time, in catalogue order."""
        for items in self.towers.stream(catalogue):
            shown = items if self.network.pictures else unpictured(items)
            yield shown, fused_vectors(self.network.network, shown)


@dataclass(frozen=True)
class Found:
    """The hits of a search, and a sentence that says by what they are ranked."""

    hits: list[Hit]
    ranked_by: str


def open_model(
    models: Path, network: str, encode: EncodeParams, cache: Path | None, threads: int
) -> FusionModel:
    """Load ``models/align_image`` and ``models/<network>``.

    Raises:
        ModelFileError, NetworkFileError: a folder is missing, damaged, or they do not belong together.
    """
    loaded = load_towers(models / "align_image")
    found = load_network(models / network, loaded.model_sha256)
    return FusionModel(Towers(loaded, found.text, encode, cache, threads), found)


def _rows(catalogue: Path) -> Iterator[Row]:
    """The catalogue's products without pictures, in order."""
    for shard in shard_paths(catalogue):
        for table in row_groups(shard, TEXT_COLUMNS):
            yield from table.to_pylist()


def _fulfils(row: Row, where: Mapping[str, str]) -> bool:
    known = {pair["name"]: pair["value"] for pair in row["attributes"] or ()}
    known |= {"category": row["category"], "product_type": row["product_type"]}
    return all(known.get(name) == value for name, value in where.items())


def gather(model: FusionModel, text: str, catalogue: Path) -> Evidence:
    """What every source says of all products, for one query."""
    fields = model.network.text.fields
    texts = (" ".join(field_text(row, field) for field in fields) for row in _rows(catalogue))
    asked = Asked.of(model.towers.queries([text]), [text], Bm25(list(texts), model.network.bm25))
    parts, start = [], 0
    for items, vectors in model.items(catalogue):
        end = start + len(items.rows)
        parts.append(evidence_of(asked._replace(lexical=asked.lexical[:, start:end]), items, vectors))
        start = end
    if not parts:
        raise FusionDataError(f"{catalogue} has no product to search.")
    return Evidence.joined(parts)


def search(model: FusionModel, text: str, k: int, where: Mapping[str, str], catalogue: Path) -> Found:
    """The ``k`` products that answer ``text`` best; equal scores put the greater product id first.

    A product without picture, or without text, is ranked by what it has; one with neither is left out.

    Args:
        where: attributes, ``category`` or ``product_type`` that a product must have.

    Raises:
        FusionDataError: the text is empty, ``k`` is not positive, or there is no product.
    """
    if not plain(text) or k < 1:
        raise FusionDataError("Say what to search for: a text that is not empty, and k of at least 1.")
    every, gate = gather(model, text, catalogue), model.network.gate
    allowed = np.array([_fulfils(row, where) for row in _rows(catalogue)]) & every.seen
    places = np.flatnonzero(allowed)
    if not len(places):
        return Found([], "")
    evidence = every.of(places)
    scores = evidence.scores["fused"] if gate is None else gate.rank(evidence)
    best = top_k(scores, k)[0]
    shares = "" if gate is None else _shares(model, evidence)
    by = f"{model.network.name}'s mixture: {shares}" if gate else f"{model.network.name}'s vectors alone"
    return Found(_hits(catalogue, places[best], scores[0, best]), f"Ranked by {by}.")


def _shares(model: FusionModel, evidence: Evidence) -> str:
    gate = model.network.gate
    assert gate is not None
    shares = zip(gate.sources, gate.source_weights(evidence)[0], strict=True)
    return ", ".join(f"{NAMES[source]} {share:.0%}" for source, share in shares)


def _hits(catalogue: Path, places: npt.NDArray[np.int64], scores: npt.NDArray[np.float32]) -> list[Hit]:
    wanted = set(places.tolist())
    rows = {at: row for at, row in enumerate(_rows(catalogue)) if at in wanted}
    return [
        Hit(rank, float(score), row["product_id"], row["title"] or "", row["product_type"], _attributes(row))
        for rank, (row, score) in enumerate(zip((rows[at] for at in places), scores, strict=True), start=1)
    ]


def _attributes(row: Row) -> dict[str, str]:
    return {pair["name"]: pair["value"] for pair in row["attributes"] or ()}

"""Search by text, from saved models and the catalogue alone: by the gate's mixture, or by fused vectors.

One pass over the texts makes the index of words; the products' vectors are kept in the cache, memory-mapped,
so a second search computes nothing but the query and the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.encoder.search.conditions import Condition
from components.fusion.model.data.product_text import plain
from components.fusion.model.errors import FusionDataError
from components.fusion.model.fuse.item_vectors import QueryInputs, evidence_of, fused_vectors
from components.fusion.model.networks.files import TrainedNetwork, load_network
from components.fusion.model.params import EncodeParams
from components.fusion.model.sources.bm25 import Bm25, Scores
from components.fusion.model.sources.evidence import SourceScores
from components.fusion.model.towers.aligned import load_towers
from components.fusion.model.towers.towers import Flags, Items, Towers
from components.retrieval.ranking import top_k
from components.search.kept import product_vectors
from components.search.products import (
    Likeliest,
    SearchResult,
    ask_types,
    fulfilling,
    hits_of,
    unknown_words,
    word_index,
)

AT_ONCE = 4096  # products that a network reads
NAMES = {
    "text": "text",
    "image": "picture",
    "fused": "both in one vector",
    "lexical": "words (BM25)",
    "type": "the type",
}


@dataclass(frozen=True)
class FusionModel:
    """The frozen towers and the network that stands on them."""

    towers: Towers
    network: TrainedNetwork

    def products(self, catalogue: Path) -> Items:
        """Vectors of all products, in catalogue order."""
        return self.network.shown(product_vectors(self.towers, catalogue))


def open_model(
    models: Path, network: str, encode: EncodeParams, cache: Path | None, threads: int
) -> FusionModel:
    """Load ``models/align_image`` and ``models/<network>``.

    Raises:
        ModelFileError, FusionDataError: a folder is missing, damaged, or they do not belong together.
    """
    loaded = load_towers(models / "align_image")
    found = load_network(models / network, loaded.model_sha256)
    return FusionModel(Towers(loaded, found.text, encode, cache, threads), found)


def gather(
    model: FusionModel, text: str, catalogue: Path, index: Bm25
) -> tuple[SourceScores, Likeliest | None]:
    """What every source says of all products, for one query, and the likeliest type of it."""
    asked = QueryInputs.of(model.towers.queries([text]), [text], index)
    items, likeliest = model.products(catalogue), None
    if (types := model.network.types) is not None:
        said = types.log_probabilities([text], model.towers.features([text]))
        asked, likeliest = ask_types(asked, types, said, items, catalogue)
    starts = range(0, len(items.has_text), AT_ONCE)
    parts = [fused_vectors(model.network.network, _part(items, start)) for start in starts]
    return evidence_of(asked, items, np.concatenate(parts)), likeliest


def _part(items: Items, start: int) -> Items:
    """Some products' own copies: a network reads no mapped file."""
    at = slice(start, start + AT_ONCE)
    text, image = np.array(items.text[at]), np.array(items.image[at])
    return Items([], text, image, np.array(items.has_text[at]), np.array(items.has_image[at]))


def search(
    model: FusionModel, text: str, k: int, where: Sequence[Condition], catalogue: Path
) -> SearchResult:
    """The ``k`` products that answer ``text`` best; equal scores put the greater product id first.

    A product without picture, or without text, is ranked by what it has; one with neither is left out.

    Args:
        where: what a product must fulfil.

    Raises:
        FusionDataError: the text is empty, ``k`` is not positive, or there is no product.
        FilterError: ``where`` asks for what no product has.
    """
    if not plain(text) or k < 1:
        raise FusionDataError("Say what to search for: a text that is not empty, and k of at least 1.")
    network, gate = model.network, model.network.gate
    index = word_index(catalogue, network.text.fields, network.bm25)
    every, likeliest = gather(model, text, catalogue, index)
    places = np.flatnonzero(fulfilling(catalogue, where) & every.seen)
    near, unknown = nearest(every.scores["text"], every.sees["text"]), unknown_words(index, text)
    if not len(places):
        return SearchResult([], "", near, unknown, likeliest)
    evidence = every.of(places)
    if gate is None:
        scores, by = evidence.scores["fused"], "vectors alone"
    else:
        shares = zip(gate.sources, gate.source_weights(evidence)[0], strict=True)
        told = ", ".join(f"{NAMES[source]} {share:.0%}" for source, share in shares)
        scores, by = gate.rank(evidence), f"mixture: {told}"
    best = top_k(scores, k)[0]
    hits = hits_of(catalogue, places[best], scores[0, best])
    return SearchResult(hits, f"Ranked by {network.name}'s {by}.", near, unknown, likeliest)


def nearest(text: Scores, seen: Flags) -> float | None:
    """The best cosine ``[1, N]`` of a query with the texts that are there."""
    return float(text[0, seen].max()) if seen.any() else None

"""How each row of the table scores products: without any training, or by a network's item vectors."""

from __future__ import annotations

from typing import NamedTuple

from components.encoder.model.features.query_types import QueryTypes
from components.fusion.evaluate.held_out import HeldOut, Settings
from components.fusion.evaluate.table import Scorer
from components.fusion.model.baselines import (
    average,
    best_text_share,
    best_type_weight,
    best_weights,
    cosine,
    hybrid_scores,
    hybrid_sources,
    lexical_index,
    unseen_last,
    weighted,
    weighted_sum,
    with_types,
)
from components.fusion.model.fuse.item_vectors import Asked, evidence_of, fused_vectors, unpictured
from components.fusion.model.networks.files import TrainedNetwork
from components.fusion.model.sources.bm25 import Scores
from components.fusion.model.sources.evidence import Evidence
from components.fusion.model.towers.towers import Items


class Tuned(NamedTuple):
    """What the rows without training owe to the validation split."""

    text_share: float  # of ``fixed_weights``
    hybrid_image: tuple[float, ...]  # weights of BM25, text and picture
    type_weight: float  # beside them, in hybrid_image_type


class PlainScorer:
    """The rows that train nothing, on one split's queries.

    BM25 of the same products is asked for by several rows: it is computed once.
    """

    def __init__(self, held_out: HeldOut, settings: Settings) -> None:
        self.texts, self.queries = held_out.question.task.texts, held_out.queries
        self._fusion, self._features = settings.fusion, held_out.features
        self._asked: list[tuple[Items, Asked]] = []

    def asked(self, items: Items) -> Asked:
        """The queries, as they are asked of these products."""
        for known, asked in self._asked:
            if known is items:
                return asked
        index = lexical_index(items, self._fusion.text.fields, self._fusion.bm25)
        self._asked.append((items, Asked.of(self.queries, self.texts, index)))
        return self._asked[-1][1]

    def typed(self, types: QueryTypes, items: Items) -> Asked:
        """The same, with the types that the queries ask for."""
        return self.asked(items).typed(types, types.log_probabilities(self.texts, self._features), items)

    def bm25(self, items: Items) -> Scores:
        """BM25 of product texts without markers."""
        return self.asked(items).lexical

    def text_only(self, items: Items) -> Scores:
        """The products' text vectors."""
        return cosine(self.queries, items.text, items.has_text)

    def image_only(self, items: Items) -> Scores:
        """The products' picture vectors."""
        return cosine(self.queries, items.image, items.has_image)

    def fixed_weights(self, items: Items, text_share: float) -> Scores:
        """One proportion of text and picture for all products."""
        return cosine(self.queries, weighted(items, text_share), items.has_text | items.has_image)

    def hybrid(self, items: Items) -> Scores:
        """BM25 and text vectors by reciprocal rank."""
        return hybrid_scores(self.asked(items), items)

    def standardised(self, items: Items) -> list[Scores]:
        """BM25, text and picture scores on one scale."""
        return hybrid_sources(self.asked(items), items)

    def hybrid_image(self, items: Items, weights: tuple[float, ...]) -> Scores:
        """The weighted sum of what ``standardised`` gives."""
        return unseen_last(weighted_sum(self.standardised(items), weights), items.has_text | items.has_image)

    def hybrid_image_type(self, items: Items, types: QueryTypes, found: Tuned) -> Scores:
        """The same sum, and the log-probability of the product's type."""
        told = self.typed(types, items).types
        assert told is not None
        total = with_types(
            weighted_sum(self.standardised(items), found.hybrid_image), told, found.type_weight
        )
        return unseen_last(total, items.has_text | items.has_image)


def tuned(validation: HeldOut, types: QueryTypes, settings: Settings) -> Tuned:
    """Shares and weights with the highest nDCG@10 on the validation split."""
    params, qrels, items = settings.params, validation.question.task.qrels, validation.items
    share = best_text_share(validation.queries, items, qrels, params.text_shares)
    plain = PlainScorer(validation, settings)
    sources, told = plain.standardised(items), plain.typed(types, items).types
    assert told is not None
    weights = best_weights(sources, qrels, params.weight_steps)
    return Tuned(share, weights, best_type_weight(weighted_sum(sources, weights), told, qrels))


def plain_scorers(plain: PlainScorer, types: QueryTypes, found: Tuned) -> dict[str, Scorer]:
    """The rows that train nothing, by name."""
    return {
        "bm25": plain.bm25,
        "hybrid": plain.hybrid,
        "hybrid_image": lambda items: plain.hybrid_image(items, found.hybrid_image),
        "hybrid_image_type": lambda items: plain.hybrid_image_type(items, types, found),
        "text_only": plain.text_only,
        "image_only": plain.image_only,
        "average": lambda items: cosine(plain.queries, average(items), items.has_text | items.has_image),
        "fixed_weights": lambda items: plain.fixed_weights(items, found.text_share),
    }


def vectors_scorer(held_out: HeldOut, trained: TrainedNetwork) -> Scorer:
    """Scores of a fusion network's item vectors alone."""
    return lambda items: cosine(
        held_out.queries,
        fused_vectors(trained.network, _shown(items, trained)),
        items.has_text | items.has_image,
    )


def network_scorer(plain: PlainScorer, held_out: HeldOut, trained: TrainedNetwork) -> Scorer:
    """Scores of a network with the gate above it; of its vectors where it has none."""
    gate = trained.gate
    if gate is None:
        return vectors_scorer(held_out, trained)
    return lambda items: gate.rank(network_evidence(plain, trained, items))


def network_evidence(plain: PlainScorer, trained: TrainedNetwork, items: Items) -> Evidence:
    """What all sources say of products, that of the network among them."""
    shown = _shown(items, trained)
    asked = plain.asked(items) if trained.types is None else plain.typed(trained.types, items)
    return evidence_of(asked, shown, fused_vectors(trained.network, shown))


def _shown(items: Items, trained: TrainedNetwork) -> Items:
    return items if trained.pictures else unpictured(items)

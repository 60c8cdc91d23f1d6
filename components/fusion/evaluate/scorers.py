"""How each row of the table scores products: without any training, or by a network's item vectors."""

from __future__ import annotations

from typing import NamedTuple

from components.fusion.evaluate.held_out import HeldOut, Settings
from components.fusion.evaluate.table import Scorer
from components.fusion.model.baselines import (
    average,
    best_text_share,
    best_weights,
    cosine,
    hybrid_scores,
    hybrid_sources,
    lexical_index,
    unseen_last,
    weighted,
    weighted_sum,
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


class PlainScorer:
    """The rows that train nothing, on one split's queries.

    BM25 of the same products is asked for by several rows: it is computed once.
    """

    def __init__(self, held_out: HeldOut, settings: Settings) -> None:
        self.texts, self.queries = held_out.question.task.texts, held_out.queries
        self._fusion = settings.fusion
        self._asked: list[tuple[Items, Asked]] = []

    def asked(self, items: Items) -> Asked:
        """The queries, as they are asked of these products."""
        for known, asked in self._asked:
            if known is items:
                return asked
        index = lexical_index(items, self._fusion.text.fields, self._fusion.bm25)
        self._asked.append((items, Asked.of(self.queries, self.texts, index)))
        return self._asked[-1][1]

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


def tuned(validation: HeldOut, settings: Settings) -> Tuned:
    """Shares and weights with the highest nDCG@10 on the validation split."""
    params, qrels, items = settings.params, validation.question.task.qrels, validation.items
    share = best_text_share(validation.queries, items, qrels, params.text_shares)
    sources = PlainScorer(validation, settings).standardised(items)
    return Tuned(share, best_weights(sources, qrels, params.weight_steps))


def plain_scorers(plain: PlainScorer, found: Tuned) -> dict[str, Scorer]:
    """The rows that train nothing, by name."""
    return {
        "bm25": plain.bm25,
        "hybrid": plain.hybrid,
        "hybrid_image": lambda items: plain.hybrid_image(items, found.hybrid_image),
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
    return evidence_of(plain.asked(items), shown, fused_vectors(trained.network, shown))


def _shown(items: Items, trained: TrainedNetwork) -> Items:
    return items if trained.pictures else unpictured(items)

"""How each row of the table scores products: without any training, or by a network's item vectors."""

from __future__ import annotations

from typing import NamedTuple

from components.encoder.model.features.query_types import QueryTypes
from components.encoder.model.features.vector_cache import Vectors
from components.fusion.evaluate.held_out import HeldOutQueries
from components.fusion.evaluate.params import FusionEvaluationParams
from components.fusion.evaluate.table import Scorer
from components.fusion.model.baselines import (
    Questions,
    best_text_share,
    best_type_weight,
    best_weights,
    cosine,
    hybrid_scores,
    hybrid_sources,
    unseen_last,
    weighted,
    weighted_sum,
    with_types,
)
from components.fusion.model.fuse.item_vectors import fused_vectors
from components.fusion.model.networks.files import TrainedNetwork
from components.fusion.model.sources.bm25 import Scores
from components.fusion.model.towers.towers import Flags, Items


class TunedBaselines(NamedTuple):
    """What the rows without training owe to the validation split."""

    text_share: float  # of ``fixed_weights``
    hybrid_image: tuple[float, ...]  # weights of BM25, text and picture
    type_weight: float  # beside them, in hybrid_image_type


def tuned(validation: HeldOutQueries, types: QueryTypes, params: FusionEvaluationParams) -> TunedBaselines:
    """Shares and weights with the highest nDCG@10 on the validation split."""
    qrels, items = validation.question.task.qrels, validation.items
    questions = validation.questions
    share = best_text_share(questions.vectors, items, qrels, params.text_shares)
    sources, told = hybrid_sources(questions.asked(items), items), questions.types(types, items)
    weights = best_weights(sources, qrels, params.weight_steps)
    return TunedBaselines(share, weights, best_type_weight(weighted_sum(sources, weights), told, qrels))


def plain_scorers(questions: Questions, types: QueryTypes, found: TunedBaselines) -> dict[str, Scorer]:
    """The rows that train nothing, by name."""
    queries = questions.vectors

    def _seen(items: Items) -> Flags:
        return items.has_text | items.has_image

    def _weighted(text_share: float) -> Scorer:
        return lambda items: cosine(queries, weighted(items, text_share), _seen(items))

    def _sum(items: Items) -> Scores:
        return weighted_sum(hybrid_sources(questions.asked(items), items), found.hybrid_image)

    def _typed_sum(items: Items) -> Scores:
        return with_types(_sum(items), questions.types(types, items), found.type_weight)

    return {
        "bm25": lambda items: questions.asked(items).lexical,
        "hybrid": lambda items: hybrid_scores(questions.asked(items), items),
        "hybrid_image": lambda items: unseen_last(_sum(items), _seen(items)),
        "hybrid_image_type": lambda items: unseen_last(_typed_sum(items), _seen(items)),
        "text_only": text_only(queries),
        "image_only": lambda items: cosine(queries, items.image, items.has_image),
        "average": _weighted(0.5),
        "fixed_weights": _weighted(found.text_share),
    }


def text_only(queries: Vectors) -> Scorer:
    """The products' text vectors alone."""
    return lambda items: cosine(queries, items.text, items.has_text)


def vectors_scorer(queries: Vectors, trained: TrainedNetwork) -> Scorer:
    """Scores of a fusion network's item vectors alone."""

    def _scores(items: Items) -> Scores:
        vectors = fused_vectors(trained.network, trained.shown(items))
        return cosine(queries, vectors, items.has_text | items.has_image)

    return _scores


def network_scorer(questions: Questions, trained: TrainedNetwork) -> Scorer:
    """Scores of a network with the gate above it; of its vectors where it has none."""
    gate = trained.gate
    if gate is None:
        return vectors_scorer(questions.vectors, trained)

    def _scores(items: Items) -> Scores:
        shown = trained.shown(items)
        fused = fused_vectors(trained.network, shown)
        return gate.rank(questions.evidence(items, shown, fused, trained.types))

    return _scores

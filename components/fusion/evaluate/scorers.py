"""How each row of the table scores products: without any training, or by a network's item vectors."""

from __future__ import annotations

from components.fusion.evaluate.conditions import without_pictures
from components.fusion.evaluate.held_out import HeldOut, Settings
from components.fusion.evaluate.table import Scorer
from components.fusion.model.baselines import average, bm25_scores, cosine, weighted
from components.fusion.model.fuse.item_vectors import fused_vectors
from components.fusion.model.networks.layers import FusionNetwork


def network_scorer(held_out: HeldOut, network: FusionNetwork) -> Scorer:
    """Scores of a fusion network's item vectors."""
    return lambda items: cosine(
        held_out.queries, fused_vectors(network, items), items.has_text | items.has_image
    )


def text_scorer(held_out: HeldOut) -> Scorer:
    """Scores of the products' text vectors alone."""
    return lambda items: cosine(held_out.queries, items.text, items.has_text)


def without_sight(scorer: Scorer) -> Scorer:
    """The same network shown no picture: how much of its gain over text alone is not the picture's."""
    return lambda items: scorer(without_pictures(items, share=1.0, seed=0))


def plain_scorers(held_out: HeldOut, text_share: float, settings: Settings) -> dict[str, Scorer]:
    """The rows that train nothing.

    Args:
        text_share: of the row ``fixed_weights``.
    """
    queries, texts = held_out.queries, held_out.question.task.texts
    fields, bm25 = settings.fusion.text.fields, settings.params.bm25
    return {
        "bm25": lambda items: bm25_scores(texts, items, fields, bm25),
        "text_only": text_scorer(held_out),
        "image_only": lambda items: cosine(queries, items.image, items.has_image),
        "average": lambda items: cosine(queries, average(items), items.has_text | items.has_image),
        "fixed_weights": lambda items: cosine(
            queries, weighted(items, text_share), items.has_text | items.has_image
        ),
    }

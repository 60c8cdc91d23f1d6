"""What a fusion network is trained on: the towers' vectors of the train split, and pairs of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from components.encoder.model.features.held_out import query_task
from components.fusion.model.align.alignment import Validate
from components.fusion.model.baselines import Questions, mean_ndcg, weighted
from components.fusion.model.data.judgements import read_judgements
from components.fusion.model.data.mining import Pool, mine, mining_pool
from components.fusion.model.data.pairs import PairSampler, group_places, topic_numbers
from components.fusion.model.fuse.fusing import FuseData
from components.fusion.model.fuse.item_vectors import fused_vectors, unpictured
from components.fusion.model.networks.layers import FusionNetwork
from components.fusion.model.params import FuseParams, FusionParams
from components.fusion.model.towers.towers import Items, Towers, joined
from components.training.batches import BatchOrder


def make_fuse_data(catalogue: Path, towers: Towers, fusion: FusionParams, params: FuseParams) -> FuseData:
    """Vectors of the train split, and pairs with negatives mined by the average of both vectors.

    Raises:
        FusionDataError: no train product, or no train query with an answer.
    """
    items = joined(towers.stream(catalogue, "train"))
    items = items if params.pictures else unpictured(items)
    judgements = read_judgements(catalogue, "train", items.product_ids, fusion.pairs.weights)
    queries = towers.queries(judgements.texts)
    groups = group_places(items.rows)
    places = mining_pool(len(groups), fusion.pairs.mining_pool, params.seed)
    mined = mine(queries, Pool(places, weighted(items, 0.5)[places]), judgements, groups, fusion.pairs)
    topics = topic_numbers(items.rows, judgements)
    order = BatchOrder(topics, params.optimisation.batch_size, fusion.pairs.topic_size, params.seed)
    return FuseData(queries, items, PairSampler(judgements, groups, mined, fusion.pairs, order))


@dataclass(frozen=True)
class HeldOutSplit:
    """The validation products as the network may see them, and the queries asked of them."""

    items: Items
    questions: Questions

    def check(self, network: FusionNetwork) -> Validate:
        """nDCG@10 by the network's vectors as they are at this moment."""

        def _validate() -> dict[str, float]:
            scores = self.questions.vectors @ fused_vectors(network, self.items).T
            return {"validation_ndcg_at_10": mean_ndcg(scores, self.questions.task.qrels)}

        return _validate


def read_validation(
    catalogue: Path, towers: Towers, fusion: FusionParams, pictures: bool
) -> HeldOutSplit | None:
    """The validation split; None where it holds fewer than two products, or no answered query."""
    parts = list(towers.stream(catalogue, "validation"))
    if not parts:
        return None
    items = joined(parts)
    task = query_task(catalogue, "validation", items.product_ids, 1)
    if len(items.rows) < 2 or not task.texts:
        return None
    return HeldOutSplit(items if pictures else unpictured(items), Questions(task, towers, fusion))

"""What a fusion network is trained on: the towers' vectors of the train split, and pairs of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from components.encoder.model.features.held_out import query_task
from components.fusion.model.align.alignment import Validate
from components.fusion.model.baselines import average
from components.fusion.model.data.judgements import read_judgements
from components.fusion.model.data.mining import Pool, mine, mining_pool
from components.fusion.model.data.pairs import PairSampler, group_places, topic_numbers
from components.fusion.model.fuse.fusing import FuseData
from components.fusion.model.fuse.item_vectors import fused_vectors
from components.fusion.model.networks.layers import FusionNetwork
from components.fusion.model.params import FuseParams, FusionParams
from components.fusion.model.towers.towers import Towers, joined
from components.retrieval.metrics import judge, ndcg_at
from components.retrieval.ranking import top_k
from components.training.batches import BatchOrder


def make_fuse_data(catalogue: Path, towers: Towers, fusion: FusionParams, params: FuseParams) -> FuseData:
    """Vectors of the train split, and pairs with negatives mined by the average of both vectors.

    Raises:
        FusionDataError: no train product, or no train query with an answer.
    """
    items = joined(towers.stream(catalogue, "train"))
    judgements = read_judgements(catalogue, "train", items.product_ids, fusion.pairs.weights)
    queries = towers.queries(judgements.texts)
    groups = group_places(items.rows)
    places = mining_pool(len(groups), fusion.pairs.mining_pool, params.seed)
    mined = mine(queries, Pool(places, average(items)[places]), judgements, groups, fusion.pairs)
    topics = topic_numbers(items.rows, judgements)
    order = BatchOrder(topics, params.optimisation.batch_size, fusion.pairs.topic_size, params.seed)
    return FuseData(queries, items, PairSampler(judgements, groups, mined, fusion.pairs, order))


def make_validation(catalogue: Path, towers: Towers, network: FusionNetwork) -> Validate | None:
    """nDCG@10 of the validation queries among the validation products; None where there is no such task."""
    parts = list(towers.stream(catalogue, "validation"))
    if not parts:
        return None
    items = joined(parts)
    task = query_task(catalogue, "validation", items.product_ids, 1)
    if len(items.rows) < 2 or not task.texts:
        return None
    queries = towers.queries(task.texts)

    def _validate() -> dict[str, float]:
        scores = queries @ fused_vectors(network, items).T
        ranking = top_k(scores, min(100, scores.shape[1]))
        return {"validation_ndcg_at_10": float(np.nanmean(ndcg_at(judge(ranking, task.qrels), 10)))}

    return _validate

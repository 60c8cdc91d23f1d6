"""The stage ``fuse``: cached vectors of the towers, a trained network, its curves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from components.encoder.model.features.held_out import query_task
from components.fusion.model.align.stage import record_history
from components.fusion.model.align.training_set import group_places, topic_numbers
from components.fusion.model.baselines import average
from components.fusion.model.data.judgements import read_judgements
from components.fusion.model.data.mining import mine, mining_pool
from components.fusion.model.data.pairs import PairSampler, Schedule
from components.fusion.model.fuse.fuse import FuseData, Fusing, fused_vectors
from components.fusion.model.networks.files import save_network
from components.fusion.model.networks.networks import FusionNetwork, create_network
from components.fusion.model.params import FuseParams, FusionParams, NetworkName
from components.fusion.model.towers.files import load_towers
from components.fusion.model.towers.towers import Towers, joined
from components.retrieval.metrics import judge, ndcg_at
from components.retrieval.ranking import top_k
from components.stage.publish import published, write_text
from components.stage.record import Record
from components.stage.resume import code_sha256, resume_folder, sha256_folder
from components.training.curves import curves_csv


def make_fuse_data(catalogue: Path, towers: Towers, fusion: FusionParams, params: FuseParams) -> FuseData:
    """Vectors of the train split, and pairs with negatives mined by the average of both vectors.

    Raises:
        FusionDataError: no train product, or no train query with an answer.
    """
    items = joined(towers.stream(catalogue, "train"))
    judgements = read_judgements(catalogue, "train", items.product_ids, fusion.pairs.weights)
    queries = towers.queries(judgements.texts)
    groups = group_places(items.rows)
    pool = mining_pool(len(groups), fusion.pairs.mining_pool, params.seed)
    mined = mine(queries, average(items)[pool], pool, judgements, groups, fusion.pairs)
    topics = topic_numbers(items.rows, judgements)
    schedule = Schedule(params.optimisation, params.seed, topics, fusion.pairs.topic_size)
    return FuseData(queries, items, PairSampler(judgements, groups, mined, fusion.pairs, schedule))


def _validation(
    catalogue: Path, towers: Towers, network: FusionNetwork
) -> Callable[[], dict[str, float]] | None:
    """nDCG@10 of the validation queries among the validation products."""
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


def fuse_and_publish(
    name: NetworkName,
    fusion: FusionParams,
    params: FuseParams,
    catalogue: Path,
    towers_folder: Path,
    model: Path,
    curves: Path,
    cache: Path,
    record: Record,
) -> None:
    """Train one network, or go on from where a killed run stopped, and publish it and its curves."""
    torch.set_num_threads(params.threads)
    with record.timed("vectors"):
        loaded = load_towers(towers_folder)
        towers = Towers(loaded, fusion.text, params.encode, cache / "vectors.sqlite", params.threads)
        data = make_fuse_data(catalogue, towers, fusion, params)
        network = create_network(name, towers.dimension, params.network, params.seed)
        validate = _validation(catalogue, towers, network)
        towers.close()
    blocks = (name, fusion.model_dump_json(), params.model_dump_json())
    inputs = (sha256_folder(catalogue), loaded.model_sha256, code_sha256(), torch.__version__)
    resume = resume_folder(record.stage, (*blocks, *inputs))
    with record.timed("train"):
        history = Fusing(network, data, params).loop(validate, resume).run()
    with published(model) as folder:
        save_network(name, network, params.network, fusion, loaded.model_sha256, folder)
    write_text(curves, curves_csv(history.steps, history.validation))
    for state in resume.iterdir():
        state.unlink()
    record.outputs = [str(model), str(curves)]
    record.metrics["parameters"] = float(sum(p.numel() for p in network.parameters()))
    record.metrics["suspected_false_negatives"] = data.sampler.mined.suspected_share
    record_history(record, history, data.sampler.schedule.batch_size)

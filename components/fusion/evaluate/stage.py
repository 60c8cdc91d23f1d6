"""The stage ``fusion_eval``: every row of the table on the held-out split, and those of a study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pyarrow as pa
import torch

from components.encoder.model.features.query_types import QueryTypes
from components.fusion.answer.answer import AnswerChoice, write_answer, write_types
from components.fusion.evaluate.choose import choose
from components.fusion.evaluate.held_out import HeldOutQueries, Measurement, Settings, open_towers, read_split
from components.fusion.evaluate.params import FusionEvaluationParams
from components.fusion.evaluate.scorers import (
    network_scorer,
    plain_scorers,
    tuned,
    vectors_scorer,
)
from components.fusion.evaluate.table import MAIN, Scorer, Table
from components.fusion.evaluate.variations import add_variations, networks_in
from components.fusion.model.fuse.item_vectors import gate_weights
from components.fusion.model.networks.files import load_network
from components.fusion.model.networks.layers import FusionNetwork
from components.fusion.model.networks.moe import EXPERTS
from components.fusion.model.params import FusionParams
from components.retrieval.published_figures import flat_figures, publish_figures
from components.retrieval.ranking import top_k
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record


class Blocks(Params):
    """The parameters of the stage; ``study`` is a folder of further networks to measure."""

    fusion: FusionParams
    fusion_eval: FusionEvaluationParams
    study: Path | None = None  # a folder of further models, see ``variations``; all of them are measured too


def run(params: Blocks, paths: Paths, record: Record) -> None:
    """Measure the root graph's rows, and those of a study, and publish the figures."""
    torch.set_num_threads(params.fusion_eval.threads)
    settings = Settings(params.fusion, params.fusion_eval, paths.catalogue, paths.cache)
    networks = {name: paths.fusion / name for name in params.fusion_eval.networks}
    if params.study is not None:
        networks |= networks_in(params.study)
    table, gates, (answer, types) = main_table(settings, paths.fusion / "align_image", networks, record)
    if params.study is not None:
        add_variations(table, params.study, paths.fusion, settings, record)
    with record.timed("intervals"):
        metrics = table.metrics()
    name = "fusion" if params.study is None else "study_fusion"
    files = {f"{name}.parquet": table.per_query(), "gates.parquet": gates}
    record.outputs = publish_figures(metrics, files, paths.metrics / f"{name}.json", paths.per_query / name)
    record.metrics |= flat_figures(metrics)
    if params.study is None:
        record.outputs += [str(write_answer(answer, paths.fusion)), str(write_types(types, paths.fusion))]


def main_table(
    settings: Settings, towers_folder: Path, networks: Mapping[str, Path], record: Record
) -> tuple[Table, pa.Table, tuple[AnswerChoice, QueryTypes]]:
    """The rows that train nothing and those of ``networks`` on one pair of towers, the gates, what validation
    prefers, and what tells the type of a query."""
    params = settings.params
    with record.timed("vectors"):
        towers = open_towers(towers_folder, settings)
        held_out = read_split(towers, params.split, settings)
        measured = Measurement(held_out, towers, settings)
        tuning = read_split(towers, "validation", settings)
        types = towers.query_types(settings.catalogue)
    found = tuned(tuning, types, params)
    record.metrics["fixed_text_share"] = found.text_share
    names = ("bm25", "text", "image")
    record.metrics |= {f"hybrid_{n}_weight": w for n, w in zip(names, found.hybrid_image, strict=True)}
    record.metrics["type_weight"] = found.type_weight
    trained = {n: load_network(f, towers.model.model_sha256) for n, f in networks.items()}
    with record.timed("answer"):
        answer = choose(tuning, settings, trained, types, found)
    questions = held_out.questions
    scorers = plain_scorers(questions, types, found)
    scorers |= {name: network_scorer(questions, network) for name, network in trained.items()}
    if MAIN in trained:
        scorers[f"{MAIN}_vectors"] = vectors_scorer(questions.vectors, trained[MAIN])
    table = Table(params, held_out.question)
    with record.timed("rows"):
        measured.add(table, scorers)
        experts = {name: network.network for name, network in trained.items()}
        gates = gate_table(experts, scorers, held_out, params.gate_top)
    towers.close()
    return table, gates, (answer, types)


GATES = pa.schema(
    [
        *((name, pa.string()) for name in ("variant", "query_id", "kind", "product_id", "category")),
        ("rank", pa.int16()),
        *((name, pa.float32()) for name in EXPERTS),
    ]
)


def gate_table(
    networks: Mapping[str, FusionNetwork], scorers: Mapping[str, Scorer], held_out: HeldOutQueries, top: int
) -> pa.Table:
    """Gate weights of the ``top`` products of each query, for every network that has experts."""
    rows: list[dict[str, Any]] = []
    for name, network in networks.items():
        gates = gate_weights(network, held_out.items)
        if gates is not None:
            scores = scorers[name](held_out.items)
            ranking = top_k(scores, min(top, scores.shape[1]))
            rows += ({"variant": name, **row} for row in _rows(ranking, gates, held_out))
    return pa.Table.from_pylist(rows, schema=GATES)


def _rows(
    ranking: npt.NDArray[Any], gates: npt.NDArray[Any], held_out: HeldOutQueries
) -> Iterator[dict[str, Any]]:
    task, products = held_out.question.task, held_out.items.rows
    for query_id, kind, ranked in zip(task.query_ids, task.kinds, ranking, strict=True):
        for rank, p in enumerate(ranked, start=1):
            row = {"query_id": query_id, "kind": kind, "rank": rank}
            row |= {name: products[p][name] for name in ("product_id", "category")}
            yield row | dict(zip(EXPERTS, map(float, gates[p]), strict=True))

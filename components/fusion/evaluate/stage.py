"""The stage ``fusion_eval``: every row of the table on the held-out split, and those of a study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import torch

from components.encoder.model.features.query_types import QueryTypes
from components.fusion.answer.answer import Answer, write_answer, write_types
from components.fusion.answer.choose import Validation, choose
from components.fusion.evaluate.gates import gate_table
from components.fusion.evaluate.held_out import Measured, Settings, open_towers, read_split
from components.fusion.evaluate.params import FusionEvaluationParams
from components.fusion.evaluate.scorers import (
    PlainScorer,
    network_scorer,
    plain_scorers,
    tuned,
    vectors_scorer,
)
from components.fusion.evaluate.table import MAIN, Table
from components.fusion.evaluate.variations import add_variations, networks_in
from components.fusion.model.networks.files import load_network
from components.fusion.model.params import FusionParams
from components.retrieval.published_figures import flat_figures, publish_figures
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record


class Evaluate(Params):
    """Parameters of the stage."""

    fusion: FusionParams
    fusion_eval: FusionEvaluationParams
    study: Path | None = None  # a folder of further models, see ``variations``; all of them are measured too


def run(params: Evaluate, paths: Paths, record: Record) -> None:
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
) -> tuple[Table, pa.Table, tuple[Answer, QueryTypes]]:
    """The rows that train nothing and those of ``networks`` on one pair of towers, the gates, what validation
    prefers, and what tells the type of a query."""
    params = settings.params
    with record.timed("vectors"):
        towers = open_towers(towers_folder, settings)
        held_out = read_split(towers, params.split, settings)
        measured = Measured(held_out, towers, settings)
        tuning = read_split(towers, "validation", settings)
        types = towers.query_types(settings.catalogue)
    found = tuned(tuning, types, settings)
    record.metrics["fixed_text_share"] = found.text_share
    names = ("bm25", "text", "image")
    record.metrics |= {f"hybrid_{n}_weight": w for n, w in zip(names, found.hybrid_image, strict=True)}
    record.metrics["type_weight"] = found.type_weight
    trained = {n: load_network(f, towers.model.model_sha256) for n, f in networks.items()}
    with record.timed("answer"):
        validation = Validation(tuning.items, towers, settings.catalogue, settings.fusion)
        answer = choose(validation, trained, found.hybrid_image, types, found.type_weight)
    plain = PlainScorer(held_out, settings)
    scorers = plain_scorers(plain, types, found)
    scorers |= {name: network_scorer(plain, held_out, network) for name, network in trained.items()}
    if MAIN in trained:
        scorers[f"{MAIN}_vectors"] = vectors_scorer(held_out, trained[MAIN])
    table = Table(params, held_out.question)
    with record.timed("rows"):
        measured.add(table, scorers)
        experts = {name: network.network for name, network in trained.items()}
        gates = gate_table(experts, scorers, held_out, params.gate_top)
    towers.close()
    return table, gates, (answer, types)

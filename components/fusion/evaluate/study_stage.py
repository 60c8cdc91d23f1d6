"""The study of fusion retrieval: all networks, the ablations, and the claims with every seed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from components.fusion.evaluate.evaluate import ALL_SEEDS, Scorer, Table
from components.fusion.evaluate.stage import (
    conditions,
    main_table,
    measure,
    network_scorer,
    open_towers,
    publish,
    read_split,
)
from components.fusion.model.baselines import cosine
from components.fusion.model.networks.files import load_network
from components.fusion.model.params import FusionEvaluationParams, FusionParams
from components.fusion.model.studies import ABLATIONS, MAIN, NETWORKS, OWN, seeds_of, study_name, towers_of
from components.stage.record import Record

SEEDED = (MAIN, "concat_mlp")  # networks trained with every seed


def evaluate_study_and_publish(
    fusion: FusionParams,
    params: FusionEvaluationParams,
    catalogue: Path,
    models: Path,
    study: Path,
    cache: Path,
    record: Record,
) -> None:
    """Measure every row of the study on the held-out split and publish it as ``study_fusion``.

    Rows: the root graph's table with all networks; ``moe_bilinear`` and ``text_only`` of each ablation and of
    each seed, with the name of it behind; and their means over the seeds (``_all_seeds``).

    Raises:
        NetworkFileError, ModelFileError: a study's training is missing or damaged.
    """
    torch.set_num_threads(params.threads)
    root = set(params.networks)
    folders = {name: (models if name in root else study) / name for name in NETWORKS}
    table, gates = main_table(fusion, params, catalogue, models / "align_image", folders, cache, record)
    others: dict[str, tuple[Path, dict[str, Path]]] = {
        name: (towers_of(name, OWN, models, study), {MAIN: study / name}) for name in ABLATIONS
    }
    table.seeds = seeds_of(study)
    for seed in table.seeds:
        trained = {network: study / study_name("", network, seed) for network in SEEDED}
        others[seed] = towers_of(MAIN, seed, models, study), trained
    for suffix, (towers, networks) in others.items():
        with record.timed(suffix):
            _add_rows(table, suffix, towers, networks, fusion, params, catalogue, cache)
    for variant in (*SEEDED, "text_only") if table.seeds else ():
        table.add_mean(variant, ALL_SEEDS)
    with record.timed("intervals"):
        metrics = table.metrics()
    files = {"study_fusion.parquet": table.per_query(), "gates.parquet": gates}
    publish("study_fusion", metrics, files, record)


def _add_rows(
    table: Table,
    suffix: str,
    towers_folder: Path,
    networks: Mapping[str, Path],
    fusion: FusionParams,
    params: FusionEvaluationParams,
    catalogue: Path,
    cache: Path,
) -> None:
    """text_only and networks on towers of their own, as rows that end in ``suffix``."""
    towers = open_towers(towers_folder, fusion, params, cache)
    split = read_split(catalogue, towers, params.split, params.relevant_grade)
    scorers: dict[str, Scorer] = {
        f"text_only_{suffix}": lambda items: cosine(split.queries, items.text, items.has_text)
    }
    for name, folder in networks.items():
        loaded = load_network(folder, towers.model.model_sha256)
        scorers[f"{name}_{suffix}"] = network_scorer(split.queries, loaded)
    worse = list(conditions(split.items, towers, catalogue, params))
    measure(table, scorers, split, worse, params.sparse_share)
    towers.close()

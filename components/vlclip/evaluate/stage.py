"""The evaluation stage: VL-CLIP's table and the grounding's, as metrics and per-query files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.held_out import read_held_out
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.features.rows import read_rows
from components.encoder.model.towers.files import load_encoder
from components.retrieval.published_figures import flat_figures, publish_figures
from components.stage.memory import keep_freed_memory
from components.stage.publish import write_text
from components.stage.record import Record
from components.vlclip.evaluate.evaluate import VlclipEvaluation
from components.vlclip.evaluate.grounding import GroundingEvaluation, every_row
from components.vlclip.model.grounding_file import read_grounding
from components.vlclip.model.params import VlclipEvaluationParams
from components.vlclip.model.variants import Sources, Variant, pictures_of


@dataclass(frozen=True)
class Entrant:
    """One row of the table: a model folder, and what it is shown."""

    variant: Variant
    folder: Path
    sources: Sources


@dataclass(frozen=True)
class Outputs:
    """Where the figures go; ``per_query`` is a folder."""

    metrics: Path
    ground: Path
    per_query: Path


def evaluate_and_publish(
    params: VlclipEvaluationParams,
    margin: float,
    entrants: Mapping[str, Entrant],
    groundings: Mapping[str, Path],
    sources: Sources,
    outputs: Outputs,
    record: Record,
) -> None:
    """Measure every entrant and every grounding on the held-out split, and publish the figures.

    Args:
        margin: as in training. groundings: row of the grounding's table to folder of boxes.
        sources: ``truth`` is needed.
    """
    torch.set_num_threads(params.threads)
    keep_freed_memory()
    rows = read_rows(sources.catalogue)
    truth = sources.truth or Path()
    held_out = read_held_out(sources.catalogue, truth, params.split, params.relevant_grade)
    evaluation = VlclipEvaluation(held_out, params)
    image_px = 0
    for name, each in entrants.items():
        with record.timed(name):
            loaded = load_encoder(each.folder)
            image_px = loaded.encoder.image_px
            pixels = pictures_of(each.variant, rows, each.sources, margin, image_px, params.threads)
            batch = BatchEncoder(loaded, params.batch_size, params.precision)
            evaluation.add(name, batch, batch.pixel_vectors(pixels.take(held_out.positions)))
    evaluation.add_chance()
    evaluation.add_seeds()
    with record.timed("grounding"):
        ids = [r["product_id"] for r in rows]
        found = {name: read_grounding(folder, ids) for name, folder in groundings.items()}
        whole = PixelCache(sources.catalogue, image_px, sources.cache, params.threads)
        boxes = GroundingEvaluation(held_out, *every_row(held_out, found, whole, params), params)
    with record.timed("intervals"):
        metrics, ground = evaluation.metrics(), boxes.metrics()
    tables = {**evaluation.tables(), "pointing.parquet": boxes.table()}
    publish_figures(metrics, tables, outputs.metrics, outputs.per_query)
    write_text(outputs.ground, json.dumps(ground, indent=1, sort_keys=True) + "\n")
    record.outputs = [str(o) for o in (outputs.metrics, outputs.ground, outputs.per_query)]
    grounding = {f"ground.{name}": value for name, value in flat_figures(ground).items()}
    record.metrics = flat_figures(metrics) | grounding

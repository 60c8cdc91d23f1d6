"""The evaluation stage: VL-CLIP's table and the grounding's, as metrics and per-query files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from components.encoder.encode import BatchEncoder
from components.encoder.files import load_encoder
from components.encoder.heldout import read_held_out, read_rows
from components.encoder.pixels import PixelCache
from components.stage.publish import published, write_text
from components.stage.record import Record
from components.vlclip.evaluate import VlclipEvaluation
from components.vlclip.evaluate_grounding import GroundingEvaluation, every_row
from components.vlclip.grounding_file import read_grounding
from components.vlclip.params import VlclipEvaluationParams
from components.vlclip.variants import VARIANTS, Sources, Variant, pictures_of

UNTRAINED = Variant("whole", "seller")  # the encoder as VL-CLIP's training finds it


def evaluate_and_publish(
    params: VlclipEvaluationParams,
    margin: float,
    sources: Sources,
    truth: Path,
    encoder: Path,
    models: Mapping[str, Path],
    outputs: tuple[Path, Path, Path],
    record: Record,
) -> None:
    """Measure the encoder and each variant whose folder is given, and the boxes; publish the figures.

    Args:
        margin: as in training. models: variant to model folder.
        outputs: the files of VL-CLIP's and of the grounding's metrics, and the folder of per-query results.
    """
    torch.set_num_threads(params.threads)
    rows = read_rows(sources.catalogue)
    held_out = read_held_out(sources.catalogue, truth, params.split, params.relevant_grade)
    evaluation = VlclipEvaluation(held_out, params)
    folders = {"untrained": (UNTRAINED, encoder)} | {v: (VARIANTS[v], path) for v, path in models.items()}
    for name, (variant, folder) in folders.items():
        with record.timed(name):
            loaded = load_encoder(folder)
            pixels = pictures_of(variant, rows, sources, margin, loaded.encoder.image_px, params.threads)
            batch = BatchEncoder(loaded, params.batch_size, params.precision)
            evaluation.add(name, batch, batch.pixel_vectors(pixels.take(held_out.positions)))
    evaluation.add_chance()
    with record.timed("grounding"):
        grounding = read_grounding(sources.grounding, [r["product_id"] for r in rows])
        whole = PixelCache(
            sources.catalogue, load_encoder(encoder).encoder.image_px, sources.cache, params.threads
        )
        boxes = GroundingEvaluation(held_out, *every_row(held_out, grounding, whole, params), params)
    with record.timed("intervals"):
        metrics, ground = evaluation.metrics(), boxes.metrics()
    tables = {**evaluation.tables(), "pointing.parquet": boxes.table()}
    _publish(metrics, ground, tables, outputs)
    record.outputs = [str(o) for o in outputs]
    record.metrics = {
        f"{v}.{m}": f["value"] for v, row in metrics.items() if v != "_tests" for m, f in row.items()
    }
    record.metrics |= {
        f"ground.{v}.{m}": f["value"] for v, row in ground.items() if v != "_tests" for m, f in row.items()
    }


def _publish(
    metrics: dict[str, Any], ground: dict[str, Any], tables: Mapping[str, pa.Table],
    outputs: tuple[Path, Path, Path],
) -> None:  # fmt: skip
    for target, figures in zip(outputs, (metrics, ground), strict=False):
        write_text(target, json.dumps(figures, indent=1, sort_keys=True) + "\n")
    with published(outputs[2]) as folder:
        folder.mkdir(parents=True)
        for name, table in tables.items():
            pq.write_table(table, folder / name, compression="zstd")

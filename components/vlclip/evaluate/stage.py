"""The evaluation stage: VL-CLIP's table and the grounding's, as metrics and per-query files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from scipy.fft import dctn

from components.encoder.model.crops.grounding_file import made_by, read_grounding
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.held_out import HeldOut, only, read_held_out
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.features.rows import read_rows
from components.encoder.model.towers.files import load_encoder
from components.retrieval.published_figures import flat_figures, publish_figures
from components.stage.files.publish import write_text
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record
from components.vlclip.evaluate.evaluate import VlclipEvaluation
from components.vlclip.evaluate.grounding import GroundingEvaluation, every_row
from components.vlclip.model.params import VlclipEvaluationParams, VlclipParams
from components.vlclip.model.variants import (
    UNSEEN,
    UNTRAINED,
    PictureSize,
    Variant,
    left_out_types,
    pictures_of,
    reads_together,
    variant_of,
    view_features,
)

Rows = list[dict[str, Any]]
SIDE_PX = 32  # pictures are reduced to before the transform
KEPT = 8  # lowest frequencies per direction
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue (ITU-R BT.601)
ROWS_AT_ONCE = 2048


class Blocks(Params):
    """What the stage reads from params.yaml and from its command."""

    vlclip_eval: VlclipEvaluationParams
    vlclip: VlclipParams  # its margin: a variant is shown what it was trained on
    study: Path | None = None  # folder of further models; each is a row of the tables
    left_out_types: int | None = Field(None, ge=2)  # as rows ``raw_unseen`` and ``full_unseen`` were trained
    # a study's row -> its folder of boxes, where it is not the graph's own
    boxes: dict[str, Path] = Field(default_factory=dict)


def run(params: Blocks, paths: Paths, record: Record) -> None:
    """Stage ``vlclip_eval`` and its study: every model and every set of boxes on the held-out split."""
    block = params.vlclip_eval
    torch.set_num_threads(block.threads)
    rows = read_rows(paths.catalogue)
    every = read_held_out(paths.catalogue, paths.truth, block.split, block.relevant_grade)
    with record.timed("duplicates"):
        held_out = _without_duplicates(every, paths, block)
    evaluation = _evaluated(params, paths, rows, held_out, record)
    with record.timed("grounding"):
        boxes = _evaluated_boxes(params, paths, rows, held_out)
    with record.timed("intervals"):
        metrics, ground = evaluation.metrics(), boxes.metrics()
    tables = {**evaluation.tables(), "pointing.parquet": boxes.table()}
    prefix = "study_" if params.study else ""
    figures, ground_figures = (paths.metrics / f"{prefix}{name}.json" for name in ("vlclip", "ground"))
    per_query = paths.per_query / f"{prefix}vlclip"
    publish_figures(metrics, tables, figures, per_query)
    write_text(ground_figures, json.dumps(ground, indent=1, sort_keys=True) + "\n")
    record.outputs = [str(o) for o in (figures, ground_figures, per_query)]
    grounding = {f"ground.{name}": value for name, value in flat_figures(ground).items()}
    record.metrics = flat_figures(metrics) | grounding
    record.metrics["duplicates_left_out"] = float(len(every.rows) - len(held_out.rows))


def compared_models(params: Blocks, paths: Paths) -> Mapping[str, tuple[Variant, Path]]:
    """Each row of the table: its variant and its model's folder."""
    models = {"untrained": (UNTRAINED, paths.encoder)}
    models |= {name: (variant_of(name), paths.vlclip / name) for name in ("raw", "full")}
    found = sorted(p for p in params.study.iterdir() if p.is_dir()) if params.study else ()
    return models | {folder.name: (variant_of(folder.name), folder) for folder in found}


def _evaluated(
    params: Blocks, paths: Paths, rows: Rows, held_out: HeldOut, record: Record
) -> VlclipEvaluation:
    """Every model on the split's questions, shown pictures as it was trained on."""
    block = params.vlclip_eval
    evaluation = VlclipEvaluation(held_out, block)
    part = _unseen_types(params, paths, rows, held_out)
    unseen = None if part is None else VlclipEvaluation(part, block)
    for name, (variant, folder) in compared_models(params, paths).items():
        with record.timed(name):
            loaded = load_encoder(folder)
            size = PictureSize(params.vlclip.margin, loaded.encoder.image_px, block.threads)
            own = paths.model_copy(update={"grounding": params.boxes.get(name, paths.grounding)})
            pictures = pictures_of(variant, rows, own, size, reads_together(loaded.encoder))
            batch = BatchEncoder(loaded, block.batch_size, block.precision, paths.cache / "vectors")
            features = view_features(pictures, batch, paths)
            if not name.endswith(UNSEEN):
                evaluation.add(name, batch, batch.image_vectors(features.take(held_out.positions)))
            if unseen is not None and part is not None:
                unseen.add(name, batch, batch.image_vectors(features.take(part.positions)))
            batch.cache.close()
    if unseen is not None:
        evaluation.adopt(unseen, "unseen_types_")
    evaluation.add_chance()
    evaluation.add_seeds()
    return evaluation


def _unseen_types(params: Blocks, paths: Paths, rows: Rows, held_out: HeldOut) -> HeldOut | None:
    """The split's products of the types that rows ``raw_unseen`` and ``full_unseen`` were trained without."""
    if params.left_out_types is None:
        return None
    types = left_out_types((r["product_type"] for r in rows), params.left_out_types)
    kept = np.array([r["product_type"] in types for r in held_out.rows])
    return only(held_out, kept, paths.catalogue, params.vlclip_eval)


def _without_duplicates(held_out: HeldOut, paths: Paths, params: VlclipEvaluationParams) -> HeldOut:
    """The split without products whose picture's hash a train product has as well: copies of one picture."""
    pixels = PixelCache(paths.catalogue, SIDE_PX, paths.cache, params.threads)
    seen = np.isin(_hashes(pixels, held_out.positions), _hashes(pixels, held_out.train_positions))
    return only(held_out, ~seen, paths.catalogue, params) if seen.any() else held_out


def _evaluated_boxes(params: Blocks, paths: Paths, rows: Rows, held_out: HeldOut) -> GroundingEvaluation:
    """The graph's boxes, those of studies and the baseline boxes beside the true ones."""
    block, ids = params.vlclip_eval, [r["product_id"] for r in rows]
    row = made_by(paths.grounding)
    folders = {row: paths.grounding, **{f"{row}_{n}": p for n, p in params.boxes.items()}}
    found = {name: read_grounding(folder, ids) for name, folder in folders.items()}
    image_px = load_encoder(paths.encoder).encoder.image_px
    whole = PixelCache(paths.catalogue, image_px, paths.cache, block.threads)
    return GroundingEvaluation(held_out, *every_row(held_out, found, whole, block), block)


def perceptual_hashes(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """The 64-bit "pHash" of each picture ``[N, px, px, 3]``: which low frequencies lie above their median.

    As Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions", section 3.2.1.
    Scaling and compression keep it; equal hashes are copies of one picture.
    """
    grey = pixels.astype(np.float32) @ LUMA
    low = dctn(grey, axes=(1, 2))[:, :KEPT, :KEPT].reshape(len(grey), -1)
    bits = low > np.median(low, axis=1, keepdims=True)
    found: npt.NDArray[np.uint64] = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return found


def _hashes(pixels: PixelCache, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    starts = range(0, len(rows), ROWS_AT_ONCE)
    parts = [perceptual_hashes(pixels.take(rows[i : i + ROWS_AT_ONCE])) for i in starts]
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)

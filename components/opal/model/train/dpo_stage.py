"""The preference optimisation stage: from pairs and a tuned model to a model folder, with curves."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.features.rows import read_rows
from components.opal.model.language.files import load_listing_model, read_note, save_listing_model
from components.opal.model.language.picture_cache import remember_pictures
from components.opal.model.params import DpoParams, ListingParams
from components.opal.model.preferences.pairs import Pair
from components.opal.model.rows import read_parquet
from components.opal.model.train.dpo import prefer
from components.opal.model.train.sft_stage import curves_csv, look_at
from components.stage.publish import published, write_text
from components.stage.record import Record
from components.stage.resume import code_sha256, resume_folder, sha256_folder

COLUMNS = ("product_id", "category", "prompt", "chosen", "rejected", "kind", "checks")


def read_pairs(folder: Path) -> list[Pair]:
    """The pairs of ``pairs.parquet``.

    Raises:
        ListingDataError: missing or unreadable.
    """
    rows = read_parquet(folder / "pairs.parquet", COLUMNS)
    return [Pair(**{**row, "checks": tuple(row["checks"] or ())}) for row in rows]


def _mean(rows: Sequence[dict[str, float]], name: str) -> float:
    values = [row[name] for row in rows if name in row]
    return sum(values) / len(values) if values else float("nan")


def dpo_and_publish(
    listing: ListingParams,
    params: DpoParams,
    catalogue: Path,
    preferences: Path,
    tuned: Path,
    model_folder: Path,
    curves: Path,
    cache: Path,
    record: Record,
) -> None:
    """Optimise, or go on from where a killed run stopped, and publish model and curves."""
    torch.set_num_threads(params.threads)
    with record.timed("prepare"):
        model, note = load_listing_model(tuned), read_note(tuned)
        note.pop("format")
        pairs = read_pairs(preferences)
        positions = {row["product_id"]: i for i, row in enumerate(read_rows(catalogue))}
        pixels = PixelCache(catalogue, note["image_px"], cache, params.threads)
        remember_pictures(model.model, note["precision"], cache)
        known = [positions[p.product_id] for p in pairs if p.product_id in positions]
        look_at(model, pixels, np.array(known))
        key = [listing.model_dump_json(), params.model_dump_json(), torch.__version__, code_sha256()]
        key += [sha256_folder(catalogue), sha256_folder(preferences), sha256_folder(tuned)]
        resume = resume_folder(record.stage, key)
    with record.timed("train"):
        done = prefer(model, pairs, positions, pixels.take, params, listing.lora, listing.precision, resume)
    with published(model_folder) as folder:
        save_listing_model(done.model, note, folder)
    write_text(curves, curves_csv(done.curves))
    for state in resume.iterdir():
        shutil.rmtree(state) if state.is_dir() else state.unlink()
    record.outputs = [str(model_folder), str(curves)]
    record.timing("waiting_for_data", done.data_seconds)
    training, last = params.training, done.curves[-max(1, len(done.curves) // 10) :]
    steps = training.steps - done.resumed_from
    record.metrics = {
        "pairs_per_second": steps * training.batch_size * training.accumulation / record.timings["train"],
        "final_loss": _mean(last, "loss"),
        "final_margin": _mean(last, "margin"),
        "final_accuracy": _mean(last, "accuracy"),
        "resumed_from_step": float(done.resumed_from),
    }
    record.curves = {
        name: [{"step": row["step"], "value": row[name]} for row in done.curves if name in row]
        for name in ("loss", "margin", "accuracy", "reward_chosen", "reward_rejected")
    }

"""Direct preference optimisation: from pairs and a tuned model to a model folder with its curves.

Its control, ``dpo_control``, takes the same steps over the same pairs without a preference: what it gains
over the tuned model comes of reading the chosen answers. ``sft_on_policy`` does the same over pairs whose
chosen answers are the model's own, corrected.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from components.encoder.model.features.rows import read_rows
from components.opal.model.certainty.measure import measure_certainty
from components.opal.model.dpo.preferring import prefer
from components.opal.model.language.files import GROUNDER, load_listing_model, read_note
from components.opal.model.language.pictures import pictures_of
from components.opal.model.listings import read_parquet
from components.opal.model.params import DpoParams, ListingParams
from components.opal.model.preferences.pairs import PreferencePair
from components.opal.model.train.run import TuningRun, resume_of
from components.opal.model.train.tuned_model import Published, publish
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record

COLUMNS = ("product_id", "category", "prompt", "chosen", "rejected", "kind", "checks")


LIKELIHOOD_ALONE = {
    "sft_weight": 1.0,
    **dict.fromkeys(("sigmoid_weight", "bco_weight", "image_weight", "anchor_weight"), 0.0),
}


class Blocks(Params):
    """What the stage reads of params.yaml; ``start`` null: the tuned model beside the output."""

    variant: Literal["dpo", "dpo_control", "sft_on_policy"] = "dpo"
    start: Path | None = None
    listing: ListingParams
    dpo: DpoParams


def read_pairs(folder: Path) -> list[PreferencePair]:
    """The pairs of ``pairs.parquet``.

    Raises:
        ListingDataError: missing or unreadable.
    """
    rows = read_parquet(folder / "pairs.parquet", COLUMNS)
    return [PreferencePair(**{**row, "checks": tuple(row["checks"] or ())}) for row in rows]


def _mean(rows: Sequence[dict[str, float]], name: str) -> float:
    values = [row[name] for row in rows if name in row]
    return sum(values) / len(values) if values else float("nan")


def run(params: Blocks, paths: Paths, record: Record) -> None:
    """Optimise the tuned model, or go on from where a killed run stopped."""
    dpo, start = params.dpo, params.start or paths.listing / "sft_refined"
    if params.variant != "dpo":
        dpo = dpo.model_copy(update=LIKELIHOOD_ALONE)
    torch.set_num_threads(dpo.threads)
    with record.timed("prepare"):
        model, note = load_listing_model(start), read_note(start)
        note.pop("format")
        pairs = read_pairs(paths.preferences)
        positions = {row["product_id"]: i for i, row in enumerate(read_rows(paths.catalogue))}
        pictures = pictures_of(model.model, note, paths)
        inputs = (paths.catalogue, paths.preferences, start)
        course = TuningRun(dpo, params.listing, resume_of(record.stage, params, inputs))
    with record.timed("train"):
        done = prefer(model, pairs, positions, pictures.take, course)
    folder, curves = paths.listing / params.variant, paths.plots / f"{params.variant}.csv"
    with record.timed("certainty"):
        certainty = measure_certainty(done.model, note, params.listing.certainty, paths)
    grounder = start / GROUNDER if note["crop"] else None
    publish(done, note, certainty, Published(folder, curves, course.resume, grounder))
    record.outputs = [str(folder), str(curves)]
    record.timing("waiting_for_data", done.data_seconds)
    training, last = dpo.training, done.curves[-max(1, len(done.curves) // 10) :]
    pairs_seen = done.steps * training.batch_size * training.accumulation
    record.metrics = {
        "pairs_per_second": pairs_seen / max(record.timings["train"], 1e-9),
        "final_loss": _mean(last, "loss"),
        "final_margin": _mean(last, "margin"),
        "final_accuracy": _mean(last, "accuracy"),
        "resumed_from_step": float(done.resumed_from),
    }
    record.curves = done.shown("loss", "margin", "accuracy", "reward_chosen", "reward_rejected")

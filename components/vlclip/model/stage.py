"""The training stage: from the encoder to one variant's model folder, with curves and a record."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from components.encoder.model.towers.dual_encoder import Encoder
from components.encoder.model.towers.files import load_encoder, save_encoder
from components.encoder.model.towers.tuned import freeze
from components.encoder.model.train.contrastive import Contrastive
from components.stage.files.publish import published, write_text
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record
from components.stage.resume import sha256_file, sha256_folder
from components.training.curves import curves_csv, record_history
from components.training.resume import forget, training_folder
from components.vlclip.model.params import VlclipParams
from components.vlclip.model.training_set import encoder_params, make_training_set
from components.vlclip.model.variants import VARIANTS, VIEWS, Variant, reads_together


class Blocks(Params):
    """What the stage reads from params.yaml and from its command."""

    variant: Literal["raw", "crop", "clarified", "grounded", "full", "true_box"]
    name: str = ""  # of the model's folder and of its curves; the variant's where none is given
    # Train without every so-manieth product type, and with heads drawn anew: the encoder's know all types.
    left_out_types: int | None = Field(None, ge=2)
    vlclip: VlclipParams


def input_hashes(variant: Variant, paths: Paths) -> list[str]:
    """SHA-256 of everything that this variant reads."""
    read = [sha256_folder(paths.catalogue), sha256_folder(paths.encoder)]
    if variant.picture in ("crop", "both"):
        read.append(sha256_file(paths.grounding / "boxes.parquet"))
    if variant.picture == "true_both":
        read.append(sha256_folder(paths.truth))
    if variant.text == "clarified":
        read.append(sha256_file(paths.clarified / "texts.parquet"))
    return read


def run(params: Blocks, paths: Paths, record: Record) -> None:
    """Stages ``vlclip@raw`` and ``vlclip@full``, and their studies: one variant's model and its curves."""
    train(params, paths, record)


def train(params: Blocks, paths: Paths, record: Record, until: int | None = None) -> None:
    """Train, or go on from where a killed run stopped, and publish model and curves.

    Args:
        until: stop after this step, keep the state and publish nothing (tests of interruption).
    """
    variant, name = VARIANTS[params.variant], params.name or params.variant
    torch.set_num_threads(params.vlclip.threads)
    with record.timed("prepare"):
        loaded = load_encoder(paths.encoder)
        loaded.encoder.all_pictures = False  # a box is of the main picture
        data, validate = make_training_set(variant, params.vlclip, loaded, paths, params.left_out_types)
        settings = encoder_params(params.vlclip, loaded)
        _start(loaded.encoder, variant, params)
        freeze(loaded.encoder, settings.training.tune_image, settings.training.tune_text)
        blocks = (params.vlclip.model_dump_json(), repr(variant), str(params.left_out_types))
        key = (*blocks, *input_hashes(variant, paths))
        resume = training_folder(record.stage, *key)
    with record.timed("train"):
        objective = Contrastive(loaded.encoder, data, settings, validate)
        history = objective.loop(resume).run(until)
    if len(history.steps) < objective.plan.steps:
        return
    objective.finish(history)
    target, curves = paths.vlclip / name, paths.plots / f"vlclip_{name}.csv"
    with published(target) as folder:
        save_encoder(loaded.encoder.cpu(), loaded.tokenizer, folder)
    write_text(curves, curves_csv(history.steps, history.validation))
    forget(resume)
    record.outputs = [str(target), str(curves)]
    record_history(record, history, objective.plan.batch_size)


def _start(encoder: Encoder, variant: Variant, params: Blocks) -> None:
    """What of the encoder is new in a variant: the view of the crop, or all that its heads have learned."""
    if params.left_out_types is not None and encoder.heads is not None:
        torch.manual_seed(params.vlclip.seed)
        for module in encoder.heads.modules():
            if isinstance(module, torch.nn.Linear):
                module.reset_parameters()
    if variant.picture in ("both", "true_both") and reads_together(encoder):
        encoder.add_views(VIEWS, params.vlclip.trust)

"""The training stage: from the encoder to one variant's model folder, with curves and a record."""

from __future__ import annotations

from pathlib import Path

import torch

from components.encoder.model.towers.files import load_encoder, save_encoder
from components.encoder.model.train.contrastive import Contrastive
from components.stage.memory import keep_freed_memory
from components.stage.publish import published, write_text
from components.stage.record import Record
from components.stage.resume import sha256_file, sha256_folder
from components.training.curves import curves_csv, record_history
from components.training.resume import forget, training_folder
from components.vlclip.model.params import VlclipParams
from components.vlclip.model.training_set import encoder_params, make_training_set
from components.vlclip.model.variants import Sources, Variant


def input_hashes(variant: Variant, sources: Sources, model: Path) -> list[str]:
    """SHA-256 of everything that this variant reads."""
    read = [sha256_folder(sources.catalogue), sha256_folder(model)]
    if variant.picture == "crop":
        read.append(sha256_file(sources.grounding / "boxes.parquet"))
    if variant.picture == "true_crop" and sources.truth is not None:
        read.append(sha256_folder(sources.truth))
    if variant.text == "clarified":
        read.append(sha256_file(sources.clarified / "texts.parquet"))
    return read


def train_and_publish(
    variant: Variant,
    params: VlclipParams,
    sources: Sources,
    model: Path,
    target: Path,
    curves: Path,
    record: Record,
    until: int | None = None,
) -> None:
    """Train, or go on from where a killed run stopped, and publish model and curves.

    Args:
        model: the encoder to start from. target: the folder that appears when training has ended.
        until: stop after this step, keep the state and publish nothing (tests of interruption).
    """
    torch.set_num_threads(params.threads)
    keep_freed_memory()
    with record.timed("prepare"):
        loaded = load_encoder(model)
        data, validate = make_training_set(variant, params, loaded, sources)
        settings = encoder_params(params, loaded)
        key = (params.model_dump_json(), repr(variant), *input_hashes(variant, sources, model))
        resume = training_folder(record.stage, *key)
    with record.timed("train"):
        objective = Contrastive(loaded.encoder, data, settings, validate)
        history = objective.loop(resume).run(until)
    if len(history.steps) < objective.plan.steps:
        return
    with published(target) as folder:
        save_encoder(loaded.encoder.cpu(), loaded.tokenizer, loaded.vision, folder)
    write_text(curves, curves_csv(history.steps, history.validation))
    forget(resume)
    record.outputs = [str(target), str(curves)]
    record_history(record, history, objective.plan.batch_size)

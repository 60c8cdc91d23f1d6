"""An alignment stage: from a catalogue and an encoder folder to an aligned encoder folder, with curves."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from components.catalog.format.records import SPLITS
from components.catalog.format.shards import Catalogue
from components.encoder.model.towers.files import LoadedEncoder, load_encoder, save_encoder
from components.encoder.model.towers.start import freeze
from components.fusion.model.align.alignment import Alignment
from components.fusion.model.align.training_set import make_alignment_set
from components.fusion.model.params import AlignmentParams, FusionParams
from components.fusion.model.towers.towers import Towers
from components.stage.memory import keep_freed_memory
from components.stage.paths import Paths
from components.stage.publish import published, write_text
from components.stage.record import Record
from components.stage.resume import sha256_folder
from components.training.curves import curves_csv, record_history
from components.training.resume import forget, training_folder


@dataclass(frozen=True)
class AlignmentStage:
    """One of the two alignment stages.

    Attributes:
        name: of the model's folder and of the curves. start: the encoder to start from.
        new_heads: draw its heads anew, as if nothing had been learned of the domain.
    """

    name: str
    fusion: FusionParams
    params: AlignmentParams
    start: Path
    new_heads: bool = False


def _copied(start: LoadedEncoder, stage: AlignmentStage) -> LoadedEncoder:
    """The encoder for product texts, which are longer than captions; ``start`` stays as it is."""
    encoder = deepcopy(start.encoder)
    if stage.new_heads and encoder.heads is not None:
        torch.manual_seed(stage.params.seed)
        for module in encoder.heads.modules():
            if isinstance(module, torch.nn.Linear):
                module.reset_parameters()
    tokenizer = start.tokenizer.with_context(stage.fusion.text.context_length)
    return replace(start, encoder=encoder, tokenizer=tokenizer)


def align(stage: AlignmentStage, paths: Paths, record: Record) -> None:
    """Align, or go on from where a killed run stopped, and publish model and curves."""
    fusion, params = stage.fusion, stage.params
    model, curves = paths.fusion / stage.name, paths.plots / f"{stage.name}.csv"
    torch.set_num_threads(params.threads)
    keep_freed_memory()
    with record.timed("prepare"):
        start = load_encoder(stage.start)
        aligned = _copied(start, stage)
        freeze(aligned.encoder, params.train_images and params.image_weight > 0, params.tune_text)
        data, validate = make_alignment_set(aligned, fusion, params, paths)
        blocks = (fusion.model_dump_json(), params.model_dump_json(), str(stage.new_heads))
        inputs = (sha256_folder(paths.catalogue), start.model_sha256)
        resume = training_folder(record.stage, *blocks, *inputs)
    objective = Alignment(aligned.encoder, data, params, validate)
    with record.timed("train"):
        history = objective.loop(resume).run()
    aligned.encoder.cpu()
    with published(model) as folder:
        save_encoder(aligned.encoder, aligned.tokenizer, folder)
    write_text(curves, curves_csv(history.steps, history.validation))
    with record.timed("vectors"):
        _warm_the_cache(stage, paths)
    forget(resume)
    record.outputs = [str(model), str(curves)]
    record.metrics["suspected_false_negatives"] = data.sampler.mined.suspected_share
    record.metrics["train_queries"] = float(len(data.sampler.judgements))
    record_history(record, history, objective.plan.batch_size)


def _warm_the_cache(stage: AlignmentStage, paths: Paths) -> None:
    """Leave in the cache what several later stages ask for at the same time, and would each compute.

    After the picture stage that is all that networks are trained on.
    """
    params = stage.params
    if not params.image_weight:
        return
    aligned = load_encoder(paths.fusion / stage.name)
    towers = Towers(aligned, stage.fusion.text, params.encode, paths.cache / "vectors", params.threads)
    for split in SPLITS[:2]:
        for _ in towers.stream(paths.catalogue, split):
            pass
        if texts := [query.text for query in Catalogue(paths.catalogue).queries(split)]:
            towers.queries(texts)
    towers.close()

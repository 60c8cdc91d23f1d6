"""An alignment stage: from a catalogue and an encoder folder to an aligned encoder folder, with curves."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from components.catalog.format.records import SPLITS
from components.catalog.format.shards import Catalogue
from components.encoder.model.towers.files import in_memory
from components.encoder.model.towers.heads import Head
from components.encoder.model.towers.tuned import freeze
from components.fusion.model.align.alignment import Alignment
from components.fusion.model.align.training_set import fit_fields, make_alignment_set
from components.fusion.model.params import AlignmentParams, FusionParams
from components.fusion.model.towers.aligned import LoadedTowers, load_towers, save_towers
from components.fusion.model.towers.towers import Towers
from components.stage.files.publish import published, write_text
from components.stage.paths import Paths
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


def towers_to_train(start: LoadedTowers, stage: AlignmentStage) -> LoadedTowers:
    """Towers to train: ``start`` stays as it is. A head for fields is new where there is none yet."""
    text, encoder = stage.fusion.text, deepcopy(start.encoder.encoder)
    torch.manual_seed(stage.params.seed)
    if stage.new_heads and encoder.heads is not None:
        for module in encoder.heads.modules():
            if isinstance(module, torch.nn.Linear):
                module.reset_parameters()
    if not text.by_field:  # whole product texts are longer than captions
        tokenizer = start.encoder.tokenizer.with_context(text.context_length)
        return LoadedTowers(in_memory(encoder, tokenizer), None, (), start.model_sha256)
    loaded, head = replace(start.encoder, encoder=encoder), deepcopy(start.fields)
    if head is None and stage.params.text_weight:
        inputs = len(text.fields) * (encoder.architecture.embed_dim + 1)
        head = Head(inputs, text.hidden, encoder.embed_dim, text.dropout)
    for module in head.modules() if head is not None else ():
        if isinstance(module, torch.nn.Dropout):
            module.p = text.dropout
    return LoadedTowers(loaded, head, text.fields if head is not None else (), start.model_sha256)


def align(stage: AlignmentStage, paths: Paths, record: Record) -> None:
    """Align, or go on from where a killed run stopped, and publish model and curves."""
    fusion, params = stage.fusion, stage.params
    model, curves = paths.fusion / stage.name, paths.plots / f"{stage.name}.csv"
    torch.set_num_threads(params.threads)
    with record.timed("prepare"):
        start = load_towers(stage.start)
        aligned = towers_to_train(start, stage)
        module = aligned.module
        freeze(aligned.encoder.encoder, params.train_images and params.image_weight > 0, params.tune_text)
        data, validate = make_alignment_set(aligned.encoder, module, fusion, params, paths)
        if start.fields is None:
            fit_fields(module, data)
        blocks = (fusion.model_dump_json(), params.model_dump_json(), str(stage.new_heads))
        inputs = (sha256_folder(paths.catalogue), start.model_sha256)
        resume = training_folder(record.stage, *blocks, *inputs)
    objective = Alignment(module, data, params, validate)
    with record.timed("train"):
        history = objective.loop(resume).run()
    module.cpu()
    with published(model) as folder:
        save_towers(aligned, folder)
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

    After the picture stage that is all that networks are trained on. What frozen towers see of it is there.
    """
    params = stage.params
    if not params.image_weight or not (params.train_images or params.tune_text):
        return
    aligned = load_towers(paths.fusion / stage.name)
    towers = Towers(aligned, stage.fusion.text, params.encode, paths.cache, params.threads)
    for split in SPLITS[:2]:
        for _ in towers.stream(paths.catalogue, split):
            pass
        if texts := [query.text for query in Catalogue(paths.catalogue).queries(split)]:
            towers.queries(texts)
    towers.close()

"""An alignment stage: from a catalogue and an encoder folder to an aligned encoder folder, with curves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from components.catalog.format.records import SPLITS
from components.catalog.format.shards import Catalogue
from components.encoder.model.towers.files import LoadedEncoder
from components.fusion.model.align.alignment import Alignment
from components.fusion.model.align.training_set import make_alignment_set
from components.fusion.model.params import AlignmentParams, FusionParams
from components.fusion.model.towers.files import load_towers, save_towers
from components.fusion.model.towers.starting_encoder import starting_encoder
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
        name: of the model's folder and of the curves. start: the towers, or plain encoder, to start from.
        new_weights: use their shape and vocabulary, not their weights.
    """

    name: str
    fusion: FusionParams
    params: AlignmentParams
    start: Path
    new_weights: bool = False


def align(stage: AlignmentStage, paths: Paths, record: Record) -> None:
    """Align, or go on from where a killed run stopped, and publish model and curves."""
    fusion, params = stage.fusion, stage.params
    model, curves = paths.fusion / stage.name, paths.plots / f"{stage.name}.csv"
    torch.set_num_threads(params.threads)
    keep_freed_memory()
    with record.timed("prepare"):
        start = load_towers(stage.start)
        aligned = starting_encoder(start, fusion, params.seed, params.keep_text_tower, stage.new_weights)
        data, validate = make_alignment_set(aligned, fusion, params, paths)
        blocks = (fusion.model_dump_json(), params.model_dump_json(), str(stage.new_weights))
        inputs = (sha256_folder(paths.catalogue), start.model_sha256)
        resume = training_folder(record.stage, *blocks, *inputs)
    objective = Alignment(aligned.encoder, data, params, validate)
    with record.timed("train"):
        history = objective.loop(resume).run()
    aligned.encoder.cpu()
    with published(model) as folder:
        save_towers(aligned, folder)
    write_text(curves, curves_csv(history.steps, history.validation))
    with record.timed("vectors"):
        _warm_the_cache(stage, start, paths)
    forget(resume)
    record.outputs = [str(model), str(curves)]
    record.metrics["suspected_false_negatives"] = data.sampler.mined.suspected_share
    record.metrics["train_queries"] = float(len(data.sampler.judgements))
    record_history(record, history, objective.plan.batch_size)


def _warm_the_cache(stage: AlignmentStage, start: LoadedEncoder, paths: Paths) -> None:
    """Leave in the cache what several later stages ask for at the same time, and would each compute.

    After the picture stage that is all that networks are trained on. After the text stage it is the pictures'
    vectors, as far as the embeddings stage has made them.
    """
    params = stage.params
    aligned = load_towers(paths.fusion / stage.name)
    towers = Towers(aligned, stage.fusion.text, params.encode, paths.cache / "vectors", params.threads)
    if not params.image_weight:
        towers.pictures.take_over(start, paths.catalogue)
    else:
        for split in SPLITS[:2]:
            for _ in towers.stream(paths.catalogue, split):
                pass
            if texts := [query.text for query in Catalogue(paths.catalogue).queries(split)]:
                towers.queries(texts)
    towers.close()

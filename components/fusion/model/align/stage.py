"""An alignment stage: from a catalogue and an encoder folder to an aligned encoder folder, with curves."""

from __future__ import annotations

from pathlib import Path

import torch

from components.catalog.format.records import SPLITS
from components.catalog.format.shards import Catalogue
from components.encoder.model.towers.files import LoadedEncoder
from components.fusion.model.align.align import Alignment
from components.fusion.model.align.training_set import make_alignment_set
from components.fusion.model.params import AlignmentParams, FusionParams
from components.fusion.model.towers.files import load_towers, save_towers
from components.fusion.model.towers.starting_encoder import starting_encoder
from components.fusion.model.towers.towers import Towers
from components.stage.memory import keep_freed_memory
from components.stage.publish import published, write_text
from components.stage.record import Record
from components.stage.resume import code_sha256, resume_folder, sha256_folder
from components.training.curves import History, curves_csv

MOST_POINTS = 500


def curve(points: list[dict[str, float]], name: str) -> list[dict[str, float]]:
    """One figure by step, thinned for the record."""
    kept = [{"step": p["step"], "value": p[name]} for p in points if name in p]
    return kept[:: max(1, len(kept) // MOST_POINTS)]


def record_history(record: Record, history: History, batch_size: int) -> None:
    """What a run of the loop says about itself."""
    steps = len(history.steps) - history.resumed_from
    record.metrics |= {
        "pairs_per_second": steps * batch_size / max(history.train_seconds, 1e-9),
        "final_loss": history.steps[-1]["loss"],
        "resumed_from_step": float(history.resumed_from),
    }
    if history.validation:
        record.metrics |= {k: v for k, v in history.validation[-1].items() if k != "step"}
    for points in (history.steps, history.validation):
        for name in sorted({key for point in points for key in point} - {"step"}):
            record.curves[name] = curve(points, name)


def _vectors_for_later(
    model: Path,
    start: LoadedEncoder,
    catalogue: Path,
    fusion: FusionParams,
    params: AlignmentParams,
    cache: Path,
) -> None:
    """Leave in the memo what several later stages ask for at the same time, and would each compute.

    After the picture stage that is all that networks are trained on. After the text stage it is the pictures'
    vectors, as far as the embeddings stage has made them.
    """
    towers = Towers(load_towers(model), fusion.text, params.encode, cache / "vectors.sqlite", params.threads)
    if not params.image_weight:
        towers.pictures.take_over(start, catalogue)
    else:
        for split in SPLITS[:2]:
            for _ in towers.stream(catalogue, split):
                pass
            if texts := [query.text for query in Catalogue(catalogue).queries(split)]:
                towers.queries(texts)
    towers.close()


def align_and_publish(
    fusion: FusionParams,
    params: AlignmentParams,
    catalogue: Path,
    start: Path,
    untrained: bool,
    model: Path,
    curves: Path,
    cache: Path,
    record: Record,
) -> None:
    """Align, or go on from where a killed run stopped, and publish model and curves.

    Args:
        start: the encoder folder to start from. untrained: use its shape and vocabulary, not its weights.
    """
    torch.set_num_threads(params.threads)
    keep_freed_memory()
    with record.timed("prepare"):
        loaded = load_towers(start)
        starting = starting_encoder(loaded, fusion, params.seed, params.keep_text_tower, untrained)
        data, validate = make_alignment_set(catalogue, starting, fusion, params, cache)
        blocks = (fusion.model_dump_json(), params.model_dump_json(), str(untrained))
        inputs = (sha256_folder(catalogue), loaded.model_sha256, code_sha256(), torch.__version__)
        resume = resume_folder(record.stage, (*blocks, *inputs))
    with record.timed("train"):
        history = Alignment(starting.encoder, data, params).loop(validate, resume).run()
    starting.encoder.cpu()
    with published(model) as folder:
        save_towers(starting, folder)
    write_text(curves, curves_csv(history.steps, history.validation))
    with record.timed("vectors"):
        _vectors_for_later(model, loaded, catalogue, fusion, params, cache)
    for state in resume.iterdir():
        state.unlink()
    record.outputs = [str(model), str(curves)]
    record.metrics["suspected_false_negatives"] = data.sampler.mined.suspected_share
    record.metrics["train_queries"] = float(len(data.sampler.judgements))
    record_history(record, history, data.sampler.schedule.batch_size)

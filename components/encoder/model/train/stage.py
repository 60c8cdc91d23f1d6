"""The training stage: from a catalogue folder to a model folder, with curves and a record."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import torch

from components.encoder.model.params import EncoderParams
from components.encoder.model.towers.dual_encoder import create_encoder
from components.encoder.model.towers.files import save_encoder, vision_config
from components.encoder.model.train.trainer import History, Trainer
from components.encoder.model.train.training_set import make_training_set
from components.stage.memory import keep_freed_memory
from components.stage.publish import published, write_text
from components.stage.record import Record
from components.stage.resume import code_sha256, resume_folder, sha256_folder


def curves_csv(history: History) -> str:
    """One line per step; the validation columns are empty where nothing was validated."""
    checks = {int(v["step"]) - 1: v for v in history.validation}
    names = sorted({k for row in history.steps for k in row} - {"step"})
    extra = sorted({k for row in history.validation for k in row} - {"step"})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", *names, *extra])
    for row in history.steps:
        step = int(row["step"])
        values = [f"{row[n]:.6g}" if n in row else "" for n in names]
        writer.writerow([step, *values, *(f"{checks[step][n]:.6g}" if step in checks else "" for n in extra)])
    return text.getvalue()


def _thin(points: list[dict[str, float]], name: str, most: int = 500) -> list[dict[str, float]]:
    kept = [p for p in points if name in p]
    every = max(1, len(kept) // most)
    return [{"step": p["step"], "value": p[name]} for p in kept[::every]]


def train_and_publish(
    params: EncoderParams, catalogue: Path, model: Path, curves: Path, cache: Path, record: Record
) -> None:
    """Train, or go on from where a killed run stopped, and publish model and curves."""
    torch.set_num_threads(params.threads)
    keep_freed_memory()
    with record.timed("prepare"):
        data, tokenizer, validate = make_training_set(catalogue, params, cache)
        encoder = create_encoder(params, tokenizer.vocabulary_size)
        key = (params.model_dump_json(), sha256_folder(catalogue), code_sha256(), torch.__version__)
        resume = resume_folder(record.stage, key)
    with record.timed("train"):
        history = Trainer(encoder, data, params, resume, validate).run()
    encoder.cpu()
    with published(model) as folder:
        save_encoder(encoder, tokenizer, vision_config(params.model), folder)
    write_text(curves, curves_csv(history))
    for state in resume.iterdir():
        state.unlink()
    record.timing("waiting_for_data", history.data_seconds)
    record.outputs = [str(model), str(curves)]
    steps = len(history.steps) - history.resumed_from
    record.metrics = {
        "pairs_per_second": steps
        * min(params.training.batch_size, len(data.rows))
        / max(history.train_seconds, 1e-9),
        "parameters": float(sum(p.numel() for p in encoder.parameters())),
        "final_loss": history.steps[-1]["loss"],
        "resumed_from_step": float(history.resumed_from),
    }
    record.curves = {name: _thin(history.steps, name) for name in ("loss", "pooled", "topk", "learning_rate")}
    record.curves |= {
        n: _thin(history.validation, n) for n in (history.validation or [{}])[-1] if n != "step"
    }

"""The tuning stage: from listings and an encoder to a model folder, with curves and a record."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from components.catalog.format.schema import read_schema
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.features.rows import read_rows
from components.encoder.model.towers.files import load_encoder
from components.opal.model.errors import ListingConfigurationError
from components.opal.model.language.files import save_listing_model
from components.opal.model.language.listing_model import ListingModel, create_listing_model
from components.opal.model.params import ListingParams, SftParams
from components.opal.model.rows import (
    Sample,
    instruction_samples,
    listing_of,
    listing_samples,
    of_one_length,
    refined_listings,
    training_order,
)
from components.opal.model.writing.conversation import token_counts
from components.stage.publish import published, write_text
from components.stage.record import Record
from components.stage.resume import code_sha256, resume_folder, sha256_folder

VARIANTS = ("raw", "refined")


def samples_of(
    variant: str, catalogue: Path, refined: Path, listing: ListingParams, params: SftParams
) -> list[Sample]:
    """The samples of every step: sellers' listings (raw), or refined ones with instructions."""
    rows, schema = read_rows(catalogue), read_schema(catalogue / "schema.json")
    if variant == "raw":
        listings = {row["product_id"]: listing_of(row) for row in rows}
        asked: list[Sample] = []
    else:
        listings = refined_listings(refined, listing.taught)
        asked = instruction_samples(rows, refined / "instructions.parquet", schema, "train")
    whole = listing_samples(rows, listings, schema, listing.prompt, "train")
    steps = params.training.steps
    return training_order(whole, asked, params.instruction_share, _per_step(params), steps, params.seed)


def picture_px(params: ListingParams, encoder_px: int) -> int:
    """Side of the square pictures a model is given."""
    return params.pretrained.image_px if params.pretrained else encoder_px


def curves_csv(rows: list[dict[str, float]]) -> str:
    """One line per step; columns sorted, ``step`` first."""
    names = sorted({name for row in rows for name in row} - {"step"})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", *names])
    for row in rows:
        writer.writerow([int(row["step"]), *(f"{row[n]:.6g}" if n in row else "" for n in names)])
    return text.getvalue()


def note_of(params: ListingParams, image_px: int) -> dict[str, Any]:
    """What listing.json says: how the model is to be asked."""
    return {
        "prompt": params.prompt,
        "taught": params.taught.model_dump(mode="json"),
        "image_px": image_px,
        "base": params.pretrained.model if params.pretrained else None,
        "max_title_chars": params.max_title_chars,
        "max_new_tokens": params.max_new_tokens,
        "require_attributes": params.require_attributes,
        "precision": params.precision,
    }


def starting_model(
    params: ListingParams,
    encoder: Path,
    texts: list[str],
    samples: Sequence[Sample],
    catalogue: Path,
    cache: Path,
) -> tuple[ListingModel, PixelCache]:
    """The untrained (or pretrained) model, and the pictures in its size."""
    loaded = load_encoder(encoder)
    pixels = PixelCache(
        catalogue, picture_px(params, loaded.encoder.image_px), cache, torch.get_num_threads()
    )
    seen = sorted({sample.position for sample in samples})
    chosen = np.random.default_rng(params.seed).permutation(seen)[: params.vision.whitening_pictures]
    shown = pixels.take(np.sort(chosen)) if params.pretrained is None else np.empty((0,), np.uint8)
    return create_listing_model(params, loaded, texts, shown, cache), pixels


def look_at(
    model: ListingModel, pixels: PixelCache, positions: npt.NDArray[np.int64], backwards: bool = False
) -> None:
    """Show a tower that remembers every picture it is going to be asked about."""
    memo = getattr(getattr(getattr(model.model, "model", None), "vision_tower", None), "memo", None)
    if memo is not None:
        memo.fill(pixels.take(np.unique(positions)).transpose(0, 3, 1, 2), "seeing pictures", backwards)


def tokenizer_texts(catalogue: Path, refined: Path, listing: ListingParams, variant: str) -> list[str]:
    """Texts that the small model's tokenizer is learned from: every training text of the variant."""
    rows, schema = read_rows(catalogue), read_schema(catalogue / "schema.json")
    listings = (
        {row["product_id"]: listing_of(row) for row in rows}
        if variant == "raw"
        else refined_listings(refined, listing.taught)
    )
    samples = listing_samples(rows, listings, schema, listing.prompt, "train")
    # The question as often as it is asked: a sentence read in every step should be few tokens.
    texts = [text for s in samples for text in (s.question, s.answer)]
    if variant != "raw":
        asked = instruction_samples(rows, refined / "instructions.parquet", schema, "train")
        texts += [text for s in asked for text in (s.question, s.answer)]
    return texts + [listing.prompt.format(category=category) for category in sorted(schema.categories)]


def _per_step(params: SftParams) -> int:
    return params.training.batch_size * params.training.accumulation


def _tokens(model: ListingModel, samples: Sequence[Sample]) -> list[int]:
    """Tokens of each sample, without those that all have in common."""
    asked = token_counts(model, [s.question for s in samples])
    answered = token_counts(model, [s.answer for s in samples])
    return [a + b for a, b in zip(asked, answered, strict=True)]


def sft_and_publish(
    variant: str,
    listing: ListingParams,
    params: SftParams,
    catalogue: Path,
    refined: Path,
    encoder: Path,
    model_folder: Path,
    curves: Path,
    cache: Path,
    record: Record,
) -> None:
    """Tune one variant, or go on from where a killed run stopped, and publish model and curves."""
    if variant not in VARIANTS:
        raise ListingConfigurationError(
            f"There is no variant {variant!r} to tune; use {' or '.join(VARIANTS)}."
        )
    from components.opal.model.train.sft import (
        tune,  # TRL and datasets take a second that no evaluation has to wait
    )

    torch.set_num_threads(params.threads)
    with record.timed("prepare"):
        samples = samples_of(variant, catalogue, refined, listing, params)
        texts = tokenizer_texts(catalogue, refined, listing, variant)
        model, pixels = starting_model(listing, encoder, texts, samples, catalogue, cache)
        samples = of_one_length(samples, _tokens(model, samples), _per_step(params), params.seed)
        shown = np.array([sample.position for sample in samples])
        look_at(model, pixels, shown, backwards=variant == VARIANTS[-1])  # both variants may start together
        key = [variant, listing.model_dump_json(), params.model_dump_json(), torch.__version__, code_sha256()]
        key += [sha256_folder(catalogue), sha256_folder(refined), sha256_folder(encoder)]
        resume = resume_folder(record.stage, key)
    with record.timed("train"):
        tuned = tune(
            model,
            samples,
            pixels.take,
            params.training,
            listing.lora,
            listing.precision,
            params.seed,
            resume,
        )
    with published(model_folder) as folder:
        save_listing_model(tuned.model, note_of(listing, pixels.image_px), folder)
    write_text(curves, curves_csv(tuned.curves))
    for state in resume.iterdir():
        shutil.rmtree(state) if state.is_dir() else state.unlink()
    record.outputs = [str(model_folder), str(curves)]
    seconds = max(record.timings["train"], 1e-9)
    steps = params.training.steps - tuned.resumed_from
    record.timing("waiting_for_data", tuned.data_seconds)
    record.metrics = {
        "samples_per_second": steps * _per_step(params) / seconds,
        "parameters": float(sum(p.numel() for p in tuned.model.model.parameters())),
        "longest_sequence": float(tuned.longest),
        "final_loss": tuned.curves[-1]["loss"],
        "resumed_from_step": float(tuned.resumed_from),
    }
    record.curves = {
        name: [{"step": row["step"], "value": row[name]} for row in tuned.curves if name in row]
        for name in ("loss", "token_accuracy", "learning_rate")
    }

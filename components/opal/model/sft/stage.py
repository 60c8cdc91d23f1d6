"""Visual instruction tuning: from listings and an encoder to a model folder with its curves."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch

from components.catalog.format.schema import read_schema
from components.opal.model.arrangement import arranged
from components.opal.model.certainty.measure import measure_certainty
from components.opal.model.language.listing_model import ListingModel
from components.opal.model.language.pictures import Pictures, reads_crops
from components.opal.model.params import ListingParams, SftParams
from components.opal.model.sft.fitted import fitted
from components.opal.model.sft.samples import (
    Lessons,
    Sample,
    Variant,
    of_one_length,
    per_step,
    read_lessons,
)
from components.opal.model.sft.starting_model import note_of, starting_model
from components.opal.model.sft.tuning import tune
from components.opal.model.train.run import TuningRun, resume_of
from components.opal.model.train.tuned_model import Published, publish
from components.opal.model.writing.conversation import token_counts
from components.opal.model.writing.fitting import Fitting, LeftOut
from components.opal.model.writing.ready_tokens import as_images
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record


class Blocks(Params):
    """A variant is taught by sellers' listings (raw), or by refined ones with instructions.

    Of a category that is ``left_out`` nothing is taught.
    """

    variant: Variant
    left_out: str | None = None
    listing: ListingParams
    sft: SftParams


def run(params: Blocks, paths: Paths, record: Record) -> None:
    """Tune one variant, or go on from where a killed run stopped."""
    listing, sft = params.listing, params.sft
    torch.set_num_threads(sft.threads)
    with record.timed("prepare"):
        lessons = read_lessons(params.variant, listing, paths.catalogue, paths.refined, params.left_out)
        sft = lessons.capped(sft)
        model, pictures = starting_model(listing, lessons, lessons.order(sft), paths)
        lessons, left_out = _fitted(params, lessons, model, pictures, paths)
        samples = lessons.order(sft)
        samples = of_one_length(samples, _tokens(model, samples), per_step(sft), sft.seed)
        inputs = (paths.catalogue, paths.refined, paths.encoder, paths.grounding)
        course = TuningRun(sft, listing, resume_of(record.stage, params, inputs))
    with record.timed("train"):
        tuned = tune(model, samples, pictures.take, course)
    name = f"sft_{params.variant}"
    folder, curves = paths.listing / name, paths.plots / f"{name}.csv"
    crop = reads_crops(listing, paths)
    note = note_of(listing, pictures.image_px, lessons.lesson, crop)
    with record.timed("certainty"):
        certainty = measure_certainty(tuned.model, note, listing.certainty, paths)
    grounder = paths.grounder if crop else None
    publish(tuned, note, certainty, Published(folder, curves, course.resume, grounder))
    record.outputs = [str(folder), str(curves)]
    record.timing("waiting_for_data", tuned.data_seconds)
    record.metrics = {
        "samples_per_second": tuned.steps * per_step(sft) / max(record.timings["train"], 1e-9),
        "parameters": float(sum(p.numel() for p in tuned.model.model.parameters())),
        "longest_sequence": float(tuned.longest),
        "final_loss": tuned.curves[-1]["loss"],
        "resumed_from_step": float(tuned.resumed_from),
    }
    record.metrics |= left_out.metrics()
    record.curves = tuned.shown("loss", "token_accuracy", "learning_rate")


def _fitted(
    params: Blocks, lessons: Lessons, model: ListingModel, pictures: Pictures, paths: Paths
) -> tuple[Lessons, LeftOut]:
    """The lessons as far as the model can read them; what is left out is said."""
    first = pictures.take(np.array([lessons.whole[0].position], dtype=np.int64))
    fitting = Fitting(model, as_images(model, first)[0], params.listing.max_new_tokens)
    schema = arranged(read_schema(paths.catalogue / "schema.json"), lessons.lesson.attributes)
    refined = paths.refined if params.variant == "refined" else None
    lessons, left_out = fitted(lessons, fitting, schema, refined)
    for sentence in filter(
        None, (*lessons.lesson.sentences(), left_out.sentence(fitting.room, fitting.most_new))
    ):
        warnings.warn(sentence, stacklevel=1)
    return lessons, left_out


def _tokens(model: ListingModel, samples: Sequence[Sample]) -> list[int]:
    """Tokens of each sample, without those that all have in common."""
    asked = token_counts(model, [s.question for s in samples])
    answered = token_counts(model, [s.answer for s in samples])
    return [a + b for a, b in zip(asked, answered, strict=True)]

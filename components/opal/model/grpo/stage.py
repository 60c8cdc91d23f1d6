"""Group relative policy optimisation (Shao et al. 2024, "DeepSeekMath", arXiv 2402.03300), by TRL.

Of several answers that the tuned model samples about one photo, those with more right and fewer wrong values
than their mean become likelier. Photos are those that tuning never saw: of the others it knows the answers by
heart.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from trl import GRPOConfig, GRPOTrainer

from components.catalog.format.schema import CatalogSchema, read_schema
from components.encoder.model.features.rows import read_rows
from components.opal.model.arrangement import arranged
from components.opal.model.certainty.measure import measure_certainty
from components.opal.model.errors import ListingDataError
from components.opal.model.grpo.reward import reward
from components.opal.model.language.files import GROUNDER, load_listing_model, read_note
from components.opal.model.language.listing_model import ListingModel
from components.opal.model.language.pictures import catalogue_pixels
from components.opal.model.listing_text import Listing, question
from components.opal.model.listings import left_to_preferences, refined_listings
from components.opal.model.params import GrpoParams, ListingParams
from components.opal.model.train.run import TuningRun, resume_of
from components.opal.model.train.trainer_setup import (
    Checkpoints,
    ExactResume,
    common_arguments,
    lora_config,
)
from components.opal.model.train.tuned_model import Published, TunedModel, publish, trained
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record

CURVES = {"loss": "loss", "reward": "reward", "completions/mean_length": "tokens"}


class Blocks(Params):
    """What the stage reads of params.yaml; ``start`` is the tuned model."""

    start: Path
    listing: ListingParams
    grpo: GrpoParams = GrpoParams()


class Photos:
    """Photos of the train split with refined listings that tuning left to preferences, in a drawn order."""

    def __init__(self, paths: Paths, note: dict[str, Any], params: GrpoParams) -> None:
        self.rows, self.prompt = read_rows(paths.catalogue), note["prompt"]
        self.listings = refined_listings(paths.refined)
        unseen = note["taught"]["unseen"]
        train = [i for i, row in enumerate(self.rows) if row["split"] == "train" and self._known(i)]
        chosen = [i for i in train if left_to_preferences(self.rows[i]["group_id"], unseen)] or train
        if not chosen:
            raise ListingDataError("no product of the train split has a listing; check the refine stage.")
        needed = params.training.steps * params.training.batch_size * params.training.accumulation
        random = np.random.default_rng(params.seed)
        epochs = -(-needed // len(chosen))
        self.order = np.concatenate([random.permutation(chosen) for _ in range(epochs)])[:needed]
        self.pixels = catalogue_pixels(paths, note["image_px"], note["crop"])

    def _known(self, row: int) -> bool:
        return bool(self.listing(row).attributes)

    def listing(self, row: int) -> Listing:
        """The refined listing of a catalogue row."""
        return self.listings.get(self.rows[row]["product_id"], Listing(""))

    def dataset(self) -> Dataset:
        """TRL's rows; ``position`` is the row of the product."""
        asked = [question(self.prompt, self.rows[i]["category"]) for i in self.order]
        shown = [Image.fromarray(picture) for picture in self.pixels.take(self.order)]
        return Dataset.from_dict(
            {
                "prompt": [[{"role": "user", "content": text}] for text in asked],
                "images": [[picture] for picture in shown],
                "position": self.order.tolist(),
            }
        )

    def rewards(self, schema: CatalogSchema, penalty: float) -> Any:
        """TRL's reward function of these photos."""

        def right_and_wrong(completions: Sequence[Any], position: Sequence[int], **_: Any) -> list[float]:
            """The reward of each completion; TRL hands on the columns of its rows, such as ``position``."""
            known = [(self.listing(row), schema.categories[self.rows[row]["category"]]) for row in position]
            texts = [said[0]["content"] for said in completions]
            return [reward(text, *about, penalty) for text, about in zip(texts, known, strict=True)]

        return right_and_wrong


class PractisingTrainer(ExactResume, GRPOTrainer):
    """Resumes from the very weights it had."""


def practise(
    model: ListingModel, photos: Photos, rewards: Any, most_new: int, course: TuningRun[GrpoParams]
) -> TunedModel:
    """Sample, judge and learn, or go on from the newest checkpoint of ``course``.

    Args:
        rewards: TRL's reward function. most_new: tokens of an answer.

    Raises:
        ListingDivergedError: a loss was not finite.
    """
    params, size = course.params, course.params.training.batch_size * course.params.training.accumulation
    shared = {name: value for name, value in common_arguments(course).items() if name != "max_length"}
    ids = [photos.rows[i]["product_id"] for i in photos.order]
    trainer = PractisingTrainer(
        model=model.model,
        args=GRPOConfig(
            **shared | {"per_device_train_batch_size": course.params.training.batch_size * params.answers},
            num_generations=params.answers,
            temperature=params.temperature,
            max_completion_length=most_new,
            shuffle_dataset=False,
            disable_dropout=True,  # as TRL's DPO does: an answer is judged as it will be written
            beta=0.0,  # no second model; few and gentle steps keep near the first one
        ),
        train_dataset=photos.dataset(),
        reward_funcs=rewards,
        processing_class=model.processor,
        peft_config=lora_config(course.listing.lora, model.model),
        callbacks=[Checkpoints(course, "practising", lambda step: ", ".join(ids[step * size :][:8]))],
    )
    return trained(trainer, model, CURVES, course.resume, 0)


def run(params: Blocks, paths: Paths, record: Record) -> None:
    """Let the tuned model practise, or go on from where a killed run stopped."""
    grpo, start = params.grpo, params.start
    torch.set_num_threads(grpo.threads)
    with record.timed("prepare"):
        model, note = load_listing_model(start), read_note(start)
        note.pop("format")
        photos = Photos(paths, note, grpo)
        schema = arranged(read_schema(paths.catalogue / "schema.json"), note["attributes"])
        inputs = (paths.catalogue, paths.refined, start)
        course = TuningRun(grpo, params.listing, resume_of(record.stage, params, inputs))
    with record.timed("train"):
        rewards = photos.rewards(schema, grpo.penalty)
        done = practise(model, photos, rewards, note["max_new_tokens"], course)
    with record.timed("certainty"):
        certainty = measure_certainty(done.model, note, params.listing.certainty, paths)
    folder, curves = paths.listing / "grpo", paths.plots / "grpo.csv"
    grounder = start / GROUNDER if note["crop"] else None
    publish(done, note, certainty, Published(folder, curves, course.resume, grounder))
    record.outputs = [str(folder), str(curves)]
    record.metrics = {"final_loss": done.curves[-1]["loss"], "final_reward": done.curves[-1]["reward"]}
    record.curves = done.shown("loss", "reward", "tokens")

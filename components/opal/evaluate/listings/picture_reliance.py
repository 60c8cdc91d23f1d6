"""How much answers rest on the picture: the same answer under the picture of its product and of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from components.opal.evaluate.listings.answers import Asking
from components.opal.evaluate.listings.held_out import HeldOutListings
from components.opal.model.arrangement import arranged
from components.opal.model.language.listing_model import ListingModel
from components.opal.model.language.pictures import pictures_of
from components.opal.model.listing_text import answer_text, question
from components.opal.model.sft.likelihood import answer_log_probabilities
from components.opal.model.sft.samples import LISTING, Sample


def picture_reliance(
    model: ListingModel, note: dict[str, Any], held_out: HeldOutListings, asking: Asking
) -> npt.NDArray[np.float64]:
    """Log-probability of each product's true listing under its picture, minus under another product's.

    In nats of the whole answer without its title; 0 of a model that does not look. NaN where no other product
    of the category is listed otherwise. The other product is the next such one in the order of the measured
    products, the same for every model.
    """
    categories = [target.category for target in held_out.targets]
    written = arranged(asking.schema, note["attributes"])
    answers = [
        answer_text(replace(target.listing, title=""), written.categories[target.category])
        for target in held_out.targets
    ]
    others = _others(categories, answers)
    asked = [i for i, other in enumerate(others) if other is not None]
    out = np.full(len(answers), np.nan)
    if not asked:
        return out
    pictures = pictures_of(model.model, note, asking.paths)
    questions = [question(note["prompt"], category) for category in categories]
    samples = [
        Sample("", int(held_out.positions[at]), categories[i], LISTING, questions[i], answers[i])
        for i in asked
        for at in (i, others[i])
    ]
    how = asking.params.batch_size, note["precision"]
    both = answer_log_probabilities(model, samples, pictures.take, *how).reshape(-1, 2)
    out[asked] = both[:, 0] - both[:, 1]
    return out


def _others(categories: Sequence[str], answers: Sequence[str]) -> list[int | None]:
    """For each product the next one of its category, in a circle, whose answer is another."""
    inside: dict[str, list[int]] = {}
    for i, category in enumerate(categories):
        inside.setdefault(category, []).append(i)
    out: list[int | None] = [None] * len(answers)
    for members in inside.values():
        for at, i in enumerate(members):
            circle = members[at + 1 :] + members[:at]
            out[i] = next((j for j in circle if answers[j] != answers[i]), None)
    return out

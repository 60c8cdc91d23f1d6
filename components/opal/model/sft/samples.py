"""What a model is taught: sellers' listings, or refined ones with instruction samples, in a fixed order."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from components.catalog.format.attributes import facts
from components.catalog.format.schema import CatalogSchema, read_schema
from components.encoder.model.features.rows import read_rows
from components.opal.model.arrangement import arranged, arrangement
from components.opal.model.errors import ListingDataError
from components.opal.model.language.value_heads import TYPE, StatedValues
from components.opal.model.listing_text import Listing, answer_text, question
from components.opal.model.listings import (
    Lesson,
    left_to_preferences,
    listing_of,
    read_parquet,
    refined_rows,
)
from components.opal.model.params import ListingParams, SftParams
from components.opal.model.titles.grammar import Titles
from components.opal.model.titles.learn import learn_titles, observe_titles

Variant = Literal["raw", "refined"]
LISTING, TITLE = "listing", "title"  # grains
POOL = 8  # steps whose samples are sorted by length together


@dataclass(frozen=True)
class Sample:
    """One question about one picture; ``position`` is the product's row in the catalogue."""

    product_id: str
    position: int
    category: str
    grain: str
    question: str
    answer: str


def listing_samples(
    rows: Sequence[Mapping[str, Any]],
    listings: Mapping[str, Listing],
    schema: CatalogSchema,
    prompt: str,
    split: str,
) -> list[Sample]:
    """One sample per product of ``split`` that says something: the picture in, the whole listing out."""
    samples = []
    for position, row in enumerate(rows):
        listing = listings.get(row["product_id"])
        if row["split"] != split or listing is None or not _says(listing):
            continue
        category = row["category"]
        answer = answer_text(listing, schema.categories.get(category))
        asked = question(prompt, category)
        samples.append(Sample(row["product_id"], position, category, LISTING, asked, answer))
    return samples


def _says(listing: Listing) -> bool:
    return bool(listing.title.strip() or listing.attributes or listing.product_type.strip())


def instruction_samples(
    rows: Sequence[Mapping[str, Any]], path: Path, schema: CatalogSchema, split: str
) -> list[Sample]:
    """The instruction samples of ``split``, of every grain but whole listings.

    Raises:
        ListingDataError: the file is unreadable, or names a product that the catalogue has not.
    """
    at = {row["product_id"]: (i, row["category"]) for i, row in enumerate(rows)}
    columns = ["product_id", "split", "grain", "prompt", "answer"]
    asked = [r for r in read_parquet(path, columns) if r["split"] == split and r["grain"] != LISTING]
    if unknown := sorted({r["product_id"] for r in asked} - set(at))[:5]:
        raise ListingDataError(f"{path} names products that are not in the catalogue: {', '.join(unknown)}.")
    return [
        Sample(r["product_id"], *at[r["product_id"]], r["grain"], r["prompt"], r["answer"]) for r in asked
    ]


def _endless(count: int, needed: int, seed: int, stream: int) -> npt.NDArray[np.int64]:
    """``needed`` of ``count`` indices: whole shuffled epochs, each a function of (seed, stream, epoch)."""
    epochs = max(1, -(-needed // count))
    drawn = [np.random.default_rng([seed, stream, epoch]).permutation(count) for epoch in range(epochs)]
    return np.concatenate(drawn)[:needed]


def per_step(params: SftParams) -> int:
    """Samples of one step."""
    return params.training.batch_size * params.training.accumulation


NOTHING = StatedValues(np.empty(0, np.int64), (), ())


def stated_values(
    rows: Sequence[Mapping[str, Any]],
    listings: Mapping[str, Listing],
    schema: CatalogSchema,
    samples: Sequence[Sample],
) -> StatedValues:
    """The product type and the values of closed lists that the listings of ``samples`` state."""
    stated = []
    for sample in samples:
        known = schema.categories[sample.category].attributes if sample.category in schema.categories else {}
        said = facts(listings[sample.product_id].attributes)
        closed = [fact for fact in said if fact[0] in known and known[fact[0]].values]
        stated.append([(TYPE, rows[sample.position]["product_type"]), *closed])
    positions = np.array([sample.position for sample in samples], dtype=np.int64)
    return StatedValues(positions, [rows[i]["group_id"] for i in positions], stated)


@dataclass(frozen=True)
class Lessons:
    """Everything that one variant is taught."""

    whole: list[Sample]  # of the train split: the picture in, the whole listing out
    asked: list[Sample]  # instruction samples; of sellers' listings there are none
    questions: list[str]  # for a listing, one for each category
    lesson: Lesson  # how they were made
    values: StatedValues = NOTHING  # product types, and what ``whole`` states of closed attributes

    def texts(self) -> list[str]:
        """What the small model's tokenizer is learned from.

        The question as often as it is asked: a sentence read in every step should be few tokens.
        """
        return [text for s in (*self.whole, *self.asked) for text in (s.question, s.answer)] + self.questions

    def capped(self, params: SftParams) -> SftParams:
        """The parameters with no more steps than ``epochs`` allow: few listings are soon known by heart."""
        if params.epochs is None:
            return params
        shown = per_step(params) * (1 - params.instruction_share * bool(self.asked))
        most = max(1, math.ceil(params.epochs * len(self.whole) / max(shown, 1)))
        steps = min(params.training.steps, most)
        return params.model_copy(update={"training": params.training.model_copy(update={"steps": steps})})

    def order(self, params: SftParams) -> list[Sample]:
        """The samples of every step; a share of the steps, evenly spread, instruct.

        A batch holds one kind, for instructions are short and would be padded to the length of listings. The
        order is a function of (seed, epoch) alone, so a resumed run sees what an uninterrupted one sees.

        Raises:
            ListingDataError: there is no listing to learn from.
        """
        if not self.whole:
            raise ListingDataError("no product of the train split has a listing; check the refine stage.")
        steps, batch, share = params.training.steps, per_step(params), params.instruction_share
        due = [int((step + 1) * share) > int(step * share) and bool(self.asked) for step in range(steps)]
        instructed = sum(due) * batch
        first = iter(_endless(len(self.whole), steps * batch - instructed, params.seed, 0))
        second = iter(_endless(len(self.asked), instructed, params.seed, 1)) if instructed else iter(())
        return [
            self.asked[next(second)] if instructing else self.whole[next(first)]
            for instructing in due
            for _ in range(batch)
        ]


def read_lessons(
    variant: Variant, listing: ListingParams, catalogue: Path, refined: Path, left_out: str | None = None
) -> Lessons:
    """What a variant is taught: sellers' listings (raw), or refined ones with instructions.

    Args:
        left_out: a category that nothing is taught of, not even which attributes it has.

    Raises:
        ListingDataError: a file cannot be read, or names a product that the catalogue has not.
    """
    rows, schema = read_rows(catalogue), read_schema(catalogue / "schema.json")
    told = [row for row in refined_rows(refined) if row["category"] != left_out]
    sold = [row for row in rows if row["category"] != left_out]
    visible = {name for row in told for name in row["visible"] or ()}  # of both: answers have one form
    lesson = _lesson(sold if variant == "raw" else told, schema, visible, listing)
    if variant == "raw":
        listings = {row["product_id"]: lesson.own(row["category"], listing_of(row)) for row in sold}
        asked: list[Sample] = []
    else:
        listings = lesson.listings(told)
        asked = instruction_samples(rows, refined / "instructions.parquet", schema, "train")
        asked = [sample for sample in asked if sample.category != left_out]
        if lesson.titles.kind == "composed":
            asked = [sample for sample in asked if sample.grain != TITLE]
    schema = arranged(schema, lesson.attributes)
    whole = listing_samples(rows, listings, schema, listing.prompt, "train")
    whole, asked = (
        [s for s in part if not left_to_preferences(rows[s.position]["group_id"], listing.taught.unseen)]
        for part in (whole, asked)
    )
    questions = [question(listing.prompt, category) for category in sorted(schema.categories)]
    values = stated_values(rows, listings, schema, whole)
    return Lessons(whole, asked, questions, lesson, values)


def _lesson(
    rows: Sequence[Mapping[str, Any]], schema: CatalogSchema, visible: Collection[str], params: ListingParams
) -> Lesson:
    """What is taught, and in which form, as the listings of the train split show it."""
    shown = [(row["category"], listing_of(row)) for row in rows if row["split"] == "train"]
    seen = observe_titles(shown, schema)
    learned = learn_titles(seen, schema, visible, params.titles, params.taught.title_attributes)
    named = {category: tally.shares() for category, tally in seen.items()}
    attributes = arrangement(shown, schema, named, visible, params.taught.most_attributes)
    titles = Titles(kind=params.title_kind, categories=learned)
    return Lesson(schema, attributes, params.taught, titles, params.max_title_chars)


def of_one_length(samples: Sequence[Sample], lengths: Sequence[int], batch: int, seed: int) -> list[Sample]:
    """The samples of a ``training_order``, moved so that those of a step are about equally long.

    A fifth of what a model read was padding. Only ``POOL`` steps of one kind that follow each other are
    sorted, and stand in a drawn order afterwards, so that every part of an epoch still sees every kind of
    product. Our choice: ``POOL``.

    Args:
        lengths: tokens of each sample. batch: samples per step.
    """
    out = list(samples)
    starts = range(0, len(samples), batch)
    for stream, whole in enumerate((True, False)):
        steps = [start for start in starts if (samples[start].grain == LISTING) == whole]
        for place in range(0, len(steps), POOL):
            pool = steps[place : place + POOL]
            inside = [i for start in pool for i in range(start, min(start + batch, len(samples)))]
            inside.sort(key=lambda i: lengths[i])
            drawn = np.random.default_rng([seed, 2, stream, place]).permutation(len(pool))
            for k, start in enumerate(pool):
                chosen = inside[drawn[k] * batch : (drawn[k] + 1) * batch]
                out[start : start + len(chosen)] = [samples[i] for i in chosen]
    return out

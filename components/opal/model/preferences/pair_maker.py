"""Preference pairs of one catalogue: sampled, sellers' and swapped listings beside refined ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from components.catalog.format.attributes import Attributes
from components.catalog.format.schema import read_schema
from components.encoder.model.features.rows import read_rows
from components.opal.model.arrangement import arranged
from components.opal.model.language.pictures import Pictures
from components.opal.model.listing_text import Listing, answer_text, parse_answer, question
from components.opal.model.listings import Lesson, left_to_preferences, listing_of, refined_rows
from components.opal.model.params import Note, PreferencesParams
from components.opal.model.preferences.own_answers import (
    Judged,
    OwnAnswers,
    agreed,
    corrected,
    judged_pair,
    verified,
)
from components.opal.model.preferences.pairs import (
    ListingQuestion,
    PreferencePair,
    contradicting,
    make_pair,
    nearest,
    swapped_listing,
)
from components.opal.model.preferences.verifier import PictureVerifier, measured_weights
from components.opal.model.sft.fitted import supports
from components.opal.model.writing.fitting import Fitting
from components.opal.model.writing.generate import ListingGenerator
from components.retrieval.embeddings import read_embeddings


class PairMaker:
    """Makes pairs of one catalogue, in a fixed order of its train products.

    Products whose photos tuning never saw come first: of the others it has learned answers by heart.
    """

    def __init__(
        self,
        catalogue: Path,
        refined: Path,
        embeddings: Path,
        note: dict[str, Any],
        params: PreferencesParams,
        *,
        fitting: Fitting | None = None,
    ) -> None:
        """``fitting``: leaves out what the model cannot read at once; None: nothing is."""
        self.params, self.prompt = params, note["prompt"]
        asked = Note.model_validate({name: value for name, value in note.items() if name != "format"})
        whole = read_schema(catalogue / "schema.json")
        self.rows, self.schema = read_rows(catalogue), arranged(whole, asked.attributes)
        told = refined_rows(refined)
        self.lesson = Lesson(whole, asked.attributes, asked.taught, asked.titles, asked.max_title_chars)
        self.fitting, self.too_long = fitting, 0
        self.listings = self.lesson.listings(told)
        if fitting:
            self._shorten(fitting, refined)
        self.visible = {row["product_id"]: frozenset(row["visible"] or ()) for row in told}
        self.embeddings = embeddings
        self.evidence_weights = measured_weights(refined / "calibration.json")
        unseen = asked.taught.unseen
        usable = [
            i for i, row in enumerate(self.rows) if row["split"] == "train" and self._refined(i).attributes
        ]
        drawn = np.random.default_rng([params.seed, 0]).permutation(len(usable))
        order = np.array([usable[i] for i in drawn], dtype=np.int64)
        left = np.array([left_to_preferences(self.rows[i]["group_id"], unseen) for i in order], np.bool_)
        self.order = np.concatenate([order[left], order[~left]])  # first what tuning never saw
        self.unseen = order[left] if left.any() else order

    def _shorten(self, fitting: Fitting, refined: Path) -> None:
        """Shorten listings that the model cannot read or write at once, as the tuning did."""
        train = [row for row in self.rows if row["split"] == "train" and row["product_id"] in self.listings]
        asked = [question(self.prompt, row["category"]) for row in train]
        categories = [self.schema.categories[row["category"]] for row in train]
        stated = [self.listings[row["product_id"]] for row in train]
        answers = [answer_text(listing, known) for listing, known in zip(stated, categories, strict=True)]
        fits = fitting.fit(list(zip(asked, answers, strict=True)))
        long = {row["product_id"]: i for i, row in enumerate(train) if not fits[i]}
        support = supports(refined, long)
        for name, i in long.items():
            short = fitting.shortened(asked[i], stated[i], categories[i], support.get(name, {}))
            self.listings[name] = short or Listing("")

    def _refined(self, position: int) -> Listing:
        return self.listings.get(self.rows[position]["product_id"], Listing(""))

    def _pair(self, position: int, rejected: str, kind: str) -> PreferencePair | None:
        """The pair of a product's refined listing and a rejected answer; None where it is not worse."""
        row = self.rows[position]
        category, chosen = row["category"], self._refined(position)
        if self.params.rejected != "as_written":
            written = parse_answer(rejected, self.schema.categories[category])
            wrong = contradicting(chosen, self._told(position, written)) if written else None
            if wrong is None:
                return None
            rejected = answer_text(wrong, self.schema.categories[category])
        return make_pair(self.schema, self._question(position), rejected, kind)

    def short(self, pairs: Iterable[PreferencePair]) -> Iterator[PreferencePair]:
        """The pairs that the model can read; the others are counted."""
        for pair in pairs:
            sides = [(pair.prompt, pair.chosen), (pair.prompt, pair.rejected)]
            if self.fitting and not all(self.fitting.fit(sides)):
                self.too_long += 1
            else:
                yield pair

    def _question(self, position: int) -> ListingQuestion:
        row = self.rows[position]
        prompt = question(self.prompt, row["category"])
        return ListingQuestion(row["product_id"], row["category"], prompt, self._refined(position))

    def _told(self, position: int, listing: Listing) -> Attributes:
        """What a listing says that may be contradicted.

        ``visible_values`` leaves out what no picture shows, such as a brand: it can only be learned by heart.
        ``verified_values`` are only those that this picture speaks against, by the pictures of others.
        """
        said, own = listing.attributes, self._refined(position).attributes
        if self.params.rejected == "visible_values":
            allowed = self.visible.get(self.rows[position]["product_id"], ())
            return {n: v for n, v in said.items() if n in allowed}
        if self.params.rejected == "verified_values":
            supported, refuted = self.verifier.told_apart(position, own, said, margin=0.0)
            return {n: v for n, v in refuted.items() if supported[n] == own[n]}
        return dict(said)

    @cached_property
    def verifier(self) -> PictureVerifier:
        """Says which values a picture supports."""
        return PictureVerifier(self.rows, self.listings, self._vectors(), self.schema, self.evidence_weights)

    def _vectors(self) -> npt.NDArray[np.float32]:
        """Unit vectors of the catalogue's pictures, by row."""
        ids, vectors, _ = read_embeddings(self.embeddings)
        at = {name: i for i, name in enumerate(ids)}
        return vectors[[at[row["product_id"]] for row in self.rows]]

    def own(self, kind: str, answers: OwnAnswers, wanted: int) -> Iterator[PreferencePair]:
        """Pairs of the model's own answers about photos that tuning never saw; see ``own_answers``."""
        params, size = self.params, self.params.batch_size
        torch.manual_seed(params.seed)
        for start in range(0, len(self.unseen), size):
            chosen = self.unseen[start : start + min(size, max(wanted, 1) * 2)]
            asked = (chosen, [self.rows[i]["category"] for i in chosen])
            found: list[Judged | None]
            if kind == "verified":
                both = zip(answers.sampled(*asked), answers.sampled(*asked), strict=True)
                told = zip(chosen, both, strict=True)
                found = [verified(int(i), pair, self.verifier, params.margin) for i, pair in told]
            elif kind == "views":
                found = [agreed(views) for views in answers.of_views(*asked, params.views, params.seed)]
            else:
                one_each = zip(chosen, answers.sampled(*asked), strict=True)
                found = [corrected(answer, self._refined(i)) for i, answer in one_each]
            for position, judged in zip(chosen, found, strict=True):
                if judged and (pair := judged_pair(self.schema, self._question(position), judged, kind)):
                    yield pair

    def seller(self) -> Iterator[PreferencePair]:
        """The seller's own listing, where refinement changed it."""
        for position in self.order:
            row = self.rows[position]
            sold = self.lesson.own(row["category"], listing_of(row))
            raw = answer_text(sold, self.schema.categories[row["category"]])
            if pair := self._pair(position, raw, "seller"):
                yield pair

    def swapped(self) -> Iterator[PreferencePair]:
        """Values of a visually near product of the same category."""
        ordered = self._vectors()
        categories = [row["category"] for row in self.rows]
        near = nearest(ordered, categories, self.order, self.params.neighbours)
        for place, position in enumerate(self.order):
            random = np.random.default_rng([self.params.seed, 1, int(position)])
            candidates = near[place][near[place] >= 0]
            for other in random.permutation(candidates):
                found = swapped_listing(
                    self._refined(position), self._refined(other).attributes, self.params.max_swapped, random
                )
                if found is None:
                    continue
                text = answer_text(found, self.schema.categories[categories[position]])
                if pair := self._pair(position, text, "swapped"):
                    yield pair
                break

    def sampled(
        self, generator: ListingGenerator, pictures: Pictures, wanted: int
    ) -> Iterator[PreferencePair]:
        """The tuned model's own samples that contradict, invent or omit."""
        torch.manual_seed(self.params.seed)
        size = self.params.batch_size
        for start in range(0, len(self.order), size):
            chosen = self.order[start : start + min(size, max(wanted, 1) * 2)]
            categories = [self.rows[i]["category"] for i in chosen]
            for position, answer in zip(
                chosen, generator(pictures.take(chosen), categories, constrained=False), strict=True
            ):
                if not answer.ended or not answer.text.strip() or "\ufffd" in answer.text:
                    continue  # cut, or no text: read again it could be longer than it was written
                if pair := self._pair(position, answer.text, "sampled"):
                    yield pair

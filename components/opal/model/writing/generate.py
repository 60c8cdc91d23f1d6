"""Listings from pictures: batched decoding, free or held to the schema, with a confidence per attribute."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import LogitsProcessorList

from components.catalog.format.schema import CatalogSchema
from components.opal.model.arrangement import arranged
from components.opal.model.language.listing_model import ListingModel, as_input
from components.opal.model.listing_text import Listing, closed, compact_json, parse_answer, question
from components.opal.model.titles.grammar import Titles
from components.opal.model.writing.confidence import (
    ChosenProbabilities,
    StepScores,
    ending_tokens,
    span_confidence,
)
from components.opal.model.writing.conversation import Conversation
from components.opal.model.writing.grammar import Grammars, ListingGrammar
from components.opal.model.writing.growing_cache import growing_cache
from components.opal.model.writing.head_margins import HeadMargins, Lead
from components.opal.model.writing.ready_tokens import as_images, pictures_are_alike, prompt_tokens
from components.stage.progress import Progress
from components.stage.resources.accelerator import autocast, device


@dataclass(frozen=True)
class Generated:
    """What a model wrote about one picture; ``listing`` is None when it is no listing.

    The listing has a title, even where the model wrote none, or one that says more than its attributes.
    """

    text: str
    listing: Listing | None
    confidence: dict[str, float] = field(default_factory=dict)  # per attribute; of "type", "title"
    tokens: int = 0
    ended: bool = True  # by the model itself, not by the limit of tokens
    ids: tuple[int, ...] = ()  # the tokens, without the one that ends
    title_refused: bool = False  # it was written, and held a word that the listing does not support
    seen: dict[str, Lead] = field(default_factory=dict)  # what the value heads think of it, if there are any

    @property
    def whole(self) -> str:
        """The text with the title that the listing got; what is no listing as it was written."""
        try:
            said = json.loads(self.text)
        except (ValueError, RecursionError):
            return self.text
        return compact_json({**said, "title": self.listing.title}) if self.listing else self.text


@dataclass(frozen=True)
class Decoding:
    """How a batch is decoded; ``temperature`` None is greedy."""

    batch_size: int
    max_new_tokens: int
    precision: str
    temperature: float | None = None
    top_p: float = 1.0


class ListingGenerator:
    """Writes listings with one model.

    Args:
        model: in evaluation mode. note: of ``listing.json``, which says what is written of the schema, and in
            which order. schema: of the catalogue.
    """

    def __init__(
        self, model: ListingModel, note: dict[str, Any], schema: CatalogSchema, decoding: Decoding
    ) -> None:
        self.model, self.note, self.decoding = model, note, decoding
        self.schema = arranged(schema, note["attributes"])
        self.device = device()
        self.network = model.model.to(self.device).eval()
        self.conversation = Conversation(model)
        width = int(self.network.get_output_embeddings().weight.shape[0])
        self.titles = Titles.model_validate(note["titles"])
        limits = (note["max_title_chars"], note["require_attributes"])
        written = self.titles.kind == "written"
        self.grammars = Grammars(self.schema, model.tokenizer, width, *limits, titled=written)
        decode = self.grammars.tokenizer.decode_bytes
        tokens = [decode([token]) for token in range(len(model.tokenizer))]
        self._bytes = np.array([len(token) for token in tokens], np.int64)
        self._endings = [torch.tensor(ids, device=self.device) for ids in ending_tokens(tokens)]
        self._prompts: dict[str, list[int]] = {}  # their tokens, pictures' included
        self._heads = HeadMargins.of(self.network)
        self._ends = self.conversation.ends

    def __call__(
        self,
        pictures: npt.NDArray[Any],
        categories: Sequence[str],
        *,
        constrained: bool,
        what: str = "",
        printed: Sequence[frozenset[str]] = (),
    ) -> list[Generated]:
        """Listings of square pictures ``[N, px, px, 3]``, or of a tower's tokens of them, in their order.

        Rows are decoded in batches of one category, so that rows of a batch end at about the same time.

        Args:
            printed: words that each picture spells, which its title may hold; empty where nobody read them.
        """
        order = sorted(range(len(categories)), key=lambda i: (categories[i], i))
        out: list[Generated | None] = [None] * len(categories)
        progress = Progress(what, len(categories), "listings") if what else None
        for start in range(0, len(order), self.decoding.batch_size):
            chosen = order[start : start + self.decoding.batch_size]
            batch = self._batch(pictures[chosen], [categories[i] for i in chosen], constrained)
            for place, generated in zip(chosen, batch, strict=True):
                words = printed[place] if printed else frozenset()
                out[place] = self._with_title(generated, categories[place], words)
            if progress:
                progress.advance(len(chosen))
        return [generated for generated in out if generated is not None]

    def both(
        self,
        pictures: npt.NDArray[Any],
        categories: Sequence[str],
        what: str = "",
        printed: Sequence[frozenset[str]] = (),
    ) -> tuple[list[Generated], list[Generated]]:
        """Greedy listings written freely, and held to the schema.

        Where the grammar allows every token of a free answer it would have changed none, so only the other
        answers are written again. A confidence is then the model's own, before any token is forbidden.
        """
        told = f"{what}, free" if what else ""
        free = self(pictures, categories, constrained=False, what=told, printed=printed)
        held = list(free)
        bad = [i for i, g in enumerate(free) if not self._allowed(g, categories[i])]
        if bad:
            again = self(
                pictures[bad],
                [categories[i] for i in bad],
                constrained=True,
                what=f"{what}, by schema" if what else "",
                printed=[printed[i] for i in bad] if printed else (),
            )
            for i, generated in zip(bad, again, strict=True):
                held[i] = generated
        return free, held

    def _allowed(self, generated: Generated, category: str) -> bool:
        """Whether the category's grammar would have let every token of an answer pass."""
        matcher = self.grammars.matcher(category)
        count = len(generated.ids)
        return (
            generated.ended
            and matcher.try_consume_tokens(list(generated.ids)) == count
            and bool(matcher.is_accepting())
        )

    def _inputs(self, pictures: npt.NDArray[Any], categories: Sequence[str]) -> Any:
        """What the model reads: prompts padded on the left, with pictures."""
        questions = [question(self.note["prompt"], category) for category in categories]
        prompts = [self.conversation.prompt(question) for question in questions]
        if pictures_are_alike(self.model, pictures):
            return self._ready(pictures, prompts)
        return self.model.processor(
            images=[[image] for image in as_images(self.model, pictures)],
            text=prompts,
            padding=True,
            padding_side="left",
            add_special_tokens=False,
            return_tensors="pt",
        ).to(self.device)

    def _ready(self, pictures: npt.NDArray[Any], prompts: Sequence[str]) -> dict[str, Any]:
        """The processor's batch from prompts whose tokens are known."""
        new = [prompt for prompt in prompts if prompt not in self._prompts]
        self._prompts |= prompt_tokens(self.model, new)
        rows = [self._prompts[prompt] for prompt in prompts]
        shape = (len(rows), max(map(len, rows)))
        ids = np.full(shape, self.model.tokenizer.pad_token_id, np.int64)
        mask = np.zeros(shape, np.int64)
        for place, row in enumerate(rows):
            ids[place, -len(row) :], mask[place, -len(row) :] = row, 1
        made = {"input_ids": ids, "attention_mask": mask}
        inputs = {name: torch.from_numpy(array).to(self.device) for name, array in made.items()}
        return {**inputs, "pixel_values": as_input(pictures).to(self.device)}

    def _batch(
        self, pictures: npt.NDArray[Any], categories: Sequence[str], constrained: bool
    ) -> list[Generated]:
        """Decode one batch."""
        inputs = self._inputs(pictures, categories)
        scores = None
        if self._heads is not None:
            inputs["pixel_values"], scores = self._heads.look(inputs["pixel_values"])
        length = int(inputs["input_ids"].shape[1])
        chosen = ChosenProbabilities(self._endings)
        grammar = [ListingGrammar(self.grammars, categories, length)] if constrained else []
        sampling = self.decoding.temperature is not None
        options: dict[str, Any] = {"do_sample": sampling}
        if sampling:
            options |= {"temperature": self.decoding.temperature, "top_p": self.decoding.top_p, "top_k": 0}
        with torch.inference_mode(), autocast(self.device, self.decoding.precision):
            sequences = self.network.generate(
                **inputs,
                max_new_tokens=min(self.decoding.max_new_tokens, self.model.context_length - length),
                logits_processor=LogitsProcessorList([*grammar, chosen]),
                pad_token_id=self.model.tokenizer.pad_token_id,
                eos_token_id=self._ends,
                past_key_values=growing_cache(self.network.config),
                **options,
            )
        answers = sequences[:, length:].cpu().numpy()
        rows = zip(answers, chosen.rows(), categories, strict=True)
        written = [self._generated(ids, row, category, constrained) for ids, row, category in rows]
        return written if scores is None else self._judged(written, categories, scores)

    def _judged(
        self, written: Sequence[Generated], categories: Sequence[str], scores: npt.NDArray[np.float32]
    ) -> list[Generated]:
        """The same answers with what the value heads think of them; ``scores`` are of their pictures."""
        assert self._heads is not None
        return [
            replace(one, seen=self._heads.leads(one.listing, self.schema.categories.get(category), row))
            if one.listing is not None
            else one
            for one, category, row in zip(written, categories, scores, strict=True)
        ]

    def _generated(
        self, ids: npt.NDArray[np.int64], scores: StepScores, category: str, constrained: bool
    ) -> Generated:
        """One row's tokens as text, and as a listing with confidences where it is one.

        What is held to the schema is a listing even where the limit of tokens came first.
        """
        ended = np.flatnonzero(np.isin(ids, self._ends))
        kept = ids[: ended[0]] if len(ended) else ids
        text = self.model.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        known = self.schema.categories.get(category)
        text = closed(text, known) if constrained and not len(ended) else text
        listing = parse_answer(text, known)
        confidence = {}
        if listing is not None:
            ends = np.cumsum(self._bytes[kept])
            confidence = span_confidence(text, np.concatenate([[0], ends[:-1]]), ends, scores)
        return Generated(text, listing, confidence, len(kept), bool(len(ended)), tuple(kept.tolist()))

    def _with_title(self, generated: Generated, category: str, printed: frozenset[str]) -> Generated:
        """The answer with the title that its listing gets."""
        if (listing := generated.listing) is None:
            return generated
        titled = self.titled(category, replace(listing, printed=printed))
        refused = bool(listing.title) and titled.title != listing.title
        return replace(generated, listing=titled, title_refused=refused)

    def titled(self, category: str, listing: Listing) -> Listing:
        """A listing with a title: its own where that says no more than the listing, or a composed one."""
        limit = self.note["max_title_chars"]
        fits = len(listing.title) <= limit and self.titles.supports(category, listing)
        if self.titles.kind == "written" and listing.title.strip() and fits:
            return listing
        return replace(listing, title=self.titles.compose(category, listing, limit))

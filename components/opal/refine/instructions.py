"""Contextual understanding (LACU, arXiv 2508.10116).

From each refined record questions of several grains about its picture are written, with answers that follow
from the record; every answer is checked to be entailed before it is kept. Our choice: grains and wording.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from components.catalog.format.attributes import Value, each
from components.catalog.format.schema import CatalogSchema, Category
from components.evidence.listing import SellerListing
from components.opal.model.listing_text import PARTS, Listing, answer_text, as_text, compact_json, value_text
from components.opal.refine.params import InstructionParams

INSTRUCTIONS = pa.schema([(n, pa.string()) for n in ("product_id", "split", "grain", "prompt", "answer")])
NOT_VISIBLE = "not visible"
# Each question in a few wordings, so that a model learns what is asked and not a phrase.
WORDINGS: Mapping[str, tuple[str, ...]] = {
    "listing": (
        "Write the listing of this {category} item as JSON with its type, attributes and title.",
        "Fill in the whole listing form for this {category} item. Answer in JSON.",
    ),
    "attribute": ("What is the {names} of this item?", "Name its {names}.", "{names}?"),
    "attributes": (
        "Give the {names} of this item as JSON.",
        "Fill in these attributes as JSON: {names}.",
    ),
    "title": ("Write a title for this item.", "How would you call this item in a listing?"),
    "visible": (
        "Which attributes of this item can one tell from the picture? Answer with a JSON list.",
        "List the attributes that this picture shows, as JSON.",
    ),
    "not_visible": ("What is the {names} of this item, by the picture?", "Can you see its {names}?"),
}


@dataclass(frozen=True)
class Instruction:
    """One question about a product's picture and its answer; ``asked`` are the attributes it names."""

    product_id: str
    split: str
    grain: str
    prompt: str
    answer: str
    asked: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Record:
    listing: SellerListing  # refined
    category: Category | None
    visible: tuple[str, ...]  # names of its attributes that pictures can tell
    hidden: tuple[str, ...]  # names of attributes of its category that they cannot
    random: np.random.Generator
    most: int

    def draw(self, names: Sequence[str], count: int) -> tuple[str, ...]:
        """Some of the names, in their order."""
        return tuple(names[int(i)] for i in sorted(self.random.permutation(len(names))[:count]))

    @property
    def whole(self) -> Listing:
        """The listing as a model would write it."""
        return Listing(self.listing.title, self.listing.attributes, self.listing.product_type)


class EntailedReply(NamedTuple):
    """The answer to a question of one grain; ``asked`` are the attributes that the question names.

    It is compact JSON for every grain but ``attribute``, ``title`` and ``not_visible``, which are text.
    """

    grain: str
    answer: str
    asked: tuple[str, ...] = ()


def _reply(record: _Record, grain: str) -> EntailedReply | None:
    """The answer to a question of a grain; None where the record cannot answer it."""
    listing, category = record.listing, record.category
    match grain:
        case "listing" if listing.title:
            return EntailedReply(grain, answer_text(record.whole, category))
        case "title" if listing.title:
            return EntailedReply(grain, listing.title)
        case "visible" if record.visible:
            return EntailedReply(grain, compact_json(list(record.visible)))
        case "not_visible" if asked := record.draw(record.hidden, 1):
            return EntailedReply(grain, NOT_VISIBLE, asked)
        case "attribute" if asked := record.draw(record.visible, 1):
            text = value_text(category, asked[0], listing.attributes[asked[0]])
            return EntailedReply(grain, text, asked)
        case "attributes" if len(record.visible) > 1:
            most = min(record.most, len(record.visible))
            asked = record.draw(record.visible, int(record.random.integers(2, most + 1)))
            chosen = Listing("", {name: listing.attributes[name] for name in asked})
            text = answer_text(chosen, category).removeprefix('{"attributes":')[:-1]
            return EntailedReply(grain, text, asked)
    return None


class InstructionWriter:
    """Writes the samples of refined records, offline: a pure function of (seed, record, schema, parameters).

    ``refused`` counts, by grain, the answers that were not entailed and therefore not kept.
    """

    def __init__(
        self, params: InstructionParams, schema: CatalogSchema, visible: Collection[str], seed: int
    ) -> None:
        self._params, self._schema, self._visible, self._seed = params, schema, frozenset(visible), seed
        self.refused: Counter[str] = Counter()

    def write(self, listing: SellerListing) -> list[Instruction]:
        """The samples of one refined listing, in the order of ``grains``, without those it cannot answer."""
        category = self._schema.categories.get(listing.category)
        digest = hashlib.sha256(f"instructions\x1f{self._seed}\x1f{listing.product_id}".encode()).digest()
        names = list(category.attributes) if category else []
        record = _Record(
            listing,
            category,
            tuple(n for n in names if n in listing.attributes and n in self._visible),
            tuple(n for n in names if n not in self._visible),
            np.random.default_rng(int.from_bytes(digest[:8], "big")),
            self._params.most_attributes,
        )
        written = [self._sample(record, grain) for grain in self._params.grains]
        return [sample for sample in written if sample is not None]

    def _sample(self, record: _Record, grain: str) -> Instruction | None:
        """One question of a grain with its answer; None where the record cannot answer it."""
        reply, listing = _reply(record, grain), record.listing
        if reply is None:
            return None
        if not entailed(reply, record.whole, self._visible, record.category):
            self.refused[grain] += 1
            return None
        wording = WORDINGS[grain][int(record.random.integers(len(WORDINGS[grain])))]
        said = ", ".join(name.replace("_", " ") for name in reply.asked)
        # Names are put in by replacing, not formatting: a schema's name may hold braces.
        prompt = wording.replace("{names}", said).replace("{category}", listing.category)
        prompt = prompt[:1].upper() + prompt[1:]
        return Instruction(listing.product_id, listing.split, grain, prompt, reply.answer, reply.asked)


def instruction_table(samples: Sequence[Instruction]) -> pa.Table:
    """Samples as rows of ``INSTRUCTIONS``."""
    return pa.Table.from_pylist([vars(s) for s in samples], schema=INSTRUCTIONS)


def _states(attributes: object, record: Mapping[str, Value], category: Category | None) -> bool:
    """Whether every pair of a JSON object is a pair of the record and of the category's schema."""
    if not isinstance(attributes, dict):
        return False
    known = category.attributes if category else {}
    return all(
        name in known and _is(record.get(name), value, known[name].multiple)
        for name, value in attributes.items()
    )


def _is(stated: Value | None, said: object, multiple: bool) -> bool:
    """Whether an answer's value, or its list of an attribute that may hold several, is the record's."""
    held = said if multiple and isinstance(said, list) else [said]
    if any(isinstance(part, dict | list | bool) for part in held) or len(held) != len(each(stated)):
        return False
    return all(any(_same(text, part) for part in held) for text in each(stated))


def _same(stated: str, said: object) -> bool:
    """Whether an answer's value is the record's."""
    if said is None:
        return False
    text = as_text(said)
    if isinstance(said, str):
        return text == stated
    try:  # a number may be written in other digits than the record's: 500 and 500.0
        return float(text) == float(stated)
    except ValueError:
        return False


def entailed(
    reply: EntailedReply, record: Listing, visible: Collection[str], category: Category | None
) -> bool:
    """Whether a reply follows from the refined record.

    Args:
        visible: attributes whose values a picture can tell. category: of the schema; a reply may name only
            its attributes.
    """
    grain, answer, asked = reply
    if grain == "title":
        return bool(record.title) and answer == record.title
    if grain == "attribute":
        stated = {name: record.attributes[name] for name in asked if name in record.attributes}
        return len(asked) == 1 and any(value_text(category, *fact) == answer for fact in stated.items())
    if grain == "not_visible":
        return answer == NOT_VISIBLE and not set(asked) & set(visible)
    try:
        said = json.loads(answer)
    except (ValueError, RecursionError):
        return False
    if grain == "visible":
        names = said if isinstance(said, list) else [None]
        return all(isinstance(n, str) and n in visible and n in record.attributes for n in names)
    if not isinstance(said, dict):
        return False
    if grain == "attributes":
        return set(said) == set(asked) and _states(said, record.attributes, category)
    if grain == "listing":
        whole = {"attributes", "title"} <= set(said) <= PARTS and record.title
        if not whole or said["title"] != record.title:
            return False
        told = said.get("type", record.product_type) == record.product_type
        return told and _states(said["attributes"], record.attributes, category)
    return False

"""Contextual understanding (LACU, arXiv 2508.10116).

From each refined record questions of several grains about its picture are written, with answers that follow
from the record; every answer is checked to be entailed before it is kept. Our choice: grains and wording.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from components.catalog.format.schema import CatalogSchema, Category
from components.evidence.listing import SellerListing
from components.opal.model.listing_text import Listing, answer_text, compact_json, value_text
from components.opal.refine.entailment import NOT_VISIBLE, EntailedReply, entailed
from components.opal.refine.params import InstructionParams

INSTRUCTIONS = pa.schema([(n, pa.string()) for n in ("product_id", "split", "grain", "prompt", "answer")])
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


def _draw(record: _Record, names: Sequence[str], count: int) -> tuple[str, ...]:
    return tuple(names[int(i)] for i in sorted(record.random.permutation(len(names))[:count]))


def _listing(record: _Record) -> tuple[str, tuple[str, ...]] | None:
    if not record.listing.title:
        return None
    return answer_text(_whole(record.listing), record.category), ()


def _whole(listing: SellerListing) -> Listing:
    return Listing(listing.title, listing.attributes, listing.product_type)


def _attribute(record: _Record) -> tuple[str, tuple[str, ...]] | None:
    asked = _draw(record, record.visible, 1)
    return (
        (value_text(record.category, asked[0], record.listing.attributes[asked[0]]), asked) if asked else None
    )


def _attributes(record: _Record) -> tuple[str, tuple[str, ...]] | None:
    if len(record.visible) < 2:
        return None
    most = min(record.most, len(record.visible))
    asked = _draw(record, record.visible, int(record.random.integers(2, most + 1)))
    chosen = Listing("", {name: record.listing.attributes[name] for name in asked})
    return answer_text(chosen, record.category).removeprefix('{"attributes":')[:-1], asked


def _title(record: _Record) -> tuple[str, tuple[str, ...]] | None:
    return (record.listing.title, ()) if record.listing.title else None


def _visible(record: _Record) -> tuple[str, tuple[str, ...]] | None:
    return (compact_json(list(record.visible)), ()) if record.visible else None


def _not_visible(record: _Record) -> tuple[str, tuple[str, ...]] | None:
    asked = _draw(record, record.hidden, 1)
    return (NOT_VISIBLE, asked) if asked else None


GRAINS: Mapping[str, Callable[[_Record], tuple[str, tuple[str, ...]] | None]] = {
    "listing": _listing,
    "attribute": _attribute,
    "attributes": _attributes,
    "title": _title,
    "visible": _visible,
    "not_visible": _not_visible,
}


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
        found = GRAINS[grain](record)
        if found is None:
            return None
        answer, asked = found
        listing = record.listing
        if not entailed(EntailedReply(grain, answer, asked), _whole(listing), self._visible, record.category):
            self.refused[grain] += 1
            return None
        wording = WORDINGS[grain][int(record.random.integers(len(WORDINGS[grain])))]
        said = ", ".join(name.replace("_", " ") for name in asked)
        # Names are put in by replacing, not formatting: a schema's name may hold braces.
        prompt = wording.replace("{names}", said).replace("{category}", listing.category)
        return Instruction(
            listing.product_id, listing.split, grain, prompt[:1].upper() + prompt[1:], answer, asked
        )


def instruction_table(samples: Sequence[Instruction]) -> pa.Table:
    """Samples as rows of ``INSTRUCTIONS``."""
    columns = {name: [getattr(s, name) for s in samples] for name in INSTRUCTIONS.names}
    return pa.table(columns, schema=INSTRUCTIONS)

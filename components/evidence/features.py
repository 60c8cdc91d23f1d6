"""What speaks for each value an attribute may have: picture, text, siblings, and what its type usually is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from components.catalog.format.attributes import each
from components.catalog.format.schema import CatalogSchema
from components.encoder.model.features.captions import attribute_phrase
from components.evidence.example_pictures import ALL, ExamplePictures, fold_of
from components.evidence.listing import SellerListing
from components.evidence.mentions import Mentions
from components.evidence.observed import ObservedEvidence
from components.evidence.params import EvidenceParams

# The features of one value of one attribute of one listing, in this order.
FEATURES = ("prompt", "examples", "type", "mention", "named_mention", "siblings")
PICTURE = [0, 1]
MOST_SIBLINGS = 3.0  # more that agree say nothing new
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AttributeEvidence:
    """Features of listings of one batch about one attribute of one category.

    Attributes:
        rows: places in the batch ``[n]``. stated: places of the stated values among ``values`` ``[n]``,
            -1 for none. A listing that states several values has a row for each: a set is so many draws.
        held: the other values that the listing states, bool ``[n, values]``.
        features: ``[n, values, len(FEATURES)]``. plausible: values that the type's train listings state,
            bool ``[n, values]``.
    """

    name: str
    values: tuple[str, ...]
    rows: npt.NDArray[np.int64]
    stated: npt.NDArray[np.int64]
    features: Floats
    plausible: npt.NDArray[np.bool_]
    held: npt.NDArray[np.bool_]


class _Stated(NamedTuple):
    """A value that a listing of a batch states of an attribute, among all that is known of it."""

    row: int
    listing: SellerListing
    value: str  # empty: it states none
    known: Sequence[str]
    mentions: Mapping[tuple[str, str], bool]  # what its texts, siblings and picture say
    siblings: Counter[tuple[str, str]]
    scores: Mapping[str, tuple[Floats, Floats]]


class TextEncoder(Protocol):
    """Encodes texts into the space of the pictures' vectors."""

    def texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors ``[n, D]``."""
        ...


class EvidenceReader:
    """Gathers evidence for batches of listings.

    Args:
        encoder: asked for the values' prompts, if the parameters ask for them.
    """

    def __init__(
        self, encoder: TextEncoder, observed: ObservedEvidence, schema: CatalogSchema, params: EvidenceParams
    ) -> None:
        assert observed.pictures is not None
        self._encoder, self._prompt, self._folds = encoder, params.prompt, params.folds
        self._silent = [i for i, name in enumerate(FEATURES) if name not in params.evidence]
        self._pictures: ExamplePictures = observed.pictures
        self._siblings = observed.siblings
        self._mentions = Mentions(schema, observed.words, observed.synonyms)
        self._closed = schema.closed_attributes()
        # by category and type, vectors of every value's prompt [values, d] of an attribute; None: not asked
        self._texts: dict[tuple[str, str], dict[str, Floats | None]] = {}
        self._asks_prompts = "prompt" in params.evidence

    def read(self, listings: Sequence[SellerListing], unstated: bool = False) -> list[AttributeEvidence]:
        """The evidence of a batch, by category and attribute; listings without a vector have none.

        Args:
            unstated: also about attributes that a listing states no known value of.
        """
        mentions = [self._mentions.of(listing) for listing in listings]
        siblings, scores = self._siblings.of(listings), self._picture_scores(listings)
        parts: defaultdict[tuple[str, str], list[_Stated]] = defaultdict(list)
        for i, listing in enumerate(listings):
            judged = self._pictures.judged(listing.category)
            for name, values in judged.items() if len(listing.vector) else ():
                known = [value for value in each(listing.attributes.get(name)) if value in values]
                for value in known or ([""] if unstated else []):
                    stated = _Stated(i, listing, value, known, mentions[i], siblings[i], scores[i])
                    parts[(listing.category, name)].append(stated)
        return [self._evidence(key, stated) for key, stated in sorted(parts.items())]

    def _evidence(self, key: tuple[str, str], members: Sequence[_Stated]) -> AttributeEvidence:
        """Everything about one attribute of one category, of some listings of the batch."""
        category, name = key
        values = self._pictures.judged(category)[name]
        place = {value: k for k, value in enumerate(values)}
        features = np.zeros((len(members), len(values), len(FEATURES)))
        usual = self._usual(category, name, values, members)
        features[:, :, 2] = np.log(usual)
        for at, member in enumerate(members):
            features[at, :, 0], features[at, :, 1] = member.scores[name]
            for (attribute, value), named in member.mentions.items():
                if attribute == name and value in place:
                    features[at, place[value], 3:5] = 1.0, float(named)
            for (attribute, value), count in member.siblings.items():
                if attribute == name and value in place:
                    features[at, place[value], 5] = min(count, MOST_SIBLINGS)
        features[:, :, self._silent] = 0.0
        stated = np.array([place.get(m.value, -1) for m in members], np.int64)
        held = np.array([[v in m.known and v != m.value for v in values] for m in members], np.bool_)
        plausible = usual > 0.25 / len(values)
        rows = np.array([member.row for member in members], np.int64)
        return AttributeEvidence(name, values, rows, stated, features, plausible & ~held, held)

    def _picture_scores(self, listings: Sequence[SellerListing]) -> list[dict[str, tuple[Floats, Floats]]]:
        """Per listing and attribute the scores of its values by prompt and by example pictures."""
        parts: defaultdict[tuple[str, str, int], list[int]] = defaultdict(list)
        for i, x in enumerate(listings):
            if len(x.vector) and self._pictures.judged(x.category):
                fold = fold_of(x.group_id, self._folds) if x.split == "train" else ALL
                parts[(x.category, x.product_type, fold)].append(i)
        self._ask({(category, kind) for category, kind, _ in parts})
        out: list[dict[str, tuple[Floats, Floats]]] = [{} for _ in listings]
        for (category, kind, fold), rows in sorted(parts.items()):
            vectors = np.stack([listings[i].vector for i in rows]).astype(np.float64)
            texts = self._texts[category, kind]
            found = self._pictures.discriminants(category, fold)
            for name, prompts in texts.items():
                by_example = np.zeros((len(rows), len(self._pictures.judged(category)[name])))
                by_prompt = by_example if prompts is None else vectors @ prompts.T
                if found is not None:
                    centred = vectors - found.means.get(kind, found.overall)
                    by_example = centred @ found.weights[name] + found.bias[name]
                for at, i in enumerate(rows):
                    out[i][name] = (by_prompt[at], by_example[at])
        return out

    def _ask(self, kinds: Collection[tuple[str, str]]) -> None:
        """Vectors of every value's prompt, of the kinds that are new: in one call, for few texts pad most of
        each batch that they are encoded in."""
        new = sorted(set(kinds) - self._texts.keys())
        judged = [self._pictures.judged(category) for category, _ in new]
        if not self._asks_prompts:
            self._texts |= {key: dict.fromkeys(names) for key, names in zip(new, judged, strict=True)}
        elif new:
            texts = [
                # Replaced, not formatted: a schema's words may hold braces.
                self._prompt.replace("{value}", attribute_phrase(name, value, self._closed))
                .replace("{name}", name.replace("_", " "))
                .replace("{product_type}", kind)
                for (_, kind), names in zip(new, judged, strict=True)
                for name, values in names.items()
                for value in values
            ]
            vectors = self._encoder.texts(texts).astype(np.float64)
            ends = np.cumsum([len(values) for names in judged for values in names.values()])
            parts = iter(np.split(vectors, ends[:-1]))
            for key, names in zip(new, judged, strict=True):
                self._texts[key] = {name: next(parts) for name in names}

    def _usual(self, category: str, name: str, values: Sequence[str], members: Sequence[_Stated]) -> Floats:
        """How often train listings of each member's type state each value, without the member itself."""
        counts = self._pictures.counts(category)
        kinds = {member.listing.product_type for member in members}
        rows = {kind: [float(counts[(kind, name, v)]) for v in values] for kind in kinds}
        out = np.array([rows[member.listing.product_type] for member in members])
        for at, member in enumerate(members):
            if member.listing.split == "train" and member.value in values:
                out[at, values.index(member.value)] -= 1
        out += 0.5
        return np.asarray(out / out.sum(axis=1, keepdims=True))

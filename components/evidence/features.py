"""What speaks for each value an attribute may have: picture, text, siblings, and what its type usually is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.catalog.format.schema import CatalogSchema
from components.encoder.model.features.captions import attribute_phrase
from components.encoder.model.features.encode import BatchEncoder
from components.evidence.example_pictures import ALL, ExamplePictures, fold_of
from components.evidence.listing import SellerListing
from components.evidence.mentions import Mentions
from components.evidence.observed import Observed
from components.evidence.params import SupportParams

# The features of one value of one attribute of one listing, in this order.
FEATURES = ("prompt", "examples", "type", "mention", "named_mention", "siblings")
PICTURE = [0, 1]
MOST_SIBLINGS = 3.0  # more that agree say nothing new
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """Features of the listings of one batch that state one attribute, in one category.

    Attributes:
        rows: places in the batch ``[n]``. stated: places of the stated values among ``values`` ``[n]``.
        features: ``[n, values, len(FEATURES)]``. plausible: values that the type's train listings state,
            bool ``[n, values]``.
    """

    name: str
    values: tuple[str, ...]
    rows: npt.NDArray[np.int64]
    stated: npt.NDArray[np.int64]
    features: Floats
    plausible: npt.NDArray[np.bool_]


class EvidenceReader:
    """Gathers evidence for batches of listings."""

    def __init__(
        self, encoder: BatchEncoder, observed: Observed, schema: CatalogSchema, params: SupportParams
    ) -> None:
        assert observed.pictures is not None
        self._encoder, self._prompt, self._folds = encoder, params.prompt, params.folds
        self._silent = [i for i, name in enumerate(FEATURES) if name not in params.evidence]
        self._pictures: ExamplePictures = observed.pictures
        self._siblings = observed.siblings
        self._mentions = Mentions(schema, observed.words, observed.synonyms)
        self._closed = schema.closed_attributes()
        self._texts: dict[tuple[str, str], dict[str, Floats]] = {}

    def read(self, listings: Sequence[SellerListing]) -> list[Evidence]:
        """The evidence of a batch, by category and attribute; listings without a vector have none."""
        mentions = [self._mentions.of(listing) for listing in listings]
        siblings = self._siblings.of(listings)
        parts: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for i, listing in enumerate(listings):
            judged = self._pictures.judged(listing.category)
            for name, value in listing.attributes.items():
                if len(listing.vector) and value in judged.get(name, ()):
                    parts[(listing.category, name)].append(i)
        pictures = self._picture_scores(listings)
        found = []
        for (category, name), rows in sorted(parts.items()):
            values = self._pictures.judged(category)[name]
            members = [listings[i] for i in rows]
            features = np.zeros((len(rows), len(values), len(FEATURES)))
            for at, i in enumerate(rows):
                features[at, :, 0], features[at, :, 1] = pictures[i][name]
            usual = self._usual(category, name, values, members)
            features[:, :, 2] = np.log(usual)
            for at, i in enumerate(rows):
                for v, value in enumerate(values):
                    if (name, value) in mentions[i]:
                        features[at, v, 3] = 1.0
                        features[at, v, 4] = float(mentions[i][(name, value)])
                    if count := siblings[i].get((name, value), 0):
                        features[at, v, 5] = min(count, MOST_SIBLINGS)
            features[:, :, self._silent] = 0.0
            stated = np.array([values.index(m.attributes[name]) for m in members], np.int64)
            plausible = usual > 0.25 / len(values)
            found.append(Evidence(name, values, np.array(rows, np.int64), stated, features, plausible))
        return found

    def _picture_scores(self, listings: Sequence[SellerListing]) -> list[dict[str, tuple[Floats, Floats]]]:
        """Per listing and attribute the scores of its values by prompt and by example pictures."""
        parts: defaultdict[tuple[str, str, int], list[int]] = defaultdict(list)
        for i, x in enumerate(listings):
            if len(x.vector) and self._pictures.judged(x.category):
                fold = fold_of(x.group_id, self._folds) if x.split == "train" else ALL
                parts[(x.category, x.product_type, fold)].append(i)
        out: list[dict[str, tuple[Floats, Floats]]] = [{} for _ in listings]
        for (category, kind, fold), rows in sorted(parts.items()):
            vectors = np.stack([listings[i].vector for i in rows]).astype(np.float64)
            texts = self._prompts(category, kind)
            found = self._pictures.discriminants(category, fold)
            for name, prompts in texts.items():
                by_prompt = vectors @ prompts.T
                by_example = np.zeros_like(by_prompt)
                if found is not None:
                    centred = vectors - found.means.get(kind, found.overall)
                    by_example = centred @ found.weights[name] + found.bias[name]
                for at, i in enumerate(rows):
                    out[i][name] = (by_prompt[at], by_example[at])
        return out

    def _prompts(self, category: str, kind: str) -> dict[str, Floats]:
        """Vectors of every value's prompt, by attribute ``[values, d]``."""
        key = (category, kind)
        if key not in self._texts:
            judged = self._pictures.judged(category)
            texts = [
                # Replaced, not formatted: a schema's words may hold braces.
                self._prompt.replace("{value}", attribute_phrase(name, value, self._closed))
                .replace("{name}", name.replace("_", " "))
                .replace("{product_type}", kind)
                for name, values in judged.items()
                for value in values
            ]
            vectors = self._encoder.texts(texts).astype(np.float64)
            ends = np.cumsum([len(values) for values in judged.values()])
            parts = np.split(vectors, ends[:-1])
            self._texts[key] = dict(zip(judged, parts, strict=True))
        return self._texts[key]

    def _usual(
        self, category: str, name: str, values: Sequence[str], members: Sequence[SellerListing]
    ) -> Floats:
        """How often train listings of each member's type state each value, without the member itself."""
        counts = self._pictures.counts(category)
        out = np.empty((len(members), len(values)))
        rows: dict[str, Floats] = {}
        for at, member in enumerate(members):
            kind = member.product_type
            if kind not in rows:
                rows[kind] = np.array([float(counts[(kind, name, v)]) for v in values])
            out[at] = rows[kind]
            if member.split == "train":
                out[at, values.index(member.attributes[name])] -= 1
        out += 0.5
        normalised: Floats = out / out.sum(axis=1, keepdims=True)
        return normalised

"""Which of two values the picture supports, by other pictures: a signal from outside the model's belief.

The pictures of train listings that state a value tell it apart from others by linear discriminants
(components/evidence), and so does how often listings of its type state it. Both weigh as refinement has
measured on validation listings. A picture is judged by listings of other folds of groups, never by its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.catalog.format.attributes import Value, each
from components.catalog.format.schema import CatalogSchema
from components.evidence.example_pictures import ExamplePictures, fold_of
from components.evidence.listing import SellerListing
from components.evidence.params import EvidenceParams
from components.opal.model.listing_text import Listing

UNMEASURED = (0.3, 0.8)  # weights where refinement asked no pictures: about what it finds on the demo


def measured_weights(calibration: Path) -> dict[str, tuple[float, float]]:
    """Weights of discriminants and of frequency that refinement fitted, by attribute; empty without them."""
    fitted = json.loads(calibration.read_text(encoding="utf-8")) if calibration.exists() else {}
    return {
        name: (max(of["weights"]["examples"], 0.0), max(of["weights"]["type"], 0.0))
        for name, of in fitted.items()
        if isinstance(of, dict) and {"examples", "type"} <= set(of.get("weights", ()))
    }


class PictureVerifier:
    """Compares values of closed attributes by the picture of a train product.

    Args:
        rows: of the catalogue. listings: refined ones by product id. vectors: of pictures ``[rows, d]``.
        weights: by attribute, of discriminants and of the logarithm of how often; ``all`` for the others.
    """

    def __init__(
        self,
        rows: Sequence[Mapping[str, Any]],
        listings: Mapping[str, Listing],
        vectors: npt.NDArray[np.float32],
        schema: CatalogSchema,
        weights: Mapping[str, tuple[float, float]],
    ) -> None:
        self.rows, self.vectors, self._folds = rows, vectors, EvidenceParams().folds
        self._listings, self._weights = listings, {"all": UNMEASURED, **weights}
        self._pictures = ExamplePictures(schema, EvidenceParams())
        texts = ("product_id", "split", "category", "product_type", "group_id")
        self._pictures.add(
            [
                SellerListing(
                    **{name: row[name] for name in texts},
                    title="",
                    description="",
                    attributes=listings[row["product_id"]].attributes,
                    vector=vectors[at],
                )
                for at, row in enumerate(rows)
                if row["split"] == "train" and row["product_id"] in listings
            ]
        )

    def scores(self, position: int) -> dict[str, dict[str, float]]:
        """Attribute to value to its log-probability by the picture of a row, up to a constant."""
        row = self.rows[position]
        fold = fold_of(row["group_id"], self._folds)
        found = self._pictures.discriminants(row["category"], fold)
        if found is None:
            return {}
        kind = row["product_type"]
        centred = self.vectors[position] - found.means.get(kind, found.overall)
        own = self._listings.get(row["product_id"], Listing("")).attributes
        counts, out = self._pictures.counts(row["category"]), {}
        for name, values in self._pictures.judged(row["category"]).items():
            shown = centred @ found.weights[name] + found.bias[name]
            stated = [counts[kind, name, value] - (value in each(own.get(name, ""))) for value in values]
            picture, usual = self._weights.get(name, self._weights["all"])
            score = picture * shown + usual * np.log(np.maximum(stated, 0) + 0.5)
            out[name] = dict(zip(values, score.tolist(), strict=True))
        return out

    def told_apart(
        self, position: int, first: Mapping[str, Value], second: Mapping[str, Value], margin: float
    ) -> tuple[dict[str, Value], dict[str, Value]]:
        """Where answers differ by at least ``margin`` in log-odds: the supported values, and the others."""
        scores = self.scores(position)
        supported: dict[str, Value] = {}
        refuted: dict[str, Value] = {}
        for name in sorted(set(first) & set(second)):
            values = [*each(first[name]), *each(second[name])]
            known = scores.get(name, {})
            if len(values) != 2 or values[0] == values[1] or not all(value in known for value in values):
                continue
            odds = known[values[0]] - known[values[1]]
            if abs(odds) >= margin:
                supported[name], refuted[name] = values if odds > 0 else reversed(values)
        return supported, refuted

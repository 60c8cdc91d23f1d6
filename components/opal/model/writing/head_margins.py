"""What the value heads of a model's vision tower think of the values that it wrote: a second witness.

A head regresses whether a listing states its value, so the lead of a value's head over the best other value
of the attribute says how surely the picture tells that value, without any word that was written before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from components.catalog.format.attributes import each
from components.catalog.format.schema import Category
from components.opal.model.language.pictures import tower_of
from components.opal.model.language.value_heads import TYPE
from components.opal.model.language.vision_tower import EncoderVisionTower
from components.opal.model.listing_text import Listing

Floats = npt.NDArray[np.float32]
SPREAD = 5.0  # leads of ridge scores differ by about a fifth; witnesses should differ by about one
LIKELY = 0.5  # a score from which a value, or an attribute, is likelier stated than not


class Lead(NamedTuple):
    """How far the heads set a stated value before the best other one; of several the least.

    ``other`` is the value that the heads would have said, with its own lead; empty where they agree.
    """

    lead: float
    there: float = 0.0  # how much the heads of all its values together speak for the attribute
    other: str = ""
    other_lead: float = 0.0
    values: int = 0  # that the heads know of the attribute


class HeadMargins:
    """The heads of one tower, asked about pictures and then about listings.

    Args:
        tower: frozen, with heads; ``facts`` are theirs.
    """

    def __init__(self, tower: EncoderVisionTower, facts: list[list[str]]) -> None:
        self._tower = tower
        self._columns: dict[str, dict[str, int]] = {}
        for column, (name, value) in enumerate(facts):
            self._columns.setdefault(name, {})[value] = column

    @classmethod
    def of(cls, model: Any) -> HeadMargins | None:
        """Those of a model; None where it has no heads, or a folder of before they were named."""
        tower = tower_of(model)
        if not isinstance(tower, EncoderVisionTower) or not tower.config.told:
            return None
        return cls(tower, tower.config.told)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def look(self, pixel_values: Tensor) -> tuple[Tensor, Floats]:
        """What the tower saw, which stands in place of pixels, and the heads' scores ``[B, heads]``."""
        seen = pixel_values.float() if pixel_values.ndim == 3 else self._tower.seen(pixel_values)
        return seen, self._tower.head_scores(seen).float().cpu().numpy()

    def leads(self, listing: Listing, category: Category | None, scores: Floats) -> dict[str, Lead]:
        """Attribute to the lead of its stated value; without those that no head knows.

        Args:
            category: whose values compete. scores: of the picture ``[heads]``.
        """
        stated: Mapping[str, Any] = {**listing.attributes, TYPE: listing.product_type}
        found = {name: self._lead(name, each(said), category, scores) for name, said in stated.items()}
        return {name: lead for name, lead in found.items() if lead is not None}

    def _lead(
        self, name: str, said: tuple[str, ...], category: Category | None, scores: Floats
    ) -> Lead | None:
        columns = self._columns.get(name, {})
        if not said or any(value not in columns for value in said):
            return None
        known = _allowed(name, category)
        score = {v: float(scores[c]) for v, c in columns.items() if not known or v in (*known, *said)}
        there = SPREAD * (sum(score.values()) - LIKELY)
        if len(said) > 1:
            return Lead(SPREAD * (min(score[value] for value in said) - LIKELY), there)
        first, second = (*sorted(score, key=lambda value: -score[value])[:2], "")[:2]
        ahead = SPREAD * (score[first] - score.get(second, 0.0))
        lead = ahead if said[0] == first else SPREAD * (score[said[0]] - score[first])
        if said[0] == first or _several(name, category):
            return Lead(lead, there)
        return Lead(lead, there, first, ahead, len(score))


def _several(name: str, category: Category | None) -> bool:
    """Whether an attribute may hold several values: the heads do not say how many."""
    known = category.attributes.get(name) if category else None
    return known is not None and known.multiple


def _allowed(name: str, category: Category | None) -> Sequence[str]:
    """The values that compete: of one attribute, or the types; empty: all that the heads know."""
    if category is None:
        return ()
    if name == TYPE:
        return category.product_types
    known = category.attributes.get(name)
    return known.values if known else ()

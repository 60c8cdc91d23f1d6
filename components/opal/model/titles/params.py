"""Parameters of the titles of listings."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from components.stage.params import Params, Share


class TitlesParams(Params):
    """How a listing gets its title, which says nothing that the listing does not."""

    # composed: of the type and attributes that the model wrote; written: by the model, if it holds no other
    # word; null: composed for a model built here, written by a pretrained one
    kind: Literal["composed", "written"] | None = None
    # titles of a category that its order and words are learned from; with fewer, taught.title_attributes
    fewest: PositiveInt = 40
    named_above: Share = 0.3  # share of the titles that name an attribute, from which it is named

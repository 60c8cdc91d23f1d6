"""A listing as evidence and judges see it: a seller's words and the vector of the picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from components.catalog.format.attributes import Attributes, of_pairs
from components.catalog.format.records import TEXT_COLUMNS

Vector = npt.NDArray[np.float32]
NO_VECTOR: Vector = np.zeros(0, np.float32)


@dataclass(frozen=True)
class SellerListing:
    """One seller's listing. ``vector`` is the unit vector of its picture, empty where nobody made one."""

    product_id: str
    split: str
    title: str
    description: str
    category: str
    product_type: str
    attributes: Attributes
    group_id: str
    vector: Vector = field(default_factory=lambda: NO_VECTOR, compare=False)
    image: bytes = field(default=b"", repr=False)
    printed: Mapping[str, float] = field(default_factory=dict, compare=False)  # words on the picture
    # by attribute and value, so far measured
    support: dict[tuple[str, str], float] = field(default_factory=dict, compare=False)


def seller_listing(row: Mapping[str, Any], vector: Vector | None = None) -> SellerListing:
    """A listing from a catalogue row; a text that is missing is empty."""
    text: dict[str, Any] = {name: str(row[name] or "") for name in TEXT_COLUMNS if name != "attributes"}
    return SellerListing(
        **text,
        attributes=of_pairs(pair for pair in row["attributes"] or () if pair["value"]),
        vector=NO_VECTOR if vector is None else vector,
        image=(row.get("image") or {}).get("bytes") or b"",
    )

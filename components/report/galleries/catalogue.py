"""Products shown as examples: the picture, the seller's text, and where it differs from the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from components.catalog.format.attributes import shown
from components.catalog.format.records import Product, Truth
from components.report.catalogue import CheckedCatalogue, drawn
from components.report.params import CatalogueGalleryParams

State = Literal["given", "wrong", "missing", "added"]


@dataclass(frozen=True)
class StatedAttribute:
    """One attribute as the seller states it, and as it is where that is known and different."""

    name: str
    stated: str
    true: str
    state: (
        State  # given: as it is, or unknown; wrong; missing: not stated; added: stated, not known to be true
    )


def shown_products(
    checked: CheckedCatalogue, params: CatalogueGalleryParams, seed: int
) -> dict[str, list[str]]:
    """Product type → product ids to show: the largest types, a random draw of each."""
    by_type: dict[str, list[str]] = {}
    for product_id, product_type in checked.types.items():
        by_type.setdefault(product_type, []).append(product_id)
    largest = sorted(by_type, key=lambda name: (-len(by_type[name]), name))[: params.types]
    return {name: drawn(by_type[name], params.per_type, seed) for name in largest} if params.per_type else {}


def attributes(listing: Product, truth: Truth | None) -> list[StatedAttribute]:
    """The listing's attributes by name, each with what the truth says of it."""
    known = listing.attributes if truth is None else truth.attributes
    rows = []
    for name in sorted({*listing.attributes, *known}):
        stated, true = (shown(each.get(name, "")) for each in (listing.attributes, known))
        state: State = "given"
        if stated != true:
            state = "missing" if not stated else "wrong" if true else "added"
        rows.append(StatedAttribute(name, stated, true, state))
    return rows


def noise_acts(truth: Truth | None) -> list[str]:
    """What the seller-noise model did, in words, each once: ``misspelling: doubled (title)``."""
    acts = []
    for act in truth.noise if truth is not None else ():
        kind = act.kind.replace("_", " ").replace(".", ": ")
        acts.append(f"{kind} ({act.field.removeprefix('attributes.').replace('_', ' ')})")
    return list(dict.fromkeys(acts))

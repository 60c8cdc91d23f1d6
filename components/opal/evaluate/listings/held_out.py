"""The held-out products that listings are measured on, with everything they are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.catalog.format.attributes import of_pairs
from components.encoder.model.features.rows import read_truth
from components.opal.evaluate.listings.measures import Target, noise_kinds
from components.opal.model.errors import ListingDataError
from components.opal.model.listing_text import Listing
from components.opal.model.listings import listing_of
from components.opal.model.params import ListingEvalParams

Rows = Sequence[dict[str, Any]]  # of the catalogue


@dataclass(frozen=True)
class HeldOutListings:
    """Held-out products with everything a listing is held against."""

    positions: npt.NDArray[np.int64]  # rows of the catalogue
    targets: list[Target]
    groups: list[str]
    noise: list[set[str]]
    seller: list[Listing]
    refined: list[Listing | None]


def read_held_out_listings(
    rows: Rows, params: ListingEvalParams, truth: Path, refined: dict[str, Listing]
) -> HeldOutListings:
    """The first ``products`` of a split in a seeded order, in row order.

    Truth where there is one; else the seller's own listing stands in for it (real catalogues).

    Where nothing is known but what sellers wrote, what they left empty is not held against a listing.

    Raises:
        ListingDataError: the split is empty.
    """
    inside = [i for i, row in enumerate(rows) if row["split"] == params.split]
    if not inside:
        raise ListingDataError(f"the catalogue has no product in the {params.split} split.")
    order = np.random.default_rng(params.seed).permutation(len(inside))[: params.products]
    positions = np.array(sorted(inside[i] for i in order), dtype=np.int64)
    known, chosen = read_truth(truth), [rows[i] for i in positions]
    true = [
        Listing(
            t["title"] or r["title"],
            of_pairs(t["attributes"]) or of_pairs(r["attributes"]),
            r["product_type"] or "",
        )
        if (t := known.get(r["product_id"]))
        else listing_of(r)
        for r in chosen
    ]
    seen = any(t["scene"] not in (None, "unknown") for t in known.values())
    apart = seen or any(listing_of(r) != t for r, t in zip(chosen, true, strict=True))
    return HeldOutListings(
        positions=positions,
        targets=[Target(r["product_id"], r["category"], t, apart) for r, t in zip(chosen, true, strict=True)],
        groups=[r["group_id"] for r in chosen],
        noise=[noise_kinds(known.get(r["product_id"], {}).get("noise")) for r in chosen],
        seller=[listing_of(r) for r in chosen],
        refined=[refined.get(r["product_id"]) for r in chosen],
    )

"""The same products under worse conditions: without pictures, without texts, carelessly written."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from components.catalog.format.attributes import pairs
from components.catalog.format.schema import CatalogSchema
from components.catalog.format.shards import product_of
from components.catalog.noise.params import NoiseParams
from components.catalog.noise.seller_text import SellerNoise
from components.fusion.model.data.product_text import field_text
from components.fusion.model.towers.towers import Flags, Items, Towers


def _chosen(items: Items, share: float, seed: int) -> Flags:
    """About ``share`` of the products, by a hash of their ids."""

    def _draw(product_id: str) -> float:
        digest = hashlib.sha256(f"missing\x1f{seed}\x1f{product_id}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

    return np.array([_draw(name) < share for name in items.product_ids])


def without_pictures(items: Items, share: float, seed: int) -> Items:
    """A share of the products loses its picture."""
    gone = _chosen(items, share, seed)
    return replace(items, image=np.where(gone[:, None], 0, items.image), has_image=items.has_image & ~gone)


def without_texts(items: Items, share: float, seed: int) -> Items:
    """The same share of the products loses all of its text."""
    gone = _chosen(items, share, seed)
    return replace(items, text=np.where(gone[:, None], 0, items.text), has_text=items.has_text & ~gone)


def carelessly_written(
    items: Items, towers: Towers, schema: CatalogSchema, noise: NoiseParams, seed: int
) -> Items:
    """Every listing as a far more careless seller would write it, encoded again."""
    writer = SellerNoise(noise, schema, seed)
    rows = []
    for row in items.rows:
        listing, _ = writer.apply(product_of(row))
        changed = {"title": listing.title, "description": listing.description}
        rows.append({**row, **changed, "attributes": pairs(listing.attributes)})
    text, has_text = towers.texts(rows)
    return replace(items, rows=rows, text=text, has_text=has_text)


def sparse(items: Items, share: float) -> Flags:
    """About ``share`` of the products: those with the fewest words in title, attributes and description."""
    fields = ("title", "attributes", "description")
    words = np.array([sum(len(field_text(row, f).split()) for f in fields) for row in items.rows])
    few: Flags = words <= np.quantile(words, share, method="lower")
    return few

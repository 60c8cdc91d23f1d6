"""Listings read from the graph's files: sellers', refined ones, and what a model is taught of them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.catalog.format.attributes import of_pairs
from components.opal.model.errors import ListingDataError
from components.opal.model.listing_text import Listing
from components.opal.model.params import Taught
from components.opal.model.titles.grammar import Titles


def read_parquet(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a file of the graph.

    Raises:
        ListingDataError: it is missing, broken, or lacks a column.
    """
    try:
        return list(pq.read_table(path, columns=list(columns)).to_pylist())
    except FileNotFoundError:
        raise ListingDataError(f"{path} does not exist; run the stage that makes it.") from None
    except (OSError, pa.ArrowException, KeyError) as error:
        raise ListingDataError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}.") from None


def left_to_preferences(group_id: str, share: float) -> bool:
    """Whether a group of the train split is of the ``share`` whose photos tuning does not see."""
    drawn = int.from_bytes(hashlib.blake2b(group_id.encode(), digest_size=8, key=b"unseen").digest(), "big")
    return drawn < share * 2**64


def listing_of(row: Mapping[str, Any]) -> Listing:
    """The listing of a catalogue or refined row."""
    return Listing(row["title"] or "", of_pairs(row["attributes"]), row["product_type"] or "")


def refined_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of ``data/refined/products.parquet``."""
    columns = ["product_id", "split", "category", "product_type", "title", "attributes", "visible"]
    return read_parquet(folder / "products.parquet", columns)


def refined_listings(folder: Path) -> dict[str, Listing]:
    """Refined listings by product id, from ``data/refined/products.parquet``."""
    return {row["product_id"]: listing_of(row) for row in refined_rows(folder)}


@dataclass(frozen=True)
class Lesson:
    """What is taught of a refined listing: which attributes, and which title."""

    taught: Taught
    titles: Titles
    max_title_chars: int

    def of(self, category: str, listing: Listing, visible: Collection[str]) -> Listing:
        """What a model is taught to write of a refined listing.

        Titles that are composed are not taught. Of those that it writes itself, a seller's own is kept where
        it says no more than the listing; else one is composed.
        """
        shown = {
            n: v for n, v in listing.attributes.items() if self.taught.stated == "refined" or n in visible
        }
        stated = replace(listing, attributes=shown)
        if self.titles.kind == "composed":
            return replace(stated, title="")
        fits = len(listing.title) <= self.max_title_chars and self.titles.supports(category, stated)
        if listing.title.strip() and fits:
            return stated
        return replace(stated, title=self.titles.compose(category, stated, self.max_title_chars))

    def listings(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, Listing]:
        """Of each refined row, by product id."""
        return {
            row["product_id"]: self.of(row["category"], listing_of(row), row["visible"] or ()) for row in rows
        }

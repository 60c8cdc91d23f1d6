"""Listings read from the graph's files: sellers', refined ones, and what a model is taught of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.catalog.format.attributes import of_pairs
from components.catalog.format.attributes import shown as in_one_line
from components.opal.model.errors import ListingDataError
from components.opal.model.listing_text import Listing
from components.opal.model.params import Taught


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


def listing_of(row: Mapping[str, Any]) -> Listing:
    """The listing of a catalogue or refined row."""
    return Listing(row["title"] or "", of_pairs(row["attributes"]))


def refined_listings(folder: Path, taught: Taught | None = None) -> dict[str, Listing]:
    """Refined listings by product id, from ``data/refined/products.parquet``; whole, or as ``taught``."""
    columns = ["product_id", "title", "attributes", *(["product_type", "visible"] if taught else [])]
    rows = read_parquet(folder / "products.parquet", columns)
    if taught is None:
        return {row["product_id"]: listing_of(row) for row in rows}
    return {
        row["product_id"]: taught_listing(listing_of(row), row["product_type"], row["visible"] or (), taught)
        for row in rows
    }


def taught_listing(listing: Listing, product_type: str, visible: Collection[str], taught: Taught) -> Listing:
    """What a model is taught to write of a refined listing. Our choice: titles are written anew.

    A seller's title names brands and uses that no picture shows, in words of a hundred kinds. One written
    from the visible facts is a description that the picture bears out, and its first words are what the model
    has to look for.
    """
    shown = {n: v for n, v in listing.attributes.items() if taught.stated == "refined" or n in visible}
    if not taught.title_attributes or not listing.attributes:
        return Listing(listing.title, shown)
    facts = [
        in_one_line(listing.attributes[n])
        for n in taught.title_attributes
        if n in visible and n in listing.attributes
    ]
    title = " ".join([*facts, product_type])
    return Listing(title[:1].upper() + title[1:], shown)

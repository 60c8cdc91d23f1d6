"""Listings read from the graph's files: sellers', refined ones, and what a model is taught of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.catalog.format.attributes import Value, of_pairs
from components.catalog.format.schema import CatalogSchema, attribute_problem
from components.opal.model.arrangement import Arrangement
from components.opal.model.errors import ListingDataError
from components.opal.model.listing_text import CATEGORY_CHARS, DECIMALS, Listing, writable
from components.opal.model.params import Taught
from components.opal.model.titles.grammar import Titles


def read_parquet(path: Path, columns: Sequence[str], optional: Collection[str] = ()) -> list[dict[str, Any]]:
    """Rows of a file of the graph; ``optional`` columns where it has them.

    Raises:
        ListingDataError: it is missing, broken, or lacks a column.
    """
    try:
        there = [name for name in pq.read_schema(path).names if name in optional] if optional else []
        return list(pq.read_table(path, columns=[*columns, *there]).to_pylist())
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
    printed = frozenset(row.get("printed") or ())
    return Listing(row["title"] or "", of_pairs(row["attributes"]), row["product_type"] or "", printed)


def refined_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of ``data/refined/products.parquet``; with what is printed where pictures were read."""
    columns = ["product_id", "split", "category", "product_type", "title", "attributes", "visible"]
    return read_parquet(folder / "products.parquet", columns, optional=["printed"])


def refined_listings(folder: Path) -> dict[str, Listing]:
    """Refined listings by product id, from ``data/refined/products.parquet``."""
    return {row["product_id"]: listing_of(row) for row in refined_rows(folder)}


@dataclass(frozen=True)
class Lesson:
    """What is taught of a listing: which attributes, and which title.

    ``schema`` is the catalogue's; of its attributes those of ``attributes`` are taught. ``left_out`` counts
    values that the grammar cannot write, by attribute.
    """

    schema: CatalogSchema
    attributes: Arrangement
    taught: Taught
    titles: Titles
    max_title_chars: int
    left_out: Counter[str] = field(default_factory=Counter)

    def own(self, category: str, listing: Listing) -> Listing:
        """A seller's listing as it may be taught; without its title where titles are composed."""
        stated = self._written(category, listing)
        return replace(stated, title="") if self.titles.kind == "composed" else stated

    def of(self, category: str, listing: Listing, visible: Collection[str]) -> Listing:
        """What a model is taught to write of a refined listing.

        Titles that are composed are not taught. Of those that it writes itself, a seller's own is kept where
        it says no more than the listing; else one is composed.
        """
        shown = {
            n: v for n, v in listing.attributes.items() if self.taught.stated == "refined" or n in visible
        }
        stated = self._written(category, replace(listing, attributes=shown))
        if self.titles.kind == "composed":
            return replace(stated, title="")
        fits = len(listing.title) <= self.max_title_chars and self.titles.supports(category, stated)
        if listing.title.strip() and fits:
            return stated
        return replace(stated, title=self.titles.compose(category, stated, self.max_title_chars))

    def _written(self, category: str, listing: Listing) -> Listing:
        """The listing without names that are not taught, and values that the grammar cannot write."""
        others, kept = self._untaught(category), {}
        for name, value in listing.attributes.items():
            if name in others:
                continue
            if self._can_be_written(category, name, value):
                kept[name] = value
            else:
                self.left_out[name] += 1
        return replace(listing, attributes=kept)

    def _untaught(self, category: str) -> set[str]:
        known, taught = self.schema.categories.get(category), self.attributes.get(category)
        return set() if known is None or taught is None else set(known.attributes) - set(taught)

    def _can_be_written(self, category: str, name: str, value: Value) -> bool:
        """No for what the schema allows and the grammar does not; a seller's slips are another matter."""
        known = self.schema.categories.get(category)
        attribute = known.attributes.get(name) if known else None
        if attribute is None or attribute_problem(attribute, value):
            return True
        return writable(attribute, value, self.max_title_chars)

    def listings(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, Listing]:
        """Of each refined row, by product id."""
        return {
            row["product_id"]: self.of(row["category"], listing_of(row), row["visible"] or ()) for row in rows
        }

    def sentences(self) -> list[str]:
        """What is not taught, for people."""
        said = []
        for category, names in sorted(self.attributes.items()):
            if others := sorted(self._untaught(category)):
                said.append(
                    f"category {category[:60]!r} has {len(names) + len(others)} attributes, and the "
                    f"{len(names)} that most listings state are taught: {_some(others)} are not "
                    "(listing.taught.most_attributes)"
                )
        if self.left_out:
            said.append(
                f"{self.left_out.total()} values are longer than listing.max_title_chars="
                f"{self.max_title_chars}, or numbers of more than {DECIMALS} decimals, and are not taught, "
                f"most of them of {_some([name for name, _ in self.left_out.most_common()])}"
            )
        if long := [name for name in self.schema.categories if len(name) > CATEGORY_CHARS]:
            said.append(
                f"{len(long)} categories have names of more than {CATEGORY_CHARS} characters, of which a "
                f"question holds the first: {_some(long)}"
            )
        return said


def _some(names: Sequence[str], most: int = 3) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(name[:40] for name in names[:most]) + more

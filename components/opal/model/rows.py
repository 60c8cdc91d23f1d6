"""What a model is taught: sellers' listings, or refined ones with instruction samples, in a fixed order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from components.catalog.format.schema import CatalogSchema
from components.opal.model.errors import ListingDataError
from components.opal.model.listing_text import Listing, answer_text, attributes_of
from components.opal.model.params import Taught

LISTING = "listing"
POOL = 8  # steps whose samples are sorted by length together


@dataclass(frozen=True)
class Sample:
    """One question about one picture; ``position`` is the product's row in the catalogue."""

    product_id: str
    position: int
    category: str
    grain: str
    question: str
    answer: str


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
    return Listing(row["title"] or "", attributes_of(row["attributes"]))


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
    """What a model is taught to write of a refined listing [C].

    A seller's title names brands and uses that no picture shows, in words of a hundred kinds. One written
    from the visible facts is a description that the picture bears out, and its first words are what the model
    has to look for.
    """
    shown = {n: v for n, v in listing.attributes.items() if taught.stated == "refined" or n in visible}
    if not taught.title_attributes or not listing.attributes:
        return Listing(listing.title, shown)
    facts = [
        listing.attributes[n] for n in taught.title_attributes if n in visible and n in listing.attributes
    ]
    title = " ".join([*facts, product_type])
    return Listing(title[:1].upper() + title[1:], shown)


def listing_samples(
    rows: Sequence[Mapping[str, Any]],
    listings: Mapping[str, Listing],
    schema: CatalogSchema,
    prompt: str,
    split: str,
) -> list[Sample]:
    """One sample per product of ``split`` that has a title: the picture in, the whole listing out."""
    samples = []
    for position, row in enumerate(rows):
        listing = listings.get(row["product_id"])
        if row["split"] != split or listing is None or not listing.title.strip():
            continue
        category = row["category"]
        answer = answer_text(listing, schema.categories.get(category))
        question = prompt.format(category=category)
        samples.append(Sample(row["product_id"], position, category, LISTING, question, answer))
    return samples


def instruction_samples(
    rows: Sequence[Mapping[str, Any]], path: Path, schema: CatalogSchema, split: str
) -> list[Sample]:
    """The instruction samples of ``split``, of every grain but whole listings.

    Raises:
        ListingDataError: the file is unreadable, or names a product that the catalogue has not.
    """
    at = {row["product_id"]: (i, row["category"]) for i, row in enumerate(rows)}
    columns = ["product_id", "split", "grain", "prompt", "answer"]
    asked = [r for r in read_parquet(path, columns) if r["split"] == split and r["grain"] != LISTING]
    if unknown := sorted({r["product_id"] for r in asked} - set(at))[:5]:
        raise ListingDataError(f"{path} names products that are not in the catalogue: {', '.join(unknown)}.")
    return [
        Sample(r["product_id"], *at[r["product_id"]], r["grain"], r["prompt"], r["answer"]) for r in asked
    ]


def _endless(count: int, needed: int, seed: int, stream: int) -> npt.NDArray[np.int64]:
    """``needed`` of ``count`` indices: whole shuffled epochs, each a function of (seed, stream, epoch)."""
    epochs = max(1, -(-needed // count))
    drawn = [np.random.default_rng([seed, stream, epoch]).permutation(count) for epoch in range(epochs)]
    return np.concatenate(drawn)[:needed]


def training_order(
    listings: Sequence[Sample],
    instructions: Sequence[Sample],
    share: float,
    batch: int,
    steps: int,
    seed: int,
) -> list[Sample]:
    """The samples of every step, ``steps × batch`` of them; ``share`` of the steps, evenly spread, instruct.

    A batch holds one kind, for instructions are short and would be padded to the length of listings. The
    order is a function of (seed, epoch) alone, so a resumed run sees what an uninterrupted one sees.

    Raises:
        ListingDataError: there is no listing to learn from.
    """
    if not listings:
        raise ListingDataError("no product of the train split has a titled listing; check the refine stage.")
    due = [int((step + 1) * share) > int(step * share) and bool(instructions) for step in range(steps)]
    asked = sum(due) * batch
    first = iter(_endless(len(listings), steps * batch - asked, seed, 0))
    second = iter(_endless(len(instructions), asked, seed, 1)) if asked else iter(())
    return [
        instructions[next(second)] if instructing else listings[next(first)]
        for instructing in due
        for _ in range(batch)
    ]


def of_one_length(samples: Sequence[Sample], lengths: Sequence[int], batch: int, seed: int) -> list[Sample]:
    """The samples of a ``training_order``, moved so that those of a step are about equally long.

    A fifth of what a model read was padding. Only ``POOL`` steps of one kind that follow each other are
    sorted, and stand in a drawn order afterwards, so that every part of an epoch still sees every kind of
    product [C].

    Args:
        lengths: tokens of each sample. batch: samples per step.
    """
    out = list(samples)
    starts = range(0, len(samples), batch)
    for stream, whole in enumerate((True, False)):
        steps = [start for start in starts if (samples[start].grain == LISTING) == whole]
        for place in range(0, len(steps), POOL):
            pool = steps[place : place + POOL]
            inside = [i for start in pool for i in range(start, min(start + batch, len(samples)))]
            inside.sort(key=lambda i: lengths[i])
            drawn = np.random.default_rng([seed, 2, stream, place]).permutation(len(pool))
            for k, start in enumerate(pool):
                chosen = inside[drawn[k] * batch : (drawn[k] + 1) * batch]
                out[start : start + len(chosen)] = [samples[i] for i in chosen]
    return out

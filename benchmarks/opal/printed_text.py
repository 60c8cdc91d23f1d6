"""What optical character recognition reads on a catalogue's photos, and how far it can be trusted.

Of drawn validation photos of a workspace: how many hold a word, how many of the words stand in the product's
own title, and of what is spelled (a brand, an allowed value of an attribute) how much is true. A brand is the
attribute ``brand`` where the catalogue has one; else what titles of the train split begin with, before the
first word that the schema knows ("Nike" of "Nike Men Black Shoes"), in ``LEAST`` of them or more. A reading
counts where exactly one brand, or one value of an attribute, is spelled whole.

``python -m benchmarks.opal.printed_text WORKSPACE [--count 800]`` needs ``data/checked`` and ``data/truth``
there; where they, or the extra ``ocr``, are absent it says so and ends with 0. One thread, nothing cached.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest
from wordfreq import zipf_frequency

from components.catalog.format.attributes import each, of_pairs
from components.catalog.format.schema import CatalogSchema, read_schema
from components.encoder.model.features.rows import read_truth
from components.evidence.listing import SellerListing
from components.opal.model.errors import ListingConfigurationError
from components.opal.model.printed.params import PrintedTextParams
from components.opal.model.printed.reader import PrintedTextReader, spelled
from components.opal.model.titles.words import cores
from components.opal.refine.listings import listing_batches
from components.stage.paths import Paths

RESULTS = Path("benchmarks/results/printed_text.json")
LEAST = 5  # titles that begin with a brand
EVERYDAY = (
    4.0  # Zipf frequency of English from which a word is no name by itself: "police", "catwalk" is below
)
Run = tuple[str, ...]


def true_listings(paths: Paths, split: str, pictures: bool) -> Iterator[SellerListing]:
    """Listings of a split with the titles and attributes that they came with."""
    truth = read_truth(paths.truth)
    for batch in listing_batches(
        paths.catalogue, None, 64, pictures, lambda row: bool(row["split"] == split)
    ):
        for one in batch:
            known = truth[one.product_id]
            title, stated = known["title"] or one.title, of_pairs(known["attributes"])
            yield replace(one, title=title, attributes=stated or one.attributes)


class Brands:
    """The brands that the train split knows."""

    def __init__(self, train: Iterator[SellerListing], schema: CatalogSchema) -> None:
        self._schema_words = {
            word
            for category in schema.categories.values()
            for text in (
                *category.product_types,
                *(v for a in category.attributes.values() for v in a.values),
            )
            for word in cores(text)
        }
        counts = Counter(self._head(listing) for listing in train)
        self.known = {head for head, count in counts.items() if head and count >= LEAST}

    def _head(self, listing: SellerListing) -> Run:
        if brand := listing.attributes.get("brand"):
            return tuple(cores(each(brand)[0]))
        words = cores(listing.title)
        return tuple(words[: next((i for i, w in enumerate(words) if w in self._schema_words), 0)])

    def of(self, listing: SellerListing) -> Run:
        """The brand of a listing; empty where the train split does not know it."""
        head = self._head(listing)
        begun = [head[:size] for size in range(len(head), 0, -1) if head[:size] in self.known]
        return begun[0] if begun else ()


def only_one(values: Collection[Run], printed: Mapping[str, float]) -> Run:
    """The one of ``values`` that is spelled, the longest where one holds another; empty if none is alone."""
    found = [run for run in values if spelled(run, printed)]
    longest = [run for run in found if not any(set(run) < set(other) for other in found)]
    return longest[0] if len(longest) == 1 else ()


@dataclass
class Readings:
    """Counts over photos."""

    counts: Counter[str] = field(default_factory=Counter)
    right: defaultdict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))

    def add(
        self, listing: SellerListing, printed: Mapping[str, float], brands: Brands, schema: CatalogSchema
    ) -> None:
        """Count one photo."""
        own, title = brands.of(listing), set(cores(listing.title))
        self.counts["photos"] += 1
        self.counts["photos_with_words"] += bool(printed)
        self.counts["words"] += len(printed)
        self.counts["words_in_title"] += len(printed.keys() & title)
        self.counts["photos_with_title_word"] += bool(printed.keys() & title)
        self.counts["photos_of_known_brand"] += bool(own)
        self.counts["photos_with_own_brand"] += bool(spelled(own, printed))
        if read := only_one(brands.known, printed):
            self.right["brand"].append(read == own)
            if all(zipf_frequency(word, "en") < EVERYDAY for word in read):
                self.right["brand_not_everyday"].append(read == own)
        category = schema.categories[listing.category]
        for name, attribute in category.attributes.items():
            values = {tuple(cores(value)) for value in attribute.values if attribute.type == "enum"}
            if (read := only_one(values, printed)) and name in listing.attributes:
                stated = {tuple(cores(value)) for value in each(listing.attributes[name])}
                self.right[f"value_{name}"].append(read in stated)

    def table(self) -> dict[str, Any]:
        """The counts, and of each kind of reading the share that is true with its exact 95% interval."""
        out: dict[str, Any] = dict(self.counts)
        for kind, right in sorted(self.right.items()):
            interval = binomtest(sum(right), len(right)).proportion_ci(method="exact")
            out[kind] = {
                "value": sum(right) / len(right),
                "low": float(interval.low),
                "high": float(interval.high),
                "n": len(right),
            }
        return out


def measured(paths: Paths, count: int, params: PrintedTextParams) -> dict[str, Any]:
    """The table of a workspace.

    Raises:
        ListingConfigurationError: the extra ``ocr`` is not installed.
    """
    schema = read_schema(paths.catalogue / "schema.json")
    brands = Brands(true_listings(paths, "train", False), schema)
    ids = [one.product_id for one in true_listings(paths, "validation", False)]
    chosen = set(np.random.default_rng(0).permutation(ids)[:count].tolist())
    readings, seconds = Readings(), 0.0
    with tempfile.TemporaryDirectory() as cache, closing(PrintedTextReader(params, Path(cache))) as reader:
        for listing in true_listings(paths, "validation", True):
            if listing.product_id in chosen:
                start = time.process_time()
                printed = reader.words(listing.image)
                seconds += time.process_time() - start
                readings.add(listing, printed, brands, schema)
    out = {"known_brands": len(brands.known), **params.model_dump(), **readings.table()}
    return out | {"photos_per_processor_second": round(len(chosen) / max(seconds, 1e-9), 2)}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--count", type=int, default=800, help="photos of the validation split")
    parser.add_argument("--longest-side-px", type=int, default=PrintedTextParams().longest_side_px)
    asked = parser.parse_args()
    paths = Paths.below(asked.workspace)
    if not (paths.catalogue / "schema.json").is_file() or not paths.truth.is_dir():
        print(f"{asked.workspace} has no checked catalogue with its truth: skipped")
        return
    try:
        found = measured(paths, asked.count, PrintedTextParams(longest_side_px=asked.longest_side_px))
    except ListingConfigurationError as error:
        print(f"{error} Skipped.")
        return
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for name, value in found.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()

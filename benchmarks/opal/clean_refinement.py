"""What refinement does to listings that nobody spoiled: a workspace's truth, refined as if sellers wrote it.

``python -m benchmarks.opal.clean_refinement WORKSPACE`` prints the share of titles left alone, the
attributes' F1 against what went in, and the changes by reason. Judges of form and of titles; pictures are not
asked.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from components.catalog.format.attributes import facts, of_pairs
from components.catalog.format.shards import Catalogue
from components.encoder.model.features.rows import read_truth
from components.evidence.listing import SellerListing
from components.opal.refine.decisions import Refined, refine
from components.opal.refine.judges.schema import SchemaJudge
from components.opal.refine.judges.title import TitleJudge
from components.opal.refine.listings import listing_batches
from components.opal.refine.observed import observe
from components.opal.refine.params import RefineParams
from components.stage.paths import Paths


def true_listings(paths: Paths) -> list[SellerListing]:
    """The listings of a workspace as they were before the noise."""
    truth = read_truth(paths.truth)
    out = []
    for listing in (one for batch in listing_batches(paths.catalogue, None, 1024) for one in batch):
        if listing.product_id not in truth:
            continue
        true = truth[listing.product_id]
        stated = of_pairs(true["attributes"])
        out.append(replace(listing, title=true["title"], description=true["description"], attributes=stated))
    return out


def refined(listings: Sequence[SellerListing], paths: Paths) -> list[Refined]:
    """The listings after the judges of titles and of form, which learn from these very listings."""
    params, schema = RefineParams(support=None), Catalogue(paths.catalogue).schema
    with tempfile.TemporaryDirectory() as scratch:
        seen = observe([list(listings)], schema, params, Path(scratch))
        judges = [
            TitleJudge(seen.words, params.title),
            SchemaJudge(schema, seen.values, seen.words.used),
        ]
        out = refine(listings, judges)
        seen.siblings.close()
    return out


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    paths = Paths.below(parser.parse_args().workspace)
    before = true_listings(paths)
    if not before:
        raise SystemExit(f"{paths.truth} knows no listing of {paths.catalogue}; run the catalog stage there.")
    after = refined(before, paths)
    alone = sum(a.listing.title == " ".join(b.title.split()) for a, b in zip(after, before, strict=True))
    right = sum(
        len({*facts(a.listing.attributes)} & {*facts(b.attributes)})
        for a, b in zip(after, before, strict=True)
    )
    stated = sum(
        len(facts(a.listing.attributes)) + len(facts(b.attributes))
        for a, b in zip(after, before, strict=True)
    )
    print(f"{len(before):,} listings without noise")
    print(f"titles left alone: {alone / len(before):.4f}; attribute F1: {2 * right / max(1, stated):.4f}")
    reasons = Counter((d.field, d.decision, d.reason) for a in after for d in a.decisions)
    for (field, verb, reason), count in reasons.most_common():
        if verb != "keep":
            print(f"  {count:,} {field} {verb}: {reason}")


if __name__ == "__main__":
    main()

"""Leave one category out: listings of a category of which the model was taught nothing.

Each model is measured on the held-out products of the category that it lacks, under that category's schema,
beside the model that was taught all of them, and beside two ways to carry over what the other categories say
without a language model: the votes of the nearest of their products, and a linear probe of their values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from components.catalog.format.attributes import Attributes
from components.catalog.format.schema import CatalogSchema, Category, read_schema
from components.encoder.model.features.attribute_probe import AttributeProbe
from components.encoder.model.features.rows import read_rows
from components.opal.evaluate.listings.answers import Asking
from components.opal.evaluate.listings.baselines import (
    Known,
    as_generated,
    neighbours,
    picture_features,
    voted,
)
from components.opal.evaluate.listings.evaluation import ListingEvaluation
from components.opal.evaluate.listings.held_out import HeldOutListings, read_held_out_listings
from components.opal.model.language.files import load_listing_model, read_note
from components.opal.model.listing_text import Listing
from components.opal.model.listings import refined_listings
from components.opal.model.params import ListingEvalParams, ListingParams
from components.retrieval.published_figures import publish_figures
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record
from components.stage.resources.memory import keep_few_kernels

COMPARED = (("left_out", "sft_refined"), ("left_out", "probe_of_others"), ("left_out", "vote_of_others"))


class Blocks(Params):
    """What the stage reads of params.yaml; ``taught`` is the model that knows every category."""

    taught: Path = Path("models/listing/sft_refined")
    listing: ListingParams
    listing_eval: ListingEvalParams


def allowed(listing: Listing, category: Category) -> Listing:
    """What of a listing of another category this one may hold; the type is of the other one and goes."""
    known = category.attributes
    kept: Attributes = {n: v for n, v in listing.attributes.items() if n in known and v in known[n].values}
    return replace(listing, attributes=kept, product_type="")


def carried(known: Known, name: str, category: Category) -> Known:
    """The catalogue as a learner sees it who knows the category's schema and none of its products.

    All products are as if of the category, its own of no split that is learned from; refined listings have
    attributes and values that the category has.
    """
    own = {row["product_id"] for row in known.rows if row["category"] == name}
    rows = [
        {**row, "category": name, "split": "test" if row["product_id"] in own else row["split"]}
        for row in known.rows
    ]
    refined = {k: allowed(v, category) for k, v in known.refined.items() if k not in own}
    return known._replace(rows=rows, refined=refined)


def probe_of_others(known: Known, held_out: HeldOutListings, schema: CatalogSchema) -> list[Listing]:
    """The likeliest values by a linear probe that learned from other categories."""
    categories = [target.category for target in held_out.targets]
    only = schema.model_copy(update={"categories": {categories[0]: schema.categories[categories[0]]}})
    stated = known.stated("train"), known.stated("validation")
    probe = AttributeProbe(only, known.features.take, *stated, absent=True)
    found = probe.answers(held_out.positions, categories)
    return [Listing("", {n: a.value for n, a in row.items() if a.value}) for row in found]


def inside(held_out: HeldOutListings, category: str) -> HeldOutListings:
    """The held-out products of one category."""
    at = [i for i, target in enumerate(held_out.targets) if target.category == category]
    chosen = {
        name: [getattr(held_out, name)[i] for i in at]
        for name in ("targets", "groups", "noise", "seller", "refined")
    }
    return HeldOutListings(positions=held_out.positions[at], **chosen)


def run(params: Blocks, paths: Paths, record: Record) -> None:
    """Measure each model under ``paths.listing``, a folder for each category that was left out."""
    keep_few_kernels()
    how = params.listing_eval
    torch.set_num_threads(how.threads)
    rows, schema = read_rows(paths.catalogue), read_schema(paths.catalogue / "schema.json")
    refined = refined_listings(paths.refined)
    everything = read_held_out_listings(rows, how, paths.truth, refined)
    every = Known(rows, refined, picture_features(paths, how, params.listing))
    asking = Asking(how, schema, paths)
    metrics: dict[str, Any] = {"_tests": []}
    tables: dict[str, Any] = {}
    for name in sorted(folder.name for folder in paths.listing.iterdir()):
        held_out = inside(everything, name)
        evaluation = ListingEvaluation(held_out, schema, how.seed, how.bootstrap_samples, COMPARED)
        known = carried(every, name, schema.categories[name])
        near = neighbours(known, held_out.positions, how.neighbours)
        baselines: dict[str, Sequence[Listing | None]] = {
            "vote_of_others": [voted(n) for n in near],
            "probe_of_others": probe_of_others(known, held_out, schema),
        }
        for row, listings in baselines.items():
            same = as_generated(listings, held_out.targets, schema)
            evaluation.add(row, same, same)
        models = {"left_out": paths.listing / name / "sft_refined", "sft_refined": params.taught}
        for row, model in models.items():
            with record.timed(f"{name}.{row}"):
                free, held, _ = asking.answers(
                    load_listing_model(model), read_note(model), held_out, f"{name}.{row}"
                )
            evaluation.add(row, free, held)
        found = evaluation.metrics()
        metrics["_tests"] += [{**test, "category": name} for test in found.pop("_tests")]
        metrics |= {f"{row}_{name}": figures for row, figures in found.items()}
        tables |= {f"{name}_{file}": table for file, table in evaluation.tables().items()}
    targets = paths.metrics / "study_left_out.json", paths.per_query / "study_left_out"
    record.outputs = publish_figures(metrics, tables, *targets)

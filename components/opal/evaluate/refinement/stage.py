"""The evaluation of the refinement: rows ``seller`` and ``refined`` against the truth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.catalog.format.attributes import of_pairs
from components.catalog.format.shards import Catalogue
from components.catalog.format.truth import read_truth
from components.opal.evaluate.listings.measures import Floats
from components.opal.evaluate.refinement.figures import (
    Case,
    judged_titles,
    judged_values,
    macro_f1,
    product_figures,
)
from components.opal.model.errors import ListingDataError, NoTruthError
from components.opal.model.listing_text import Listing
from components.opal.refine.params import RefineEvalParams
from components.retrieval.published_figures import flat_figures, publish_figures
from components.retrieval.significance import bootstrap_interval, paired_bootstrap
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record

VARIANTS = ("seller", "refined")
TESTED = ("attribute_f1", "untold_attribute_f1", "precision", "recall", "title_rouge_l", "title_exact")


class Blocks(Params):
    """What the stage reads of params.yaml."""

    refine_eval: RefineEvalParams


def read_cases(catalogue: Path, truth: Path, refined: Path, split: str) -> list[Case]:
    """The products of one split, as sold, as refined and as they are.

    Raises:
        ListingDataError: the refined file is missing or lacks products.
        NoTruthError: there is no truth of the split, or none but what sellers wrote.
    """
    file = refined / "products.parquet"
    try:
        rows = pq.read_table(file, filters=[("split", "=", split)]).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise ListingDataError(
            f"{file} cannot be read ({error}); run 'vitrine run --until refine'."
        ) from None
    now = {r["product_id"]: Listing(r["title"], of_pairs(r["attributes"])) for r in rows}
    columns = ["title", "category", "attributes", "group_id"]
    sold = {p.product_id: p for p in Catalogue(catalogue).products(columns, split=split)}  # type: ignore[arg-type]
    if missing := sorted(set(sold) - set(now)):
        raise ListingDataError(
            f"{file} lacks {len(missing)} products of {catalogue}, such as {missing[0]}; refine it again."
        )
    cases = [
        Case(p.product_id, p.category, p.group_id, Listing(p.title, p.attributes), now[p.product_id], t)
        for t in read_truth(truth / "truth.parquet")
        if (p := sold.get(t.product_id)) is not None and (t.attributes or t.title)
    ]
    if not cases:
        raise NoTruthError(f"The truth says nothing of the {split} split, so nothing judges refinement.")
    # a truth that is not the seller's own words knows the scene of the picture too
    if all(
        c.truth.scene == "unknown" and c.seller == Listing(c.truth.title, c.truth.attributes) for c in cases
    ):
        raise NoTruthError(
            "There is no independent truth: all that is known of the products is what their sellers wrote, "
            "so nothing says whether refinement made it better."
        )
    return cases


def _figures(cases: Sequence[Case]) -> dict[str, dict[str, Floats]]:
    """variant -> metric -> one number per case."""
    every = {v: [product_figures(case, v) for case in cases] for v in VARIANTS}
    return {v: {m: np.array([row[m] for row in rows]) for m in rows[0]} for v, rows in every.items()}


def _metrics(cases: Sequence[Case], figures: dict[str, dict[str, Floats]], params: RefineEvalParams) -> Any:
    """Every figure with its interval, and the tests of refined against seller's listings."""
    groups = np.array([case.group_id for case in cases], object)
    categories = np.array([case.category for case in cases])
    how = (params.seed, params.bootstrap_samples)

    def _interval(values: Floats, inside: Any = slice(None)) -> dict[str, Any]:
        return bootstrap_interval(values[inside], *how, clusters=list(groups[inside])).model_dump()

    out: dict[str, Any] = {}
    for variant, metrics in figures.items():
        row = {m: _interval(v) for m, v in metrics.items()}
        row["attribute_macro_f1"] = macro_f1(cases, variant, *how).model_dump()
        for category in sorted(set(categories)):
            row[f"attribute_f1_{category}"] = _interval(metrics["attribute_f1"], categories == category)
        out[variant] = {m: figure for m, figure in row.items() if figure["n"]}
    for metric, (hits, of) in (judged_values(cases) | judged_titles(cases)).items():
        out["refined"][metric] = bootstrap_interval(hits, *how, clusters=of).model_dump()
    out["_tests"] = []
    for metric in TESTED:
        a, b = figures["refined"][metric], figures["seller"][metric]
        if not np.isnan(a - b).all():
            found = paired_bootstrap(a, b, *how, clusters=list(groups)).model_dump()
            out["_tests"].append({"metric": metric, "a": "refined", "b": "seller", **found})
    return out


def _per_product(cases: Sequence[Case], figures: dict[str, dict[str, Floats]]) -> pa.Table:
    """One row per variant and product: its measures, its listing, the truth."""
    rows = [
        {
            "variant": variant,
            "product_id": case.product_id,
            "category": case.category,
            **{m: None if np.isnan(v[i]) else float(v[i]) for m, v in metrics.items()},
            "title": case.listing(variant).title,
            "true_title": case.truth.title,
            "attributes": json.dumps(case.listing(variant).attributes, sort_keys=True, ensure_ascii=False),
            "true_attributes": json.dumps(case.truth.attributes, sort_keys=True, ensure_ascii=False),
            "noise": sorted({noise.kind for noise in case.truth.noise}),
        }
        for variant, metrics in figures.items()
        for i, case in enumerate(cases)
    ]
    return pa.Table.from_pylist(rows)


def run(params: Blocks, paths: Paths, record: Record) -> None:
    """Measure sellers' and refined listings on the held-out split, and publish the figures."""
    how = params.refine_eval
    cases = read_cases(paths.catalogue, paths.truth, paths.refined, how.split)
    with record.timed("figures"):
        figures = _figures(cases)
    with record.timed("intervals"):
        metrics = _metrics(cases, figures, how)
    tables = {"refine.parquet": _per_product(cases, figures)}
    targets = paths.metrics / "refine.json", paths.per_query / "refine"
    record.outputs = publish_figures(metrics, tables, *targets)
    record.metrics = flat_figures(metrics)

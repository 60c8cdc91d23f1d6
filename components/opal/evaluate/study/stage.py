"""The evaluation of OPAL over seeds: every claim in each seed, and pooled over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from components.catalog.format.schema import CatalogSchema, Category, read_schema
from components.encoder.model.features.rows import read_rows
from components.opal.evaluate.listings.answers import Asking
from components.opal.evaluate.listings.evaluation import (
    MACRO,
    MODES,
    RELIANCE,
    Floats,
    ListingEvaluation,
    prefixed,
)
from components.opal.evaluate.listings.held_out import read_held_out_listings
from components.opal.evaluate.listings.measures import Target
from components.opal.evaluate.listings.picture_reliance import picture_reliance
from components.opal.evaluate.listings.stage import PREFERRED, TRAINED
from components.opal.evaluate.refinement.figures import product_figures
from components.opal.evaluate.refinement.stage import read_cases
from components.opal.model.certainty.certainty import read_certainty
from components.opal.model.errors import ListingDataError
from components.opal.model.language.files import load_listing_model, read_note
from components.opal.model.listing_text import parse_answer
from components.opal.model.listings import read_parquet
from components.opal.model.params import ListingEvalParams
from components.opal.model.writing.generate import Generated
from components.retrieval.published_figures import publish_figures
from components.retrieval.significance import paired_bootstrap
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record
from components.stage.resources.memory import keep_few_kernels

OWN = "own"  # the graph's seed
BASELINE = "nearest_neighbour"
CONTROL = "dpo_control"  # the steps of dpo without a preference; only the studies train it
RISKS = ("risk_coverage_area", "hallucination_at_equal")  # of values in the order of confidence
HELD_AGAINST = ("sft_refined", CONTROL)
Claim = tuple[str, str, str, str]  # metric, row, the row it is held against, and what is to be shown
CLAIMS: tuple[Claim, ...] = (
    (MACRO, "sft_refined", "nearest_neighbour", "sft_refined > nearest_neighbour"),
    (MACRO, "sft_refined", "sft_raw", "sft_refined > sft_raw"),
    ("hallucination_rate", "dpo", "sft_refined", "dpo hallucinates less than sft_refined"),
    ("completion_rate", "dpo", "sft_refined", "dpo completes no less than sft_refined"),
    ("hallucination_rate", "dpo", CONTROL, "dpo hallucinates less than its control"),
    *((metric, "dpo", row, f"dpo: {metric} below that of {row}") for metric in RISKS for row in HELD_AGAINST),
    (RELIANCE, "dpo", "sft_refined", "dpo rests more on the picture than sft_refined"),
    (RELIANCE, "dpo", CONTROL, "dpo rests more on the picture than its control"),
)
ALONE = ("sft_on_policy", "grpo")  # other ways to teach preferences, in the graph's own seed
CLAIMS_ALONE = tuple(
    (metric, a, b, f"{a} against {b}")
    for a, b in (*product(ALONE, ("sft_refined",)), ("grpo", "dpo"))
    for metric in (MACRO, "hallucination_rate", "completion_rate", *RISKS, RELIANCE)
)
SHOWN = (
    "valid",
    "attribute_f1",
    "completion_rate",
    "precision",
    "hallucination_rate",
    "title_rouge_l",
    RELIANCE,
)


class Blocks(Params):
    """What the stage reads of params.yaml."""

    listing_eval: ListingEvalParams


def row_name(row: str, seed: str) -> str:
    """Name of a row of one seed; the graph's own has no suffix, nor has what trains nothing."""
    return row if seed == OWN or row == BASELINE else f"{row}_{seed}"


def claim_tests(
    evaluation: ListingEvaluation, seeds: Sequence[str], claims: Sequence[Claim]
) -> list[dict[str, Any]]:
    """One line per claim, way of decoding, and seed; of several, ``pooled`` is the mean over the seeds."""
    written = [(mode, claim) for claim in claims if claim[0] not in RISKS for mode in MODES]
    ranked = [("raw", claim) for claim in claims if claim[0] in RISKS]
    tests = []
    for mode, (metric, a, b, shown) in written + ranked:
        pairs = [(row_name(a, seed), row_name(b, seed)) for seed in seeds]
        parts = [(seed, *pair, [pair]) for seed, pair in zip(seeds, pairs, strict=True)]
        if len(parts) > 1:
            parts.append(("pooled", a, b, pairs))
        for seed, first, second, asked in parts:
            risks = evaluation.risk.tests(asked) if metric in RISKS else {}
            if found := risks.get(metric) or evaluation.difference(metric, asked, mode):
                named = {"metric": prefixed(mode, metric), "claim": shown, "a": first, "b": second}
                tests.append({**named, "seed": seed, **found.model_dump()})
    return tests


def _written(
    per_query: Path, row: str, targets: Sequence[Target], schema: CatalogSchema
) -> tuple[list[Generated], list[Generated], Floats]:
    """What a row of the graph's own evaluation wrote, freely and held to the schema, and its reliance.

    Raises:
        ListingDataError: it was measured on other products.
    """
    file = per_query / f"{row}.parquet"
    columns = ["product_id", "raw_text", "constrained_text", "confidence"]
    columns += [RELIANCE] if row in PREFERRED else []
    rows = {r["product_id"]: r for r in read_parquet(file, columns)}
    if missing := [t.product_id for t in targets if t.product_id not in rows]:
        raise ListingDataError(
            f"{file} lacks {len(missing)} products, such as {missing[0]}; run listing_eval."
        )
    free, held = (
        [_read(rows[t.product_id], column, schema.categories[t.category]) for t in targets]
        for column in ("raw_text", "constrained_text")
    )
    return free, held, np.array([rows[t.product_id].get(RELIANCE, np.nan) for t in targets])


def _read(row: Mapping[str, Any], column: str, category: Category) -> Generated:
    sure = {pair["name"]: pair["value"] for pair in row["confidence"] or ()}
    return Generated(row[column], parse_answer(row[column], category), sure)


def _refined_test(params: ListingEvalParams, paths: Paths) -> dict[str, Any]:
    """Claim ``refined > seller``: attribute F1 per product. All seeds share one refinement."""
    cases = read_cases(paths.catalogue, paths.truth, paths.refined, params.split)
    after, before = (
        np.array([product_figures(case, variant)["attribute_f1"] for case in cases])
        for variant in ("refined", "seller")
    )
    groups = [case.group_id for case in cases]
    test = paired_bootstrap(after, before, params.seed, params.bootstrap_samples, clusters=groups)
    named = {"metric": "attribute_f1", "claim": "refined > seller", "a": "refined", "b": "seller"}
    return {**named, "seed": OWN, **test.model_dump()}


def run(params: Blocks, paths: Paths, record: Record) -> None:
    """Measure the models of every further seed beside the graph's own rows; publish figures and claims.

    ``paths.listing`` is a folder with one folder of models for each seed.
    """
    keep_few_kernels()
    how = params.listing_eval
    torch.set_num_threads(how.threads)
    rows, schema = read_rows(paths.catalogue), read_schema(paths.catalogue / "schema.json")
    held_out = read_held_out_listings(rows, how, paths.truth, {})
    evaluation = ListingEvaluation(held_out, schema, how.seed, how.bootstrap_samples)
    for row in (*TRAINED, BASELINE):
        free, held, relies = _written(paths.per_query / "listing", row, held_out.targets, schema)
        evaluation.add(row, free, held, also={RELIANCE: relies} if row in PREFERRED else {})
    asking = Asking(how, schema, paths)
    seeds = sorted(p.name for p in paths.listing.iterdir() if p.name.isdecimal())
    for seed, row in [*product([OWN], (CONTROL, *ALONE)), *product(seeds, (*TRAINED, CONTROL))]:
        name, folder = row_name(row, seed), paths.listing / seed / row
        model, note = load_listing_model(folder), read_note(folder)
        with record.timed(name):
            free, held, _ = asking.answers(model, note, held_out, name, read_certainty(folder))
            judged = row in (*PREFERRED, CONTROL, *ALONE)
            also = {RELIANCE: picture_reliance(model, note, held_out, asking)} if judged else {}
        evaluation.add(name, free, held, also=also)
    with record.timed("intervals"):
        tests = claim_tests(evaluation, [OWN, *seeds], CLAIMS) + claim_tests(evaluation, [OWN], CLAIMS_ALONE)
        tests.append(_refined_test(how, paths))
        figures = {name: evaluation.headline(name, SHOWN) for name in evaluation.measured}
        metrics = figures | {"_tests": tests}
    targets = paths.metrics / "study_opal.json", paths.per_query / "study_opal"
    record.outputs = publish_figures(metrics, evaluation.tables(), *targets)
    record.metrics = {f"{t['claim']}.{t['metric']}.{t['seed']}": t["difference"] for t in tests}

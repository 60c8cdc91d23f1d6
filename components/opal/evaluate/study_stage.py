"""The evaluation of OPAL over seeds: every claim in each seed, and pooled over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from components.catalog.format.schema import read_schema
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.features.rows import read_rows
from components.opal.evaluate.evaluate import MODES, ListingEvaluation, Measured, prefixed
from components.opal.evaluate.measures import by_group, macro_f1_interval, macro_f1_test
from components.opal.evaluate.nearest import copied
from components.opal.evaluate.refinement_figures import product_figures
from components.opal.evaluate.refinement_stage import read_cases
from components.opal.evaluate.stage import (
    as_generated,
    held_out_rows,
    neighbour_rows,
    read_held_out_listings,
)
from components.opal.model.errors import ListingDataError
from components.opal.model.language.files import load_listing_model, read_note
from components.opal.model.language.picture_cache import remember_pictures
from components.opal.model.listing_text import parse_answer
from components.opal.model.params import ListingEvalParams
from components.opal.model.rows import read_parquet, refined_listings
from components.opal.model.writing.generate import Decoding, Generated, ListingGenerator
from components.retrieval.published_figures import publish_figures
from components.retrieval.significance import bootstrap_interval, paired_bootstrap
from components.stage.record import Record

METRICS, PER_QUERY = Path("metrics/study_opal.json"), Path("results/per_query/study_opal")
OWN = "own"  # the graph's seed
TRAINED = ("sft_raw", "sft_refined", "dpo")
ROWS = (*TRAINED, "nearest_neighbour")
MACRO = "attribute_macro_f1"
# metric, row, the row it is held against, and what has to be shown of the difference
CLAIMS = (
    (MACRO, "sft_refined", "nearest_neighbour", "sft_refined > nearest_neighbour"),
    (MACRO, "sft_refined", "sft_raw", "sft_refined > sft_raw"),
    ("hallucination_rate", "dpo", "sft_refined", "dpo hallucinates less than sft_refined"),
    ("completion_rate", "dpo", "sft_refined", "dpo completes no less than sft_refined"),
)
SHOWN = ("valid", "attribute_f1", "completion_rate", "precision", "hallucination_rate", "title_rouge_l")


@dataclass(frozen=True)
class StudyInputs:
    """Where the stage reads from; ``seeds`` is seed to (its data, its models), besides the graph's own."""

    catalogue: Path
    truth: Path
    refined: Path
    embeddings: Path
    per_query: Path  # results/per_query/listing, of the graph's own seed
    cache: Path
    seeds: Mapping[str, tuple[Path, Path]]


def row_name(row: str, seed: str) -> str:
    """Name of a row of one seed; the graph's own has no suffix."""
    return row if seed == OWN else f"{row}_{seed}"


class StudyEvaluation:
    """Rows of several seeds on one held-out split, each claim tested in each seed and over all."""

    def __init__(self, evaluation: ListingEvaluation, seeds: Sequence[str]) -> None:
        self.evaluation, self.seeds = evaluation, list(seeds)
        self.groups = evaluation.held_out.groups
        self.how = (evaluation.seed, evaluation.samples)

    def _rows(self, row: str, mode: str) -> list[Measured]:
        return [self.evaluation.measured[row_name(row, seed)][mode] for seed in self.seeds]

    def _test(self, metric: str, a: Sequence[Measured], b: Sequence[Measured]) -> dict[str, Any] | None:
        """Paired over groups of products, drawn alike for every seed; None if nothing is defined."""
        if metric == MACRO:
            first, second = ([by_group(m.counts, self.groups) for m in side] for side in (a, b))
            return macro_f1_test(first, second, *self.how).model_dump()
        left, right = (np.mean([m.values[metric] for m in side], axis=0) for side in (a, b))
        if not np.isfinite(left + right).any():
            return None
        return paired_bootstrap(left, right, *self.how, clusters=self.groups).model_dump()

    def _claim_tests(self, metric: str, a: str, b: str, mode: str) -> list[dict[str, Any]]:
        """A claim's test in each seed, and pooled where there are several."""
        first, second = self._rows(a, mode), self._rows(b, mode)
        parts = [
            (seed, row_name(a, seed), row_name(b, seed), [x], [y])
            for seed, x, y in zip(self.seeds, first, second, strict=True)
        ]
        if len(parts) > 1:
            parts.append(("pooled", a, b, first, second))
        found = [({"a": n, "b": m, "seed": seed}, self._test(metric, x, y)) for seed, n, m, x, y in parts]
        return [{**names, **result} for names, result in found if result]

    def tests(self) -> list[dict[str, Any]]:
        """One line per claim, way of decoding, and seed; ``pooled`` is the mean over the seeds."""
        return [
            {"metric": prefixed(mode, metric), "claim": claim, **test}
            for metric, a, b, claim in CLAIMS
            for mode in MODES
            for test in self._claim_tests(metric, a, b, mode)
        ]

    def figures(self) -> dict[str, Any]:
        """Row -> metric -> {value, low, high, n}."""
        return {name: self._figures(both) for name, both in self.evaluation.measured.items()}

    def _figures(self, both: Mapping[str, Measured]) -> dict[str, Any]:
        """Figures of one row in both ways of decoding."""
        out: dict[str, Any] = {}
        for mode, measured in both.items():
            for name in SHOWN:
                interval = bootstrap_interval(measured.values[name], *self.how, clusters=self.groups)
                if interval.n:
                    out[prefixed(mode, name)] = interval.model_dump()
            grouped = by_group(measured.counts, self.groups)
            out[prefixed(mode, MACRO)] = macro_f1_interval(grouped, *self.how).model_dump()
        return out


def _written(per_query: Path, row: str, ids: Sequence[str]) -> tuple[list[Generated], list[Generated]]:
    """What a row of the graph's own evaluation wrote, freely and held to the schema.

    Raises:
        ListingDataError: it was measured on other products.
    """
    file = per_query / f"{row}.parquet"
    rows = {r["product_id"]: r for r in read_parquet(file, ("product_id", "raw_text", "constrained_text"))}
    if missing := [name for name in ids if name not in rows]:
        raise ListingDataError(
            f"{file} lacks {len(missing)} products, such as {missing[0]}; run listing_eval."
        )
    free, held = (
        [Generated(text, parse_answer(text)) for text in (rows[name][column] for name in ids)]
        for column in ("raw_text", "constrained_text")
    )
    return free, held


def _refined_tests(
    params: ListingEvalParams, inputs: StudyInputs, tables: Mapping[str, Path]
) -> list[dict[str, Any]]:
    """Claim ``refined > seller``: attribute F1 per product, in each seed and pooled."""
    how, after, before, groups = (params.seed, params.bootstrap_samples), [], [], []
    for folder in tables.values():
        cases = read_cases(inputs.catalogue, inputs.truth, folder, params.split)
        groups = [case.group_id for case in cases]
        after.append(np.array([product_figures(case, "refined")["attribute_f1"] for case in cases]))
        before.append(np.array([product_figures(case, "seller")["attribute_f1"] for case in cases]))
    shown = dict(zip(tables, zip(after, before, strict=True), strict=True))
    if len(tables) > 1:
        shown["pooled"] = (np.mean(after, axis=0), np.mean(before, axis=0))
    named = {"metric": "attribute_f1", "claim": "refined > seller", "a": "refined", "b": "seller"}
    return [
        {**named, "seed": seed, **paired_bootstrap(a, b, *how, clusters=groups).model_dump()}
        for seed, (a, b) in shown.items()
    ]


def evaluate_study_and_publish(params: ListingEvalParams, inputs: StudyInputs, record: Record) -> None:
    """Measure every seed on the held-out split, and publish figures and claims."""
    torch.set_num_threads(params.threads)
    rows, schema = read_rows(inputs.catalogue), read_schema(inputs.catalogue / "schema.json")
    positions = held_out_rows(rows, params)
    held_out = read_held_out_listings(rows, positions, inputs.truth, {})
    evaluation = ListingEvaluation(held_out, schema, params.seed, params.bootstrap_samples)
    ids = [target.product_id for target in held_out.targets]
    for row in ROWS:
        evaluation.add(row, *_written(inputs.per_query, row, ids))
    for seed, (data, models) in inputs.seeds.items():
        refined = refined_listings(data / "refined")
        near = neighbour_rows(rows, positions, refined, inputs.embeddings, 1)
        same = as_generated([copied(n) for n in near], held_out.targets, schema)
        evaluation.add(row_name("nearest_neighbour", seed), same, same)
        for row in TRAINED:
            with record.timed(row_name(row, seed)):
                both = _generated(models / row, evaluation, params, inputs, positions)
            evaluation.add(row_name(row, seed), *both)
    study = StudyEvaluation(evaluation, [OWN, *inputs.seeds])
    tables = {OWN: inputs.refined} | {seed: data / "refined" for seed, (data, _) in inputs.seeds.items()}
    with record.timed("intervals"):
        tests = study.tests() + _refined_tests(params, inputs, tables)
        metrics = {**study.figures(), "_tests": tests}
    record.outputs = publish_figures(metrics, evaluation.tables(), METRICS, PER_QUERY)
    record.metrics = {f"{t['claim']}.{t['metric']}.{t['seed']}": t["difference"] for t in tests}


def _generated(
    folder: Path,
    evaluation: ListingEvaluation,
    params: ListingEvalParams,
    inputs: StudyInputs,
    positions: Any,
) -> tuple[list[Generated], list[Generated]]:
    """What one seed's model writes about every measured product, freely and held to the schema."""
    model, note = load_listing_model(folder), read_note(folder)
    remember_pictures(model.model, note["precision"], inputs.cache)
    pixels = PixelCache(inputs.catalogue, note["image_px"], inputs.cache, params.threads).take(positions)
    decoding = Decoding(params.batch_size, note["max_new_tokens"], note["precision"])
    generator = ListingGenerator(model, note, evaluation.schema, decoding)
    return generator.both(pixels, [t.category for t in evaluation.held_out.targets])

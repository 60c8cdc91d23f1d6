"""The table of OPAL: every way to write a listing, measured on the same held-out products."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.catalog.format.attributes import pairs
from components.catalog.format.records import PAIRS
from components.catalog.format.schema import CatalogSchema
from components.opal.evaluate.listings.answers import DescribedAnswers
from components.opal.evaluate.listings.held_out import HeldOutListings
from components.opal.evaluate.listings.macro_f1 import (
    Counts,
    attribute_scores,
    by_group,
    count_values,
    macro_f1_interval,
    macro_f1_test,
)
from components.opal.evaluate.listings.measures import product_measures
from components.opal.evaluate.listings.risk import Ranked, RiskTable
from components.opal.model.listing_text import Listing
from components.opal.model.writing.generate import Generated
from components.retrieval.significance import Difference, bootstrap_interval, paired_bootstrap
from components.stage.record import Interval

Floats = npt.NDArray[np.float64]
MODES = ("raw", "constrained")
MACRO = "attribute_macro_f1"
CHANCES = pa.list_(pa.struct([("name", pa.string()), ("value", pa.float64())]))
SLICED = ("attribute_f1", "hallucination_rate")
EQUAL_TO = "sft_refined"  # at whose completion rows are compared
RELIANCE = "picture_reliance"
TESTED = (
    "attribute_f1",
    "correct",
    "completion_rate",
    "precision",
    "hallucination_rate",
    "title_rouge_l",
    RELIANCE,
)
COMPARED = (
    ("sft_refined", "nearest_neighbour"),
    ("sft_refined", "nearest_vote"),
    ("sft_refined", "linear_probe"),
    ("sft_refined", "sft_raw"),
    ("dpo", "sft_refined"),
    ("dpo", "nearest_neighbour"),
    ("dpo", "linear_probe"),
)


class VariantResult(NamedTuple):
    """One variant in one mode: counts per attribute, and values per product."""

    counts: Counts
    values: dict[str, Floats]


def _chances(chances: Iterable[Mapping[str, float]]) -> pa.Array:
    named = [[{"name": n, "value": c} for n, c in sorted(each.items())] for each in chances]
    return pa.array(named, CHANCES)


def _shown(described: DescribedAnswers, count: int) -> dict[str, pa.Array]:
    """Of each product what is stated, how sure of what is left out, and the box that was read; null: all."""
    said = [one.generated.listing for one in described.stated]
    return {
        "stated_title": pa.array([one.title if one else "" for one in said], pa.string()),
        "left_out": _chances(one.left_out for one in described.stated),
        "point": pa.array([described.point] * count, pa.string()),
        "box": pa.array(described.boxes or [None] * count, pa.list_(pa.float32())),
    }


def prefixed(mode: str, name: str) -> str:
    """``raw_valid`` and ``constrained_valid``; other measures of raw decoding have plain names."""
    return f"{mode}_{name}" if mode == "constrained" or name == "valid" else name


class ListingEvaluation:
    """Collects variants; each is measured as it decodes freely and as held to the schema.

    Args:
        compared: pairs of variants for paired tests, the one that should be better first.
    """

    def __init__(
        self,
        held_out: HeldOutListings,
        schema: CatalogSchema,
        seed: int,
        samples: int,
        compared: Sequence[tuple[str, str]] = COMPARED,
    ) -> None:
        self.held_out, self.schema, self.seed, self.samples = held_out, schema, seed, samples
        self.compared = compared
        self.measured: dict[str, dict[str, VariantResult]] = {}
        self.ranked: dict[str, Ranked] = {}
        self._pretrained: set[str] = set()
        self._tables: dict[str, pa.Table] = {}

    def add(
        self,
        variant: str,
        raw: Sequence[Generated],
        constrained: Sequence[Generated],
        *,
        pretrained: bool = False,
        also: Mapping[str, Floats] | None = None,
        described: DescribedAnswers | None = None,
    ) -> None:
        """Measure one variant. ``pretrained`` is recorded for rows whose meaning hangs on it.

        Args:
            also: further measures, one value per product, which no way of decoding changes.
            described: what a seller is shown of the constrained answers; kept beside them, not measured.
        """
        targets = self.held_out.targets
        self.measured[variant] = {}
        for mode, generated in zip(MODES, (raw, constrained), strict=True):
            listings = [g.listing for g in generated]
            values = product_measures(self.schema, targets, listings)
            self.measured[variant][mode] = VariantResult(count_values(targets, listings), values)
        self.measured[variant]["raw"].values.update(also or {})
        self.ranked[variant] = Ranked(targets, constrained, self.held_out.groups)
        if pretrained:
            self._pretrained.add(variant)
        self._tables[f"{variant}.parquet"] = self._table(variant, raw, constrained, described)

    def _table(
        self,
        variant: str,
        raw: Sequence[Generated],
        constrained: Sequence[Generated],
        described: DescribedAnswers | None,
    ) -> pa.Table:
        """What was written of each product, what it is held against, and its measures."""
        held, count, text = self.held_out, len(self.held_out.targets), pa.string()
        columns: dict[str, pa.Array] = {
            "variant": pa.array([variant] * count, text),
            "product_id": pa.array([target.product_id for target in held.targets], text),
            "category": pa.array([target.category for target in held.targets], text),
            "group_id": pa.array(held.groups, text),
            "noise": pa.array([sorted(kinds) for kinds in held.noise], pa.list_(text)),
            "raw_text": pa.array([one.whole for one in raw], text),
            "constrained_text": pa.array([one.whole for one in constrained], text),
            "confidence": _chances(one.confidence for one in constrained),
        }
        columns |= _shown(described, count) if described else {}
        sides: dict[str, Sequence[Listing | None]] = {
            "generated": [one.listing for one in constrained],
            "truth": [target.listing for target in held.targets],
            "seller": held.seller,
            "refined": held.refined,
        }
        for side, listings in sides.items():
            known = [listing or Listing("") for listing in listings]
            columns[f"{side}_title"] = pa.array([listing.title for listing in known], text)
            columns[f"{side}_attributes"] = pa.array([pairs(x.attributes) for x in known], PAIRS)
        for mode, measured in self.measured[variant].items():
            columns |= {prefixed(mode, name): pa.array(v) for name, v in measured.values.items()}
        return pa.table(columns)

    @cached_property
    def risk(self) -> RiskTable:
        """The measures of values in the order of confidence, of writing that is held to the schema."""
        return RiskTable(self.ranked, self.seed, self.samples)

    def metrics(self) -> dict[str, Any]:
        """variant -> metric -> {value, low, high, n}, and the paired tests under ``_tests``."""
        return {variant: self._figures(variant) for variant in self.measured} | {"_tests": self._tests()}

    def _interval(self, values: Floats, chosen: npt.NDArray[np.bool_] | None = None) -> dict[str, Any]:
        groups = self.held_out.groups
        if chosen is not None:
            values, groups = values[chosen], [g for g, c in zip(groups, chosen, strict=True) if c]
        return bootstrap_interval(values, self.seed, self.samples, clusters=groups).model_dump()

    def headline(self, variant: str, only: Collection[str] | None = None) -> dict[str, Any]:
        """Figures of all products, of both ways of decoding, and of the order of confidence.

        Args:
            only: these measures; None for all.
        """
        figures: dict[str, Any] = {}
        for mode, measured in self.measured[variant].items():
            for name, values in measured.values.items():
                if (only is None or name in only) and np.isfinite(values).any():
                    figures[prefixed(mode, name)] = self._interval(values)
            grouped = by_group(measured.counts, self.held_out.groups)
            figures[prefixed(mode, MACRO)] = macro_f1_interval(grouped, self.seed, self.samples).model_dump()
        return figures | {n: f.model_dump() for n, f in self.risk.figures(variant, EQUAL_TO).items()}

    def _figures(self, variant: str) -> dict[str, Any]:
        """Every figure of one variant."""
        figures = self.headline(variant) | self._by_attribute(variant) | self._slices(variant)
        whole = self.ranked[variant].no_wrong_value()
        figures |= {} if whole is None else {"no_wrong_value": self._interval(whole)}
        if variant in self._pretrained:
            figures["pretrained"] = Interval(value=1.0, n=len(self.held_out.targets)).model_dump()
        return figures

    def _by_attribute(self, variant: str) -> dict[str, Any]:
        """F1 and calibration error of each attribute under constrained decoding.

        ``n`` is how many products have it, and how many values are stated.
        """
        counts = self.measured[variant]["constrained"].counts
        known = (counts.right + counts.missed).sum(axis=0)
        found = {
            f"constrained_attribute_f1_{name}": (score, int(n))
            for (name, score), n in zip(attribute_scores(counts).items(), known, strict=True)
            if n
        }
        errors = self.ranked[variant].error_of_attributes()
        found |= {f"calibration_error_{name}": error for name, error in errors.items()}
        return {metric: Interval(value=value, n=n).model_dump() for metric, (value, n) in found.items()}

    def _slices(self, variant: str) -> dict[str, Any]:
        """By category and by what the seller did to the product's own listing, of constrained decoding."""
        categories = np.array([t.category for t in self.held_out.targets])
        kinds = sorted({kind for noise in self.held_out.noise for kind in noise})
        slices = {f"category_{name}": categories == name for name in sorted(set(categories))}
        slices |= {f"noise_{k}": np.array([k in noise for noise in self.held_out.noise]) for k in kinds}
        slices["noise_none"] = np.array([not noise for noise in self.held_out.noise])
        values = self.measured[variant]["constrained"].values
        return {
            f"constrained_{metric}_{name}": self._interval(values[metric], chosen)
            for name, chosen in slices.items()
            for metric in SLICED
            if np.isfinite(values[metric][chosen]).any()
        }

    def _tests(self) -> list[dict[str, Any]]:
        """The paired tests between the variants that were measured."""
        tests = []
        for a, b in self.compared:
            if a not in self.measured or b not in self.measured:
                continue
            found = {
                prefixed(mode, metric): self.difference(metric, [(a, b)], mode)
                for mode in MODES
                for metric in (MACRO, *TESTED)
            }
            found |= self.risk.tests([(a, b)])
            whole = [self.ranked[name].no_wrong_value() for name in (a, b)]
            found["no_wrong_value"] = self._paired(*whole)
            tests += [{"metric": m, "a": a, "b": b, **d.model_dump()} for m, d in found.items() if d]
        return tests

    def difference(self, metric: str, pairs: Sequence[tuple[str, str]], mode: str) -> Difference | None:
        """The paired test over groups of products of a measure; None if nothing is defined.

        Args:
            pairs: of variants, the one that should be better first; several are of several seeds, whose
                groups are drawn alike and whose differences are averaged.
        """
        sides = [[self.measured[name][mode] for name in side] for side in zip(*pairs, strict=True)]
        if metric == MACRO:
            first, second = ([by_group(one.counts, self.held_out.groups) for one in side] for side in sides)
            return macro_f1_test(first, second, self.seed, self.samples)
        if not all(metric in one.values for side in sides for one in side):
            return None
        return self._paired(*(np.mean([one.values[metric] for one in side], axis=0) for side in sides))

    def _paired(self, a: Floats | None, b: Floats | None) -> Difference | None:
        if a is None or b is None or not np.isfinite(a + b).any():
            return None
        return paired_bootstrap(a, b, self.seed, self.samples, clusters=self.held_out.groups)

    def tables(self) -> Mapping[str, pa.Table]:
        """One file per variant, one row per product."""
        return self._tables

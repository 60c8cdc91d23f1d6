"""The table of OPAL: every way to write a listing, measured on the same held-out products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

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
from components.opal.evaluate.listings.measures import Target, product_measures
from components.opal.evaluate.listings.risk import Ranked, RiskTable
from components.opal.model.listing_text import Listing
from components.opal.model.writing.generate import Generated
from components.retrieval.significance import bootstrap_interval, paired_bootstrap

Floats = npt.NDArray[np.float64]
MODES = ("raw", "constrained")
CHANCES = pa.list_(pa.struct([("name", pa.string()), ("value", pa.float64())]))
SHOWN = (
    ("stated_title", pa.string()),
    ("left_out", CHANCES),
    ("point", pa.string()),
    ("box", pa.list_(pa.float32())),  # of the photo, that the model read; null: all of it
)
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


@dataclass
class VariantResult:
    """One variant in one mode: values per product, and counts per attribute."""

    counts: Counts
    values: dict[str, Floats] = field(default_factory=dict)


def _shown(described: DescribedAnswers, i: int) -> dict[str, Any]:
    """Columns ``SHOWN`` of a product: what is stated, how sure of what is left out, and what was read."""
    one = described.stated[i]
    title = one.generated.listing.title if one.generated.listing else ""
    left_out = [{"name": name, "value": chance} for name, chance in sorted(one.left_out.items())]
    box = described.boxes[i] if described.boxes else None
    return {"stated_title": title, "left_out": left_out, "point": described.point, "box": box}


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
        self.pretrained: dict[str, bool] = {}
        self.ranked: dict[str, Ranked] = {}
        self._described: set[str] = set()
        self._rows: list[dict[str, Any]] = []

    def add(
        self,
        variant: str,
        raw: Sequence[Generated],
        constrained: Sequence[Generated],
        pretrained: bool | None = None,
        *,
        also: Mapping[str, Floats] = MappingProxyType({}),
        described: DescribedAnswers | None = None,
    ) -> None:
        """Measure one variant. ``pretrained`` is recorded for rows whose meaning hangs on it.

        Args:
            also: further measures, one value per product, which no way of decoding changes.
            described: what a seller is shown of the constrained answers; kept beside them, not measured.
        """
        if pretrained is not None:
            self.pretrained[variant] = pretrained
        both = dict(zip(MODES, (raw, constrained), strict=True))
        self.measured[variant] = {mode: self._measure(generated) for mode, generated in both.items()}
        self.measured[variant]["raw"].values.update(also)
        self.ranked[variant] = Ranked(self.held_out.targets, constrained, self.held_out.groups)
        if described is not None:
            self._described.add(variant)
        for i, target in enumerate(self.held_out.targets):
            row = self._row(variant, i, target, raw[i], constrained[i])
            self._rows.append(row | (_shown(described, i) if described else {}))

    def _measure(self, generated: Sequence[Generated]) -> VariantResult:
        listings = [g.listing for g in generated]
        counts = count_values(self.held_out.targets, listings)
        return VariantResult(counts, product_measures(self.schema, self.held_out.targets, listings))

    def _row(
        self, variant: str, i: int, target: Target, raw: Generated, constrained: Generated
    ) -> dict[str, Any]:
        """What is kept of one product: what was written, what it is held against, and its measures."""
        shown, refined = constrained.listing or Listing(""), self.held_out.refined[i] or Listing("")
        row: dict[str, Any] = {
            "variant": variant,
            "product_id": target.product_id,
            "category": target.category,
            "group_id": self.held_out.groups[i],
            "noise": sorted(self.held_out.noise[i]),
            "raw_text": raw.whole,
            "constrained_text": constrained.whole,
            "confidence": [{"name": n, "value": c} for n, c in sorted(constrained.confidence.items())],
        }
        sides = {
            "generated": shown,
            "truth": target.listing,
            "seller": self.held_out.seller[i],
            "refined": refined,
        }
        for side, listing in sides.items():
            row |= {f"{side}_title": listing.title, f"{side}_attributes": pairs(listing.attributes)}
        for mode, measured in self.measured[variant].items():
            row |= {prefixed(mode, name): float(v[i]) for name, v in measured.values.items()}
        return row

    @cached_property
    def risk(self) -> RiskTable:
        """The measures of values in the order of confidence, of writing that is held to the schema."""
        return RiskTable(self.ranked, self.seed, self.samples)

    def metrics(self) -> dict[str, Any]:
        """variant -> metric -> {value, low, high, n}, and the paired tests under ``_tests``."""
        return {**self.figures(), "_tests": self._tests()}

    def figures(self) -> dict[str, Any]:
        """variant -> metric -> {value, low, high, n}."""
        return {variant: self._figures(variant) for variant in self.measured}

    def _interval(self, values: Floats, chosen: npt.NDArray[np.bool_] | None = None) -> dict[str, Any]:
        groups = self.held_out.groups
        if chosen is not None:
            values, groups = values[chosen], [g for g, c in zip(groups, chosen, strict=True) if c]
        return bootstrap_interval(values, self.seed, self.samples, clusters=groups).model_dump()

    def _figures(self, variant: str) -> dict[str, Any]:
        """Every figure of one variant, in both ways of decoding."""
        figures: dict[str, Any] = {}
        for mode, measured in self.measured[variant].items():
            for name, values in measured.values.items():
                if np.isfinite(values).any():
                    figures[prefixed(mode, name)] = self._interval(values)
            grouped = by_group(measured.counts, self.held_out.groups)
            macro = macro_f1_interval(grouped, self.seed, self.samples)
            figures[prefixed(mode, "attribute_macro_f1")] = macro.model_dump()
        figures |= self._by_attribute(variant) | self._slices(variant)
        figures |= {n: found.model_dump() for n, found in self.risk.figures(variant, EQUAL_TO).items()}
        whole = self.ranked[variant].no_wrong_value()
        figures |= {} if whole is None else {"no_wrong_value": self._interval(whole)}
        if variant in self.pretrained:
            n = len(self.held_out.targets)
            figures["pretrained"] = {
                "value": float(self.pretrained[variant]),
                "low": None,
                "high": None,
                "n": n,
            }
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
        return {
            metric: {"value": value, "low": None, "high": None, "n": n}
            for metric, (value, n) in found.items()
        }

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
            for mode in MODES:
                first, second = self.measured[a][mode], self.measured[b][mode]
                macro = self._macro_test(first, second)
                tests.append({"metric": prefixed(mode, "attribute_macro_f1"), "a": a, "b": b, **macro})
                for metric in (m for m in TESTED if m in first.values and m in second.values):
                    difference = self._paired(first.values[metric], second.values[metric])
                    if difference:
                        tests.append({"metric": prefixed(mode, metric), "a": a, "b": b, **difference})
            for metric, found in self.risk.tests([(a, b)]).items():
                tests.append({"metric": metric, "a": a, "b": b, **found.model_dump()})
            tests += self._no_wrong_test(a, b)
        return tests

    def _no_wrong_test(self, a: str, b: str) -> list[dict[str, Any]]:
        first, second = (self.ranked[name].no_wrong_value() for name in (a, b))
        found = None if first is None or second is None else self._paired(first, second)
        return [{"metric": "no_wrong_value", "a": a, "b": b, **found}] if found else []

    def _macro_test(self, a: VariantResult, b: VariantResult) -> dict[str, Any]:
        groups = self.held_out.groups
        pair = [by_group(a.counts, groups)], [by_group(b.counts, groups)]
        return macro_f1_test(*pair, self.seed, self.samples).model_dump()

    def _paired(self, a: Floats, b: Floats) -> dict[str, Any] | None:
        if not np.isfinite(a + b).any():
            return None
        groups = self.held_out.groups
        return paired_bootstrap(a, b, self.seed, self.samples, clusters=groups).model_dump()

    def tables(self) -> Mapping[str, pa.Table]:
        """One file per variant, one row per product."""
        return {
            f"{variant}.parquet": pa.Table.from_pylist(
                [row for row in self._rows if row["variant"] == variant], schema=self._schema(variant)
            )
            for variant in self.measured
        }

    def _schema(self, variant: str) -> pa.Schema:
        """Columns of a variant's file, in the order of its rows."""
        text = ["variant", "product_id", "category", "group_id"]
        fields = [(name, pa.string()) for name in text] + [("noise", pa.list_(pa.string()))]
        fields += [("raw_text", pa.string()), ("constrained_text", pa.string())]
        fields += [("confidence", CHANCES)]
        fields += [(name, kind) for name, kind in SHOWN if variant in self._described]
        for side in ("generated", "truth", "seller", "refined"):
            fields += [(f"{side}_title", pa.string()), (f"{side}_attributes", PAIRS)]
        for mode, measured in self.measured[variant].items():
            fields += [(prefixed(mode, name), pa.float64()) for name in measured.values]
        return pa.schema(fields)

"""What a model is worth that leaves out what it doubts: values in the order of its confidence.

All measures are of values, not of listings: which share of those stated above a threshold is wrong. Groups of
products are resampled whole, and every row by the same draws, so that two rows can be compared draw by draw.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from components.catalog.format.attributes import each, facts
from components.opal.evaluate.listings.macro_f1 import difference_of, interval_of
from components.opal.evaluate.listings.measures import Floats, Target
from components.opal.model.writing.generate import Generated
from components.retrieval.significance import Difference
from components.stage.record import Interval

Ints = npt.NDArray[np.int64]
HALF = 0.5  # completion
BINS = 10  # of the calibration error, each with as many values
LEAST = 50  # values of a bin of one attribute: fewer are never even, however honest the confidence
GRID = np.arange(1, 101) / 100  # completions at which a curve is read
AT_HALF = int(np.argmin(np.abs(GRID - HALF)))
BLOCK = 100  # bootstrap samples at once
MOST_SAMPLES = 1000  # each goes through every value of every row


class Ranked:
    """The values that one row states, surest first; a value without a confidence comes last.

    Args:
        targets: of the products. generated: their answers. groups: of the products.
    """

    def __init__(
        self, targets: Sequence[Target], generated: Sequence[Generated], groups: Sequence[str]
    ) -> None:
        places: dict[str, int] = {}
        unit = [places.setdefault(group, len(places)) for group in groups]
        rows = [
            (sure, wrong, fills, unit[i], i, name)
            for i, (target, one) in enumerate(zip(targets, generated, strict=True))
            for sure, wrong, fills, name in _judged(target, one)
        ]
        table = np.array([row[:5] for row in rows], np.float64).reshape(-1, 5)
        order = np.argsort(-table[:, 0], kind="stable")
        table, self.names = table[order], np.array([row[5] for row in rows], dtype=str)[order]
        self.sure, self.wrong, self.fills = table[:, 0], table[:, 1], table[:, 2]
        self.unit, self.product = table[:, 3].astype(np.int64), table[:, 4].astype(np.int64)
        self.products, self.groups = len(targets), len(places)
        self.fields = np.bincount(
            unit, weights=[len(facts(t.listing.attributes)) for t in targets], minlength=len(places)
        )
        # Values of equal confidence are stated together: each counts at the place of the last of them.
        self.last: Ints = np.searchsorted(-self.sure, -self.sure, side="right") - 1

    def __len__(self) -> int:
        return len(self.sure)

    def curve(self, weights: npt.NDArray[Any]) -> tuple[Floats, Floats, Floats]:
        """Of weighted groups ``[samples, groups]``: weight, rate of wrong values, completion.

        ``[samples, values]`` each, at each value: rate and completion are of those that are at least as sure.
        """
        weight = weights.astype(np.float64)[:, self.unit]
        stated = np.cumsum(weight, axis=1)[:, self.last]
        wrong = np.cumsum(weight * self.wrong, axis=1)[:, self.last]
        filled = np.cumsum(weight * self.fills, axis=1)[:, self.last]
        fields = (weights @ self.fields)[:, None]
        return weight, wrong / np.maximum(stated, 1e-12), filled / np.maximum(fields, 1e-12)

    def area(self, weights: npt.NDArray[Any]) -> Floats:
        """Area under the risk-coverage curve (Geifman and El-Yaniv 2017, arXiv 1705.08500), ``[samples]``.

        The mean over the stated values of the rate of wrong values among those at least as sure.
        """
        weight, rate, _ = self.curve(weights)
        return np.asarray((weight * rate).sum(axis=1) / weight.sum(axis=1))

    def at_completions(self, weights: npt.NDArray[Any]) -> Floats:
        """Rate of wrong values where each completion of ``GRID`` is reached, ``[samples, 100]``, or NaN."""
        _, rate, filled = self.curve(weights)
        out = np.full((len(weights), len(GRID)), np.nan)
        for row, (r, f) in enumerate(zip(rate, filled, strict=True)):
            at = np.searchsorted(f, GRID - 1e-12)
            out[row, at < len(r)] = r[at[at < len(r)]]
        return out

    def calibration_error(self, weights: npt.NDArray[Any]) -> Floats:
        """Expected calibration error in ``BINS`` bins of equal mass (Naeini et al. 2015), ``[samples]``."""
        gaps = np.zeros((self.groups, BINS))  # confidence minus rightness, summed
        for b, chosen in enumerate(np.array_split(np.arange(len(self)), BINS)):
            gap = self.sure[chosen] - (1 - self.wrong[chosen])
            gaps[:, b] = np.bincount(self.unit[chosen], weights=gap, minlength=self.groups)
        stated = weights @ np.bincount(self.unit, minlength=self.groups)
        return np.asarray(np.abs(weights @ gaps).sum(axis=1) / np.maximum(stated, 1e-12))

    def reliability(self) -> list[tuple[float, float]]:
        """Of each bin: mean confidence, and the share that is right."""
        parts = [c for c in np.array_split(np.arange(len(self)), BINS) if len(c)]
        return [(float(self.sure[c].mean()), float(1 - self.wrong[c].mean())) for c in parts]

    @cached_property
    def attribute_bins(self) -> dict[str, list[Ints]]:
        """Places of the values of each attribute, in bins of equal mass of at least ``LEAST`` values.

        At most ``BINS`` bins; rarer attributes are left out.
        """
        every = {str(name): np.flatnonzero(self.names == name) for name in np.unique(self.names)}
        return {
            name: np.array_split(places, min(BINS, len(places) // LEAST))
            for name, places in every.items()
            if len(places) >= LEAST
        }

    def error_of_attributes(self) -> dict[str, tuple[float, int]]:
        """Expected calibration error of each attribute by itself, and of how many values."""
        gap = self.sure - (1 - self.wrong)
        return {
            name: (float(sum(abs(gap[b].sum()) for b in bins) / sum(map(len, bins))), sum(map(len, bins)))
            for name, bins in self.attribute_bins.items()
        }

    def no_wrong_value(self) -> Floats | None:
        """Whether each listing states something and nothing wrong, where half of all fields are filled.

        ``[products]``; None where so many are never filled.
        """
        _, _, filled = self.curve(np.ones((1, self.groups)))
        at = int(np.searchsorted(filled[0], HALF - 1e-12))
        if at >= len(self):
            return None
        kept = slice(0, int(self.last[at]) + 1)
        stated = np.bincount(self.product[kept], minlength=self.products)
        wrong = np.bincount(self.product[kept], weights=self.wrong[kept], minlength=self.products)
        return np.asarray(((stated > 0) & (wrong == 0)).astype(np.float64))


def _judged(target: Target, one: Generated) -> list[tuple[float, float, float, str]]:
    """Of each value that can be told right from wrong: confidence, whether wrong, whether a field's, name."""
    truth, known = set(facts(target.listing.attributes)), target.listing.attributes
    room = Counter({name: len(each(value)) for name, value in known.items()})
    out = []
    for name, value in target.judged(one.listing):
        fills = room[name] > 0
        room[name] -= 1
        wrong = float((name, value) not in truth)
        out.append((one.confidence.get(name, 0.0), wrong, float(fills), name))
    return out


@dataclass(frozen=True)
class Drawn:
    """The measures of one row in every bootstrap sample."""

    area: Floats  # [samples]
    rates: Floats  # [samples, 100] at each completion of GRID
    error: Floats  # [samples]


class RiskTable:
    """Measures of all rows of a table, and their differences, over the same draws of groups.

    Args:
        seed: of the draws. samples: how many, at most ``MOST_SAMPLES``.
    """

    def __init__(self, rows: Mapping[str, Ranked], seed: int, samples: int) -> None:
        self.rows = {name: row for name, row in rows.items() if len(row)}
        self._seed, self._samples = seed, min(samples, MOST_SAMPLES)

    @cached_property
    def _drawn(self) -> dict[str, Drawn]:
        groups = next(iter(self.rows.values())).groups if self.rows else 0
        random = np.random.Generator(np.random.PCG64(self._seed))
        even = np.full(groups, 1 / max(groups, 1))
        parts: dict[str, list[Drawn]] = {name: [] for name in self.rows}
        for start in range(0, self._samples if self.rows else 0, BLOCK):
            weights = random.multinomial(groups, even, size=min(BLOCK, self._samples - start))
            for name, row in self.rows.items():
                parts[name].append(_measured(row, weights))
        return {
            name: Drawn(*(np.concatenate([getattr(p, f) for p in part]) for f in ("area", "rates", "error")))
            for name, part in parts.items()
        }

    @cached_property
    def _whole(self) -> dict[str, Drawn]:
        return {name: _measured(row, np.ones((1, row.groups))) for name, row in self.rows.items()}

    def figures(self, name: str, equal_to: str) -> dict[str, Interval]:
        """Every measure of a row. ``equal_to``: the row whose completion is the equal one."""
        if name not in self.rows:
            return {}
        n = self.rows[name].groups
        whole, drawn = (_measures(of[name], of.get(equal_to)) for of in (self._whole, self._drawn))
        out = {metric: _interval(whole[metric][0], drawn[metric], n) for metric in whole}
        # Errors of a sample add to the error of the whole, so the draws lie above it: they are moved back.
        error, errors = self._whole[name].error[0], self._drawn[name].error
        out["calibration_error"] = _interval(error, np.maximum(errors - errors.mean() + error, 0), n)
        return {metric: found for metric, found in out.items() if np.isfinite(found.value)}

    def tests(self, pairs: Sequence[tuple[str, str]]) -> dict[str, Difference]:
        """Differences of two rows: of the area, at completion 0.5, and at the completion that both reach.

        Args:
            pairs: of rows; several are of several seeds, whose differences are averaged.
        """
        if not all(name in self.rows for pair in pairs for name in pair):
            return {}
        whole, drawn = (
            [_differences(found[a], found[b]) for a, b in pairs] for found in (self._whole, self._drawn)
        )
        n = self.rows[pairs[0][0]].groups
        out = {}
        for metric in whole[0]:
            value, draws = (np.mean([each[metric] for each in side], axis=0) for side in (whole, drawn))
            if np.isfinite(value[0]) and np.isfinite(draws).all():
                out[metric] = difference_of(value[0], draws, n)
        return out

    def risk_csv(self) -> str:
        """Rate of wrong values of each row (a column) at each completion, in percent (``step``)."""
        rates = {name: row.rates[0] for name, row in self._whole.items()}
        return _csv([{"step": 100 * c, **{n: r[i] for n, r in rates.items()}} for i, c in enumerate(GRID)])

    def reliability_csv(self) -> str:
        """Share of right values of each row (a column) in each bin, by its mean confidence in percent."""
        bins = [(sure, name, right) for name, row in self.rows.items() for sure, right in row.reliability()]
        lines = [{"step": 100 * sure, name: right} for sure, name, right in sorted(bins, key=lambda b: b[0])]
        return _csv(lines, ["step", *self.rows])

    def attributes_csv(self) -> str:
        """The bins of every attribute of each row: mean confidence, share that is right, number of values."""
        columns = ["variant", "attribute", "confidence", "right", "n"]
        lines = [
            (name, attribute, row.sure[b].mean(), 1 - row.wrong[b].mean(), len(b))
            for name, row in self.rows.items()
            for attribute, bins in row.attribute_bins.items()
            for b in bins
        ]
        return _csv(lines, columns)


def _csv(lines: Sequence[Any], columns: list[str] | None = None) -> str:
    """Lines as CSV; cells that say nothing are empty."""
    from pandas import DataFrame

    frame = DataFrame(lines, columns=columns)
    return frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def _measured(row: Ranked, weights: npt.NDArray[Any]) -> Drawn:
    return Drawn(row.area(weights), row.at_completions(weights), row.calibration_error(weights))


def _measures(row: Drawn, other: Drawn | None) -> dict[str, Floats]:
    """Measures of a row in every sample; beside another one also at the highest completion both reach."""
    found = {"risk_coverage_area": row.area, "hallucination_at_half": row.rates[:, AT_HALF]}
    if other is not None:
        reached = np.isfinite(row.rates) & np.isfinite(other.rates)
        at = len(GRID) - 1 - np.argmax(reached[:, ::-1], axis=1)
        found["hallucination_at_equal"] = row.rates[np.arange(len(at)), at]
    return found


def _differences(a: Drawn, b: Drawn) -> dict[str, Floats]:
    """Measures of ``a`` minus those of ``b`` in every sample."""
    first, second = _measures(a, b), _measures(b, a)
    return {metric: first[metric] - second[metric] for metric in first}


def _interval(value: float, drawn: Floats, n: int) -> Interval:
    return interval_of(value, drawn, n) if np.isfinite(drawn).all() else Interval(value=float(value), n=n)

"""F1 of each attribute and its mean over attributes, with intervals over groups of products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from components.catalog.format.attributes import facts
from components.opal.evaluate.listings.measures import Floats, Target
from components.opal.model.listing_text import Listing
from components.retrieval.significance import Difference
from components.stage.record import Interval

BLOCK = 500  # bootstrap samples at once


@dataclass(frozen=True)
class Counts:
    """Right, wrong and missed values, int64 ``[products, attributes]`` each; names in the columns' order.

    A stated value is right (true positive) or wrong (false positive); a true value that is not stated, or
    stated wrongly, is missed (false negative).
    """

    names: list[str]
    right: npt.NDArray[np.int64]
    wrong: npt.NDArray[np.int64]
    missed: npt.NDArray[np.int64]


def count_values(targets: Sequence[Target], listings: Sequence[Listing | None]) -> Counts:
    """Compare attributes, value by value; what cannot be read as a listing states nothing."""
    names = sorted({n for t in targets for n in t.listing.attributes})
    stated = {n for listing in listings if listing for n in listing.attributes}
    names += sorted(stated - set(names))
    at = {name: i for i, name in enumerate(names)}
    shape = (len(targets), len(names))
    right, wrong, missed = (np.zeros(shape, np.int64) for _ in range(3))
    for i, (target, listing) in enumerate(zip(targets, listings, strict=True)):
        truth, said = set(facts(target.listing.attributes)), set(target.judged(listing))
        for found, values in ((right, truth & said), (wrong, said - truth), (missed, truth - said)):
            for name, _ in values:
                found[i, at[name]] += 1
    return Counts(names, right, wrong, missed)


def _f1(counts: Counts, weights: npt.NDArray[Any]) -> Floats:
    """F1 of each attribute for weighted products, ``[samples, attributes]``; NaN where it occurs nowhere."""
    weights = weights.astype(np.float64)
    right = 2 * (weights @ counts.right.astype(np.float64))
    whole = right + weights @ (counts.wrong.astype(np.float64) + counts.missed)
    return np.asarray(np.divide(right, whole, out=np.full_like(right, np.nan), where=whole > 0))


def macro_f1(counts: Counts, weights: npt.NDArray[Any]) -> Floats:
    """Mean over attributes of the attribute's F1, for weighted products ``[samples, products]``.

    An attribute that occurs neither in truth nor in any listing of a sample is left out of its mean.
    """
    return np.asarray(np.nanmean(_f1(counts, weights), axis=1))


@lru_cache(maxsize=1)
def _resamples(n: int, seed: int, samples: int) -> tuple[npt.NDArray[np.uint16], ...]:
    """How often each of ``n`` products is drawn, ``[samples, n]`` in blocks.

    All figures of one table are of the same products and share the draws: making them anew for each interval
    and each test took half of the time of both.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    even = np.full(n, 1 / n)
    return tuple(
        generator.multinomial(n, even, size=min(BLOCK, samples - start)).astype(np.uint16)
        for start in range(0, samples, BLOCK)
    )


def by_group(counts: Counts, groups: Sequence[str]) -> Counts:
    """Counts summed over each product group: near-duplicates are resampled together."""
    places: dict[str, int] = {}
    unit = np.array([places.setdefault(group, len(places)) for group in groups], np.int64)
    sums = []
    for part in (counts.right, counts.wrong, counts.missed):
        total = np.zeros((len(places), part.shape[1]), np.int64)
        np.add.at(total, unit, part)
        sums.append(total)
    return Counts(counts.names, *sums)


def macro_f1_interval(counts: Counts, seed: int, samples: int) -> Interval:
    """Macro-F1 with its percentile bootstrap interval over products."""
    n = len(counts.right)
    drawn = np.concatenate([macro_f1(counts, w) for w in _resamples(n, seed, samples)])
    return interval_of(macro_f1(counts, np.ones((1, n)))[0], drawn, n)


def macro_f1_test(a: Sequence[Counts], b: Sequence[Counts], seed: int, samples: int) -> Difference:
    """Paired bootstrap of the difference of two macro-F1 over the same products.

    Args:
        a, b: one side each; several counts of a side are of several seeds, whose differences are averaged.
    """
    n = len(a[0].right)

    def _difference(weights: npt.NDArray[Any]) -> Floats:
        each = [macro_f1(x, weights) - macro_f1(y, weights) for x, y in zip(a, b, strict=True)]
        return np.asarray(np.mean(each, axis=0))

    drawn = np.concatenate([_difference(w) for w in _resamples(n, seed, samples)])
    return difference_of(_difference(np.ones((1, n)))[0], drawn, n)


def interval_of(value: float, drawn: Floats, n: int) -> Interval:
    """A figure with the 95% percentile interval of its values in bootstrap samples of ``n`` units."""
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(value=float(value), low=float(low), high=float(high), n=n)


def difference_of(value: float, drawn: Floats, n: int) -> Difference:
    """A difference with its interval and two-sided p-value, as in ``paired_bootstrap``."""
    low, high = np.quantile(drawn, [0.025, 0.975])
    side = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
    p = min(1.0, 2 * (int(side) + 1) / (len(drawn) + 1))
    return Difference(difference=float(value), low=float(low), high=float(high), p=p, n=n)


def attribute_scores(counts: Counts) -> Mapping[str, float]:
    """F1 of each attribute over all products; NaN where it occurs nowhere."""
    f1 = _f1(counts, np.ones((1, len(counts.right))))[0]
    return dict(zip(counts.names, f1.tolist(), strict=True))

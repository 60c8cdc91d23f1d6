"""Bootstrap intervals and paired bootstrap tests over queries, or over groups of queries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel

from components.retrieval.errors import RetrievalDataError
from components.stage.record import Interval

# Random draws held at once: 250,000 int64 are 2 MB and stay in the processor's cache, which halves the time;
# the blocks' size changes no result.
BLOCK_DRAWS = 250_000
FEW_UNITS = 8  # distinct ones, below which their counts are drawn
MOST_TABLE_CELLS = 32_000_000  # of one table of draws, a byte each
MOST_KEPT_CELLS = 200_000_000  # of all tables that are kept
LEVEL = 0.95  # share of the resampled means inside an interval


class Difference(BaseModel):
    """How much ``a`` exceeds ``b`` on the same units: mean of a − b, its interval and two-sided p-value."""

    difference: float
    low: float
    high: float
    p: float
    n: int


def _units(values: NDArray[np.float64], clusters: Sequence[object] | None) -> NDArray[np.float64]:
    """Sum and size of each independent unit, float64 ``[units, 2]``; undefined values (NaN) are left out."""
    defined = ~np.isnan(values)
    if clusters is None:
        return np.stack([values[defined], np.ones(int(defined.sum()))], axis=1)
    if len(clusters) != len(values):
        raise RetrievalDataError(f"{len(clusters)} clusters were given for {len(values)} values.")
    places: dict[object, int] = {}
    unit = np.array(
        [places.setdefault(c, len(places)) for c, d in zip(clusters, defined, strict=True) if d], np.int64
    )
    sums = np.bincount(unit, weights=values[defined], minlength=len(places))
    return np.stack([sums, np.bincount(unit, minlength=len(places))], axis=1)


_kept: dict[tuple[int, int, int], NDArray[np.uint8]] = {}  # the one used longest ago comes first


def _drawn_counts(n: int, seed: int, samples: int) -> NDArray[np.uint8]:
    """How often each of ``n`` units is in each bootstrap sample, ``[samples, n]``.

    Many metrics of one evaluation are measured on the same units: drawing once serves them all, and each one
    is then a product with this table, twenty times faster than drawing again. Another variant comes back to
    the same dozens of units, so the tables are bounded by their size and not by their number.
    """
    key = (n, seed, samples)
    found = _kept.pop(key, None)
    _kept[key] = table = _draw(*key) if found is None else found
    while sum(kept.size for kept in _kept.values()) > MOST_KEPT_CELLS and len(_kept) > 1:
        del _kept[next(iter(_kept))]
    return table


def _draw(n: int, seed: int, samples: int) -> NDArray[np.uint8]:
    generator = np.random.Generator(np.random.PCG64(seed))
    counts = np.empty((samples, n), np.uint8)
    block = max(1, BLOCK_DRAWS // n)
    for start in range(0, samples, block):
        size = min(block, samples - start)
        drawn = generator.integers(0, n, size=(size, n)) + np.arange(size)[:, None] * n
        # A count above 255 takes more than 255 units, and has then a probability below 1e-500.
        found = np.bincount(drawn.ravel(), minlength=size * n)
        counts[start : start + size] = found.clip(max=255).reshape(size, n)
    return counts


def _resampled_means(units: NDArray[np.float64], seed: int, samples: int) -> NDArray[np.float64]:
    """Mean of each bootstrap sample of ``len(units)`` units, float64 ``[samples]``.

    Equal units are interchangeable: where few distinct ones exist (hits are 0 or 1) drawing how often each
    occurs from a multinomial is the same distribution and far less work than drawing every unit.
    """
    distinct, counts = np.unique(units, axis=0, return_counts=True)
    n = len(units)
    kept = n > 1 and n * samples <= MOST_TABLE_CELLS
    if len(distinct) * 8 <= n and (len(distinct) <= FEW_UNITS or not kept):
        totals = _multinomial(distinct, counts, seed, samples)
    elif not kept:
        totals = _one_by_one(units, seed, samples)
    else:
        table, block = _drawn_counts(n, seed, samples), max(1, BLOCK_DRAWS // n)
        # In blocks, for floats of the whole table would be eight times its size.
        parts = (table[i : i + block].astype(np.float64) @ units for i in range(0, samples, block))
        totals = np.concatenate(list(parts))
    means: NDArray[np.float64] = totals[:, 0] / totals[:, 1]
    return means


def _multinomial(
    distinct: NDArray[np.float64], counts: NDArray[np.int64], seed: int, samples: int
) -> NDArray[np.float64]:
    """Sums and sizes ``[samples, 2]``, from how often each distinct unit is drawn."""
    generator = np.random.Generator(np.random.PCG64(seed))
    n = int(counts.sum())
    block = max(1, BLOCK_DRAWS // len(distinct))
    sizes = (min(block, samples - start) for start in range(0, samples, block))
    return np.concatenate([generator.multinomial(n, counts / n, size=size) @ distinct for size in sizes])


def _one_by_one(units: NDArray[np.float64], seed: int, samples: int) -> NDArray[np.float64]:
    """Sums and sizes ``[samples, 2]``, for more units than a table holds."""
    generator = np.random.Generator(np.random.PCG64(seed))
    n = len(units)
    block = max(1, BLOCK_DRAWS // n)
    totals = np.empty((samples, 2))
    for start in range(0, samples, block):
        drawn = generator.integers(0, n, size=(min(block, samples - start), n))
        totals[start : start + len(drawn)] = units[drawn].sum(axis=1)
    return totals


def _limits(means: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _check(samples: int) -> None:
    if samples < 1:
        raise RetrievalDataError(f"A bootstrap needs at least 1 sample, not {samples}.")


def _equally_long(a: ArrayLike, b: ArrayLike, what: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise RetrievalDataError(
            f"{what} needs two equally long lists, not {first.shape} and {second.shape}."
        )
    return first, second


def bootstrap_interval(
    values: ArrayLike,
    seed: int,
    samples: int = 10_000,
    clusters: Sequence[object] | None = None,
) -> Interval:
    """Mean of ``values`` with its 95% percentile bootstrap interval (Efron and Tibshirani 1993, chapter 13).

    Args:
        values: float ``[queries]``; NaN means not defined and is left out.
        seed: equal seeds give equal intervals.
        samples: bootstrap samples.
        clusters: a hashable label per value; whole groups are resampled, for values that are not independent
            (queries that share a product group).

    Returns:
        ``n`` is the number of independent units: defined values, or clusters that hold one. With none the
        value is NaN and there is no interval.

    Raises:
        RetrievalDataError: lengths differ, or ``samples`` is below 1.
    """
    _check(samples)
    units = _units(np.asarray(values, np.float64), clusters)
    if not len(units):
        return Interval(value=float("nan"), n=0)
    low, high = _limits(_resampled_means(units, seed, samples))
    return Interval(value=float(units[:, 0].sum() / units[:, 1].sum()), low=low, high=high, n=len(units))


def paired_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    seed: int,
    samples: int = 10_000,
    clusters: Sequence[object] | None = None,
) -> Difference:
    """Test whether ``a`` and ``b``, measured on the same queries in the same order, have different means.

    The differences are resampled; p is twice the smaller share of samples on either side of zero, counting
    the observed one (so never 0), and agrees with the interval: p < 0.05 when the interval leaves zero out.

    Args:
        a, b: float ``[queries]``; a query where either is NaN is left out.
        seed, samples, clusters: as in :func:`bootstrap_interval`.

    Raises:
        RetrievalDataError: lengths differ, no query is left, or ``samples`` is below 1.
    """
    _check(samples)
    first, second = _equally_long(a, b, "A paired test")
    units = _units(first - second, clusters)
    if not len(units):
        raise RetrievalDataError("A paired test needs at least one query with both values defined.")
    means = _resampled_means(units, seed, samples)
    low, high = _limits(means)
    side = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
    p = min(1.0, 2 * (int(side) + 1) / (samples + 1))
    return Difference(
        difference=float(units[:, 0].sum() / units[:, 1].sum()), low=low, high=high, p=p, n=len(units)
    )


def bootstrap_ratio(
    part: ArrayLike,
    whole: ArrayLike,
    seed: int,
    samples: int = 10_000,
    clusters: Sequence[object] | None = None,
) -> Interval:
    """Mean of ``part`` over mean of ``whole``, of the same queries, with its 95% bootstrap interval.

    Both means are resampled together. Where ``whole`` may well be zero, there are no bounds.

    Args:
        part, whole: float ``[queries]``; a query where either is NaN is left out.
        seed, samples, clusters: as in :func:`bootstrap_interval`.

    Raises:
        RetrievalDataError: lengths differ, or ``samples`` is below 1.
    """
    _check(samples)
    first, second = _equally_long(part, whole, "A ratio")
    undefined = np.isnan(first) | np.isnan(second)
    sums = [_units(np.where(undefined, np.nan, v), clusters)[:, 0] for v in (first, second)]
    units = np.stack(sums, axis=1)
    if not len(units) or units[:, 1].sum() == 0:
        return Interval(value=float("nan"), n=len(units))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = _resampled_means(units, seed, samples)
    value = float(units[:, 0].sum() / units[:, 1].sum())
    if not np.isfinite(ratios).all():
        return Interval(value=value, n=len(units))
    low, high = _limits(ratios)
    return Interval(value=value, low=low, high=high, n=len(units))

"""Bootstrap intervals and tests against scipy and known truths."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from components.retrieval import significance
from components.retrieval.errors import RetrievalDataError
from components.retrieval.significance import bootstrap_interval, bootstrap_ratio, paired_bootstrap

CASES = {
    "hits": np.random.default_rng(1).random(400) < 0.3,
    "reciprocal ranks": 1 / np.random.default_rng(2).integers(1, 20, 300),
    "skewed reals": np.random.default_rng(3).exponential(size=60),
}


@pytest.mark.parametrize("name", CASES)
def test_interval_equals_scipys_percentile_bootstrap(name):
    values = CASES[name].astype(float)
    ours = bootstrap_interval(values, seed=5)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(9)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.value == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.05 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.05 * width)
    assert ours.n == len(values)


def test_paired_interval_equals_scipys_on_the_differences():
    generator = np.random.default_rng(4)
    a = generator.random(250)
    b = a - 0.05 + 0.3 * generator.standard_normal(250)
    ours = paired_bootstrap(a, b, seed=1)
    theirs = stats.bootstrap(
        (a - b,), np.mean, n_resamples=10_000, method="percentile", rng=2
    ).confidence_interval
    assert ours.difference == pytest.approx((a - b).mean())
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs), abs=0.05 * (theirs.high - theirs.low))


def test_both_ways_of_drawing_agree():
    few = np.repeat([0.0, 0.5, 1.0], 40)  # drawn by counts
    many = few + np.random.default_rng(0).normal(0, 1e-7, 120)  # distinct: drawn one by one
    a, b = bootstrap_interval(few, seed=3), bootstrap_interval(many, seed=3)
    assert (a.low, a.high) == pytest.approx((b.low, b.high), abs=0.05 * (a.high - a.low))


def test_clusters_of_copies_are_worth_one_unit_each():
    values = np.random.default_rng(6).random(50)
    alone = bootstrap_interval(values, seed=2)
    copied = bootstrap_interval(np.repeat(values, 20), seed=2, clusters=np.repeat(np.arange(50), 20).tolist())
    naive = bootstrap_interval(np.repeat(values, 20), seed=2)
    assert copied.n == 50
    assert (copied.value, copied.low, copied.high) == pytest.approx((alone.value, alone.low, alone.high))
    assert naive.high - naive.low < 0.5 * (copied.high - copied.low)


def test_clusters_of_unequal_size_equal_a_plain_loop():
    values, labels = [1.0, 0.0, 0.5, 0.25, 1.0, 0.0], ["a", "a", "a", "b", "c", "c"]
    ours = bootstrap_interval(values, seed=0, clusters=labels, samples=20_000)
    generator = np.random.default_rng(8)
    groups = [[1.0, 0.0, 0.5], [0.25], [1.0, 0.0]]
    means = [np.mean(np.concatenate([groups[i] for i in generator.integers(0, 3, 3)])) for _ in range(20_000)]
    assert (ours.low, ours.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.03)


def test_type_one_error_is_near_its_level_and_power_is_there():
    generator = np.random.default_rng(11)
    null = [paired_bootstrap(*generator.random((2, 80)), seed=i, samples=1000).p < 0.05 for i in range(200)]
    assert 0.005 <= np.mean(null) <= 0.11
    a = generator.random(400)
    shifted = paired_bootstrap(a + 0.1, a + 0.2 * generator.standard_normal(400), seed=0)
    assert shifted.low > 0
    assert shifted.p < 0.001


def test_undefined_values_are_left_out_and_pairs_with_them():
    assert bootstrap_interval([1.0, math.nan, 0.0], seed=0).n == 2
    assert paired_bootstrap([1.0, math.nan, 0.0], [0.0, 1.0, math.nan], seed=0).n == 1
    nothing = bootstrap_interval([math.nan], seed=0)
    assert math.isnan(nothing.value) and nothing.low is None and nothing.n == 0


def test_equal_systems_have_no_difference():
    same = paired_bootstrap([0.0, 1.0, 0.5], [0.0, 1.0, 0.5], seed=0)
    assert (same.difference, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)


def test_equal_seeds_give_equal_results():
    values = np.random.default_rng(0).random(30)
    assert bootstrap_interval(values, seed=4) == bootstrap_interval(values, seed=4)
    assert bootstrap_interval(values, seed=4) != bootstrap_interval(values, seed=5)


@pytest.mark.parametrize(
    "call",
    [
        lambda: paired_bootstrap([1.0], [1.0, 2.0], seed=0),
        lambda: paired_bootstrap([math.nan], [1.0], seed=0),
        lambda: bootstrap_ratio([1.0], [1.0, 2.0], seed=0),
        lambda: bootstrap_interval([1.0], seed=0, samples=0),
        lambda: bootstrap_interval([1.0], seed=0, clusters=["a", "b"]),
    ],
)
def test_wrong_input_is_refused(call):
    with pytest.raises(RetrievalDataError):
        call()


def test_a_ratios_interval_equals_scipys_on_pairs_resampled_together():
    generator = np.random.default_rng(7)
    whole = generator.random(200)
    part = 0.6 * whole + 0.1 * generator.standard_normal(200)
    ours = bootstrap_ratio([*part, math.nan], [*whole, 1.0], seed=5)
    theirs = stats.bootstrap(
        (part, whole), lambda a, b, axis: a.mean(axis=axis) / b.mean(axis=axis), paired=True,
        vectorized=True, method="percentile", n_resamples=10_000, rng=np.random.default_rng(9),
    ).confidence_interval  # fmt: skip
    width = theirs.high - theirs.low
    assert ours.value == pytest.approx(part.mean() / whole.mean()) and ours.n == 200
    assert ours.low == pytest.approx(theirs.low, abs=0.05 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.05 * width)


def test_a_ratio_to_nothing_has_no_bounds():
    assert math.isnan(bootstrap_ratio([1.0, 2.0], [0.0, 0.0], seed=0).value)
    ratio = bootstrap_ratio([1.0, 1.0], [0.0, 1.0], seed=0)
    assert (ratio.value, ratio.low, ratio.high) == (2.0, None, None)


@pytest.mark.parametrize("n", [1, 2, 300])
def test_a_table_of_draws_equals_drawing_one_by_one(n, monkeypatch):
    values = np.random.default_rng(n).random(n)
    tabled = bootstrap_interval(values, seed=6)
    monkeypatch.setattr(significance, "MOST_TABLE_CELLS", 0)
    plain = bootstrap_interval(values, seed=6)
    assert (tabled.low, tabled.high) == pytest.approx((plain.low, plain.high), rel=1e-12)


def test_tables_that_do_not_fit_are_drawn_again_and_change_nothing(monkeypatch):
    drawn: list[tuple[int, ...]] = []
    draw = significance._draw
    monkeypatch.setattr(significance, "_kept", {})
    monkeypatch.setattr(significance, "_draw", lambda *key: drawn.append(key) or draw(*key))
    monkeypatch.setattr(significance, "MOST_KEPT_CELLS", 100 * (40 + 41))
    values = {n: np.random.default_rng(n).random(n) for n in (40, 41, 42)}
    first = {n: bootstrap_interval(v, seed=6, samples=100) for n, v in values.items()}
    assert bootstrap_interval(values[42], seed=6, samples=100) == first[42]
    assert [n for n, *_ in drawn] == [40, 41, 42]
    assert bootstrap_interval(values[40], seed=6, samples=100) == first[40]
    assert [n for n, *_ in drawn] == [40, 41, 42, 40]
    assert sum(table.size for table in significance._kept.values()) <= 100 * (40 + 42)

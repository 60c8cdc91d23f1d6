"""Pairs: who is a positive, who may be a negative, and that a step depends on its number alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from components.fusion.model.data.judgements import Judgements, pair_weights, read_judgements
from components.fusion.model.data.mining import Pool, mine, mining_pool
from components.fusion.model.data.pairs import PairBatch, PairSampler, query_to_product
from components.fusion.model.errors import FusionDataError
from components.fusion.model.params import FusionParams, PairParams, SignalWeights
from components.stage.errors import ConfigurationError
from components.stage.params import validate
from components.training.batches import BatchOrder


@pytest.fixture
def pairs(blocks: dict[str, Any]) -> PairParams:
    return FusionParams.model_validate(blocks["fusion"]).pairs


def judgements(rng: np.random.Generator, queries: int = 12, products: int = 30) -> Judgements:
    """Random judgements; every query has a positive."""
    product, grade, counts = [], [], []
    for _ in range(queries):
        own = np.sort(rng.permutation(products)[: rng.integers(1, 9)])
        product += own.tolist()
        counts.append(len(own))
        grade += rng.integers(1, 4, len(own)).tolist()
    grades = np.array(grade, dtype=np.int8)
    names = [f"q{i}" for i in range(queries)]
    starts = np.concatenate([[0], np.cumsum(counts)])
    return Judgements(names, names, starts, np.array(product), grades, grades.astype(float))


def sampler(seed: int, pairs: PairParams, blocks: dict[str, Any]) -> PairSampler:
    rng = np.random.default_rng(seed)
    known, groups = judgements(rng), rng.integers(0, 20, 30)
    vectors = rng.normal(size=(42, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    mined = mine(vectors[:12], Pool(np.arange(30), vectors[12:]), known, groups, pairs)
    order = BatchOrder(rng.integers(0, 3, 12), blocks["fuse"]["optimisation"]["batch_size"], 2, 7)
    return PairSampler(known, groups, mined, pairs, order)


@pytest.mark.parametrize("seed", range(5))
def test_no_negative_is_as_relevant_or_of_the_positives_group(
    seed: int, pairs: PairParams, blocks: dict[str, Any]
) -> None:
    drawn = sampler(seed, pairs, blocks)
    known = drawn.judgements
    for step in range(4):
        batch = drawn.batch(step, drawn.order.rng(step))
        for row, query in enumerate(batch.queries):
            entries = range(known.starts[query], known.starts[query + 1])
            graded = {int(known.product[e]): int(known.grade[e]) for e in entries}
            positive = int(batch.products[batch.target[row]])
            assert graded[positive] > 0
            for column, candidate in enumerate(batch.products.tolist()):
                same = drawn.groups[candidate] == drawn.groups[positive]
                as_good = graded.get(candidate, 0) >= graded[positive]
                expected = candidate != positive and (same or as_good)
                assert bool(batch.excluded[row, column]) == expected


@pytest.mark.parametrize("seed", range(5))
def test_mined_products_are_no_answers(seed: int, pairs: PairParams, blocks: dict[str, Any]) -> None:
    drawn = sampler(seed, pairs, blocks)
    known, best = drawn.judgements, drawn.judgements.best_grade()
    for query in range(len(known)):
        own = slice(known.starts[query], known.starts[query + 1])
        answers = known.product[own][known.grade[own] == best[query]]
        found = drawn.mined.products[query]
        found = found[found >= 0]
        assert len(found) and not set(found) & set(answers)
        assert not set(drawn.groups[found]) & set(drawn.groups[answers])


def test_suspected_false_negatives_are_counted_and_dropped(pairs: PairParams) -> None:
    queries = np.array([[1.0, 0.0]], dtype=np.float32)
    vectors = np.array([[0.8, 0.6], [1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], dtype=np.float32)
    known = Judgements(["q"], ["q"], np.array([0, 1]), np.array([0]), np.array([3], np.int8), np.ones(1))
    pool, groups = Pool(np.arange(4), vectors), np.arange(4)
    kept = mine(queries, pool, known, groups, pairs)
    assert kept.products[0].tolist() == [1, 2, 3, -1] and kept.suspected_share == pytest.approx(1 / 3)
    strict = pairs.model_copy(update={"drop_suspected": True})
    assert mine(queries, pool, known, groups, strict).products[0].tolist() == [2, 3, -1, -1]


def test_a_step_depends_on_its_number_alone(pairs: PairParams, blocks: dict[str, Any]) -> None:
    one, other = sampler(3, pairs, blocks), sampler(3, pairs, blocks)
    other.batch(0, other.order.rng(0))
    for step in (5, 2):
        a, b = (s.batch(step, s.order.rng(step)) for s in (one, other))
        assert all(np.array_equal(getattr(a, name), getattr(b, name)) for name in vars(a))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(1, 5), st.integers(1, 7))
def test_an_epoch_asks_every_query_once(queries: int, topics: int, size: int) -> None:
    order = BatchOrder(np.arange(queries) % topics, queries, size, seed=1).rows(3)
    assert sorted(order.tolist()) == list(range(queries))


def test_positives_are_drawn_by_weight() -> None:
    weight = np.array([1.0, 3.0, 0.0, 2.0])
    known = Judgements(["a", "b"], ["", ""], np.array([0, 3, 4]), np.arange(4), np.ones(4, np.int8), weight)
    rng = np.random.default_rng(0)
    drawn = np.array([known.draw(np.array([0, 1]), rng) for _ in range(4000)])
    assert (drawn[:, 1] == 3).all()
    assert np.bincount(drawn[:, 0], minlength=3) / 4000 == pytest.approx([0.25, 0.75, 0], abs=0.03)
    assert known.frequency(4) == pytest.approx([0.125, 0.375, 0, 0.5])


def test_weights_rise_from_relevance_to_purchase(blocks: dict[str, Any]) -> None:
    weights = SignalWeights.model_validate(blocks["fusion"]["pairs"]["weights"])
    found = pair_weights(np.full(6, 3), np.array([-1, 0, 1, 2, 3, 4]), weights)
    assert found.tolist() == [1.0, 1.0, 1.0, 1.5, 2.0, 3.0]
    with pytest.raises(ConfigurationError, match="must not fall"):
        validate(SignalWeights, weights.model_dump() | {"purchase": 1.0}, "fusion.pairs.weights")


def test_the_loss_is_cross_entropy_over_what_may_be_a_negative() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, products = torch.randn(3, 4, generator=generator), torch.randn(5, 4, generator=generator)
    target, excluded = torch.tensor([0, 2, 4]), torch.zeros(3, 5, dtype=torch.bool)
    excluded[0, 3] = excluded[2, 0] = True
    correction = torch.tensor([0.1, -0.2, 0.3, 0.0, 0.5])
    expected = []
    for i in range(3):
        kept = [j for j in range(5) if not excluded[i, j]]
        logits = torch.stack([2.0 * queries[i] @ products[j] - correction[j] for j in kept])
        expected.append(-F.log_softmax(logits, 0)[kept.index(int(target[i]))])
    places = np.arange(3), np.arange(5)
    batch = PairBatch(*places, target.numpy(), excluded.numpy(), correction.numpy())
    found = query_to_product(queries, products, 2.0, batch)
    assert torch.allclose(found, torch.stack(expected).mean(), atol=1e-6)


def test_only_queries_of_the_split_are_read(shop: Path, pairs: PairParams) -> None:
    known = read_judgements(shop / "data/checked", "train", [f"p{i:04d}" for i in range(24)], pairs.weights)
    assert known.query_ids and all(name.startswith("q-train") for name in known.query_ids)
    assert len(known.starts) == len(known) + 1 and known.starts[-1] == len(known.product)
    with pytest.raises(FusionDataError, match="No query of the test split"):
        read_judgements(shop / "data/checked", "test", ["p0000"], pairs.weights)


def test_the_pool_is_bounded() -> None:
    assert mining_pool(10, 40, 1).tolist() == list(range(10))
    assert len(set(mining_pool(100, 40, 1).tolist())) == 40

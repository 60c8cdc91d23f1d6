"""Metrics and ranking against trec_eval (pytrec_eval) and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from components.retrieval.errors import RetrievalDataError
from components.retrieval.metrics import Qrels, hits_at, judge, ndcg_at, recall_at, reciprocal_rank
from components.retrieval.ranking import rank, top_k

ORACLE = {
    "success_1": lambda judged: hits_at(judged, 1),
    "success_5": lambda judged: hits_at(judged, 5),
    "ndcg_cut_5": lambda judged: ndcg_at(judged, 5),
    "ndcg_cut_10": lambda judged: ndcg_at(judged, 10),
    "recall_5": lambda judged: recall_at(judged, 5),
    "recip_rank": reciprocal_rank,
}
IDS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=3)


def trec_eval(
    qrels: dict[str, dict[str, int]], run: dict[str, dict[str, float]]
) -> dict[str, dict[str, float]]:
    measures = {"success.1,5", "ndcg_cut.5,10", "recall.5", "recip_rank"}
    return pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[str], np.ndarray, dict[str, dict[str, int]], np.ndarray]:
    """Product ids in any order, scores full of ties, judgements with holes, and a depth for each query."""
    products = draw(st.lists(IDS, min_size=1, max_size=12, unique=True))
    queries = draw(st.integers(1, 4))
    levels = st.sampled_from([0.0, -0.0, 0.5, -1.0, 1.0, 2.5, 1e-30])
    scores = draw(st.lists(levels, min_size=queries * len(products), max_size=queries * len(products)))
    judged = {}
    for q in range(queries):
        pool = [*products, "\x7fnowhere", "\x7fnorthere"]
        judged[f"q{q}"] = draw(st.dictionaries(st.sampled_from(pool), st.integers(0, 3), max_size=len(pool)))
    depth = np.array(draw(st.lists(st.integers(0, len(products)), min_size=queries, max_size=queries)))
    return products, np.array(scores).reshape(queries, -1), judged, depth


@settings(max_examples=100, deadline=None)
@given(worlds())
def test_every_metric_equals_trec_eval(world):
    products, scores, judged, depth = world
    ranking = top_k(scores, len(products), products)
    ranking[np.arange(len(products)) >= depth[:, None]] = -1
    run = {
        f"q{q}": {products[p]: float(scores[q, p]) for p in ranking[q] if p >= 0} for q in range(len(scores))
    }
    rows = [(q, p, g) for q, found in judged.items() for p, g in found.items()]
    judgement = judge(ranking, Qrels.from_ids(rows, list(run), products))
    ours = {measure: metric(judgement) for measure, metric in ORACLE.items()}
    theirs = trec_eval({q: found for q, found in judged.items() if found}, run)
    for q, name in enumerate(run):
        for measure in ORACLE:
            if not judged[name]:
                assert np.isnan(ours[measure][q])
            elif name in theirs:
                assert ours[measure][q] == pytest.approx(theirs[name][measure], abs=1e-9), (measure, name)
            else:  # trec_eval leaves out a query that retrieved nothing
                assert not run[name] and ours[measure][q] == 0


def test_a_large_random_collection_equals_trec_eval():
    generator = np.random.default_rng(7)
    ids = [f"p{i:03d}" for i in range(200)]
    scores = generator.integers(0, 30, (60, 200)).astype(np.float32)
    grades = generator.integers(-20, 4, (60, 200))
    rows = [(f"q{q}", ids[p], int(grades[q, p])) for q, p in zip(*np.nonzero(grades >= 0), strict=True)]
    queries = [f"q{q}" for q in range(60)]
    judgement = judge(top_k(scores, 200), Qrels.from_ids(rows, queries, ids))
    judged: dict[str, dict[str, int]] = {}
    for q, p, g in rows:
        judged.setdefault(q, {})[p] = g
    theirs = trec_eval(
        judged, {q: dict(zip(ids, map(float, scores[i]), strict=True)) for i, q in enumerate(queries)}
    )
    for measure, metric in ORACLE.items():
        np.testing.assert_allclose(metric(judgement), [theirs[q][measure] for q in queries], atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_rank_equals_a_full_sort_with_ties_by_greater_position(queries, products, k, seed):
    generator = np.random.default_rng(seed)
    q = generator.integers(-2, 3, (queries, 3)).astype(
        np.float32
    )  # small integers: exact products, many ties
    p = generator.integers(-2, 3, (products, 3)).astype(np.float32)
    scores, found = rank(q, p, k)
    for i in range(queries):
        exact = q[i] @ p.T
        expected = sorted(range(products), key=lambda j: (-exact[j], -j))[:k]
        assert found[i].tolist() == expected
        assert scores[i].tolist() == exact[expected].tolist()


def test_rank_in_blocks_equals_rank_at_once(monkeypatch):
    generator = np.random.default_rng(3)
    q, p = (generator.integers(-3, 4, (n, 4)).astype(np.float32) for n in (37, 101))
    whole = rank(q, p, 10)
    monkeypatch.setattr("components.retrieval.ranking.BLOCK_PRODUCTS", 13)
    monkeypatch.setattr("components.retrieval.ranking.BLOCK_SCORES", 40)
    monkeypatch.setattr("components.retrieval.metrics.BLOCK_CELLS", 300)
    for a, b in zip(whole, rank(q, p, 10), strict=True):
        np.testing.assert_array_equal(a, b)


def test_grades_in_blocks_equal_grades_at_once(monkeypatch):
    generator = np.random.default_rng(4)
    cells = generator.permutation(30 * 20)[:200]
    qrels = Qrels.from_arrays(cells // 20, cells % 20, generator.integers(0, 4, 200), 30, 20)
    ranking = np.argsort(generator.random((30, 20)), axis=1)
    ranking[::3, 4:] = -1
    whole = judge(ranking, qrels).grades
    monkeypatch.setattr("components.retrieval.metrics.BLOCK_CELLS", 50)
    np.testing.assert_array_equal(judge(ranking, qrels).grades, whole)


def test_a_higher_level_asks_for_better_products():
    qrels = Qrels.from_arrays([0, 0], [0, 1], [1, 3], 1, 3)
    judged = judge(np.array([[0, 2, 1]]), qrels)
    assert hits_at(judged, 2).tolist() == [1.0]
    assert hits_at(judged, 2, level=2).tolist() == [0.0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: top_k(np.array([[1.0, np.nan]]), 1), "not finite"),
        (lambda: top_k(np.array([[1.0]]), 0), "at least 1"),
        (
            lambda: rank(np.zeros((1, 2), np.float32), np.zeros((1, 3), np.float32), 1),
            "same number of columns",
        ),
        (lambda: Qrels.from_arrays([0, 0], [1, 1], [1, 2], 1, 2), "judged twice"),
        (lambda: Qrels.from_arrays([0], [5], [1], 1, 2), "outside"),
        (lambda: Qrels.from_arrays([0], [0], [-1], 1, 2), "between 0"),
        (lambda: judge(np.array([[7]]), Qrels.from_arrays([0], [0], [1], 1, 1)), "outside"),
    ],
)
def test_wrong_input_is_refused(call, words):
    with pytest.raises(RetrievalDataError, match=words):
        call()


def test_a_thousand_queries_over_a_thousand_products_take_milliseconds():
    import time

    generator = np.random.default_rng(0)
    ranking = np.argsort(generator.random((1000, 1000)), axis=1)
    qrels = Qrels.from_arrays(
        np.repeat(np.arange(1000), 10), np.tile(np.arange(10), 1000), np.ones(10_000), 1000, 1000
    )
    times = []
    for _ in range(5):
        start = time.perf_counter()
        judged = judge(ranking, qrels)
        for metric in ORACLE.values():
            metric(judged)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.25  # about 0.02 s; the bound only catches a loop over queries on a busy machine

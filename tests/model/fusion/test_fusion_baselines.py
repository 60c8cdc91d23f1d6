"""Rows that train nothing: words, BM25, reciprocal rank fusion and weighted sums, beside plain loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.fusion.model.baselines import (
    best_weights,
    lexical_index,
    mean_ndcg,
    reciprocal_rank_fusion,
    simplex,
    unseen_last,
    weighted_sum,
)
from components.fusion.model.params import Bm25Params
from components.fusion.model.sources.bm25 import Bm25, words
from components.fusion.model.sources.evidence import standardised
from components.fusion.model.towers.towers import Items
from components.retrieval.metrics import Qrels

PARAMS = Bm25Params(k1=1.2, b=0.75)
LISTINGS = ["USB-C cable, size M", "usb-a cable, size S", "desk lamp", "", "cable USB-C for USB-A desks"]


def test_words_keep_what_tells_products_apart() -> None:
    assert words("USB-C, size S") == ["usb", "c", "size", "s"]
    assert words("Ｓｉｚｅ Ｍ") == words("size m"), "full-width letters are letters"
    assert words("STRASSE 5²") == words("straße 52")
    assert words("cafe\u0301") == words("café") and words("हिन्दी") == ["हिन्दी"], "a mark belongs to its word"
    assert words(" -- ") == []


@given(st.text())
def test_words_are_words_again(text: str) -> None:
    found = words(text)
    assert words(" ".join(found)) == found and all(found)


def test_bm25_is_the_formula_of_its_paper() -> None:
    """Robertson and Zaragoza 2009, with the smoothed inverse document frequency of Lucene."""
    texts = [words(text) or ["\0"] for text in LISTINGS]
    mean = sum(map(len, texts)) / len(texts)
    queries = ["usb c", "size m", "desk desk", "unknown words", ""]
    found = Bm25(LISTINGS, PARAMS).scores(queries)
    for q, query in enumerate(queries):
        for p, text in enumerate(texts):
            total = 0.0
            for word in words(query):
                having = sum(word in other for other in texts)
                idf = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
                count = text.count(word)
                total += idf * count / (count + PARAMS.k1 * (1 - PARAMS.b + PARAMS.b * len(text) / mean))
            assert found[q, p] == pytest.approx(total if any(texts) else 0, abs=1e-5)


def test_bm25_tells_one_letter_from_another() -> None:
    index = Bm25(LISTINGS, PARAMS)
    scores = index.scores(["usb-c cable size m", "USB-A cable size S"])
    assert scores.argmax(axis=1).tolist() == [0, 1] and not scores[:, 3].any()
    assert index.known_share(["usb-c hub", "nothing", ""]) == pytest.approx([2 / 3, 0, 0])


def items(texts: list[str], has_text: list[bool]) -> Items:
    rows: list[dict[str, Any]] = [{"product_id": f"p{i}", "title": text} for i, text in enumerate(texts)]
    nothing = np.zeros((len(rows), 2), np.float32)
    return Items(rows, nothing, nothing, np.array(has_text), np.ones(len(rows), bool))


def test_a_text_that_is_taken_away_is_not_found_by_its_words() -> None:
    whole = lexical_index(items(["red mug", "red lamp"], [True, True]), ["title"], PARAMS)
    silent = lexical_index(items(["red mug", "red lamp"], [True, False]), ["title"], PARAMS)
    assert (whole.scores(["red"]) > 0).all() and (silent.scores(["red"]) > 0).tolist() == [[True, False]]


def test_reciprocal_rank_fusion_sums_what_each_source_found() -> None:
    first = np.array([[3.0, 2.0, 0.0]], np.float32)
    second = np.array([[-1.0, 0.9, 0.5]], np.float32)
    fused = reciprocal_rank_fusion([(first, first > 0), (second, np.ones_like(second, bool))])
    assert fused[0] == pytest.approx([1 / 61 + 1 / 63, 1 / 62 + 1 / 61, 1 / 62])


def test_standardised_scores_are_those_of_the_products_seen() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(3, 5, (4, 7)).astype(np.float32)
    scores[3] = 2.0  # tells none from another
    seen = np.array([True] * 5 + [False] * 2)
    found = standardised(scores, seen)
    told = scores[:3, :5]
    expected = (told - told.mean(axis=1, keepdims=True)) / told.std(axis=1, keepdims=True)
    assert np.allclose(found[:3, :5], expected, atol=1e-5)
    assert not found[:, 5:].any() and not found[3].any()
    last = unseen_last(found, seen)
    assert (last[:, 5:].max(axis=1) < last[:, :5].min(axis=1)).all()


def test_the_weights_found_are_the_best_of_the_simplex() -> None:
    rng = np.random.default_rng(3)
    grades = rng.integers(0, 4, (40, 25)) * (rng.random((40, 25)) < 0.2)
    query, product = grades.nonzero()
    qrels = Qrels.from_arrays(query, product, grades[query, product], 40, 25)
    sources = [(grades + rng.normal(0, noise, grades.shape)).astype(np.float32) for noise in (1.5, 2.0, 3.0)]
    tried = simplex(4, 3)
    assert len(tried) == len(set(tried)) == 15 and all(sum(weights) == 1 for weights in tried)
    best = best_weights(sources, qrels, 4)
    found = {weights: mean_ndcg(weighted_sum(sources, weights), qrels) for weights in tried}
    assert found[best] == max(found.values())
    corners = [mean_ndcg(source, qrels) for source in sources]
    assert found[best] > max(corners), "sources with errors of their own are better together"
    same = best_weights([grades.astype(np.float32)] * 3, qrels, 3)
    assert same == (1 / 3, 1 / 3, 1 / 3), "where the queries cannot tell, no source is left out"

"""What shoppers ask the synthetic shop: grades follow from truth, wordings keep apart, engagement tells."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest

from components.catalog.format.records import Product, Qrel, Query
from components.shop.design import generator, plan, specification
from components.shop.errors import ShopError
from components.shop.params import EngagementParams, QueryCounts, ShopParams
from components.shop.shop import Shop
from components.shop.texts import wording
from components.shop.texts.queries import Wish, appeal, ask, desirability
from components.shop.texts.text import write_listing
from tests.data.parameter_blocks import shop_block

PARAMS = ShopParams.model_validate(
    shop_block(
        (120, 40, 160),
        seed=11,
        max_exact=6,
        products=600,
        test_fraction=0.3,
        validation_fraction=0.2,
        image_px=32,
        supersampling=1,
        jpeg_quality=80,
        neighbours_max=3,
    )
)
QUERIES, ENGAGEMENT = PARAMS.queries, PARAMS.engagement
Asked = list[tuple[Query, Wish, list[Qrel]]]


@pytest.fixture(scope="module")
def asked() -> Asked:
    return list(ask(plan(PARAMS)))


@pytest.fixture(scope="module")
def products() -> list[Product]:
    return [product for product, _ in Shop(PARAMS).products()]


def _grade(wish: Wish, product: Product) -> int:
    """Relevance once more, from the listing of what is true, by plain counting."""
    if product.product_type != wish.product_type:
        return 0
    missing = sum(product.attributes.get(name) != value for name, value in wish.attributes.items())
    asked = len(wish.attributes)
    if missing == 0:
        return 3
    if 3 * missing <= asked:
        return 2
    return 1 if 2 * missing <= asked else 0


def test_grades_follow_from_truth(asked: Asked, products: list[Product]) -> None:
    for query, wish, qrels in asked[::3]:
        expected = {p.product_id: _grade(wish, p) for p in products if p.split == query.split}
        expected = {product_id: grade for product_id, grade in expected.items() if grade}
        assert {qrel.product_id: qrel.relevance for qrel in qrels} == expected
        assert all(qrel.query_id == query.query_id for qrel in qrels)


def test_each_query_has_an_exact_answer_and_not_many(asked: Asked) -> None:
    exact = [sum(qrel.relevance == 3 for qrel in qrels) for _, _, qrels in asked]
    assert min(exact) >= 1 and max(exact) <= QUERIES.max_exact
    assert np.median(exact) <= 5


def test_counts_kinds_and_order() -> None:
    queries, qrels = Shop(PARAMS).queries()
    for split, count in (("train", 120), ("validation", 40), ("test", 160)):
        kinds = [query.kind for query in queries if query.split == split]
        assert (len(kinds), kinds.count("visual"), kinds.count("textual")) == (count, count // 2, count // 2)
    assert [q.query_id for q in queries] == sorted({q.query_id for q in queries})
    keys = [(qrel.query_id, qrel.product_id) for qrel in qrels]
    assert all(a < b for a, b in pairwise(keys))
    assert all(qrel.relevance > 0 and qrel.desirability is not None for qrel in qrels)


def test_queries_are_equal_by_seed_and_differ_across_seeds(asked: Asked) -> None:
    assert list(ask(plan(PARAMS))) == asked
    other = {query.text for query, _, _ in ask(plan(PARAMS.model_copy(update={"seed": 12})))}
    assert len(other & {query.text for query, _, _ in asked}) < len(asked) / 4


def test_no_text_is_asked_twice(asked: Asked) -> None:
    texts = [query.text for query, _, _ in asked]
    assert len(set(texts)) == len(texts)


def test_texts_say_what_is_wished(asked: Asked) -> None:
    for query, wish, _ in asked:
        names = {wish.product_type, wording.NOUNS.get(wish.product_type, wish.product_type)}
        assert any(name in query.text for name in names), query
        for name, value in wish.attributes.items():
            said = {value.lower(), *wording.SEEN.get(name, {}).get(value, ()), wording.HUES.get(value, value)}
            assert any(word in query.text for word in said), (query, name, value)
        if query.kind == "visual":
            assert set(wish.attributes) & set(wording.SEEN), "something besides colour is to be seen"
            assert not {"brand", "material", "use"} & set(wish.attributes)


def test_textual_queries_ask_what_a_listing_states(asked: Asked, products: list[Product]) -> None:
    """Some exact answer states every asked value in its title or description."""
    by_id = {product.product_id: product for product in products}
    synonyms = {name: {name, *words} for name, words in wording.SELLERS["prints"].items()}
    for query, wish, qrels in asked:
        if query.kind != "textual":
            continue
        listings = [by_id[q.product_id] for q in qrels if q.relevance == 3]
        written = [f"{p.title} {p.description}".lower() for p in listings]
        assert any(
            all(any(w in words for w in synonyms.get(v, {v.lower()})) for v in wish.attributes.values())
            for words in written
        ), query


def _phrases(held_out: bool) -> list[str]:
    return [pair[held_out] for values in wording.SEEN.values() for pair in values.values()]


def test_some_wordings_occur_in_test_queries_only(asked: Asked) -> None:
    held_out = set(_phrases(True)) - set(_phrases(False))
    starts = ("show me", "i saw", "do you have")
    told: dict[str, int] = defaultdict(int)
    for query, _, _ in asked:
        new = query.text.startswith(starts)
        told[query.split] += new
        if query.split != "test":
            assert not new and not any(phrase in query.text for phrase in held_out if len(phrase) > 14)
    assert 20 <= told["test"] <= 60


def test_sellers_do_not_write_as_shoppers_ask() -> None:
    shop = plan(PARAMS)
    phrases = {phrase for held_out in (False, True) for phrase in _phrases(held_out)}
    phrases |= {noun for kind, noun in wording.NOUNS.items()} | set(wording.HUES.values())
    for index in range(300):
        listing = write_listing(specification(shop, index), generator(11, "listing", index))
        padded = f" {listing.title} {listing.description} ".lower()
        assert not [phrase for phrase in phrases if f" {phrase} " in padded and " " in phrase]


def test_every_visible_value_has_words() -> None:
    from components.shop.assortment import COLOURS, PATTERNS, TYPES

    assert set(wording.HUES) == set(COLOURS)
    assert set(wording.SEEN["pattern"]) == set(PATTERNS)
    for kind in TYPES.values():
        for name, values in kind.parts.items():
            phrases = [phrase for value in values for phrase in wording.SEEN[name][value]]
            assert len(set(phrases)) == 2 * len(values), (kind.name, name)


def test_desirability_leans_on_relevance_and_on_the_picture(asked: Asked) -> None:
    shop = plan(PARAMS)
    whole = [specification(shop, index) for index in range(len(shop))]
    appeals = dict(zip((w.product_id for w in whole), appeal(shop, whole).tolist(), strict=True))
    judged = [qrel for _, _, qrels in asked for qrel in qrels]
    means = [np.mean([q.desirability for q in judged if q.relevance == grade]) for grade in (1, 2, 3)]
    assert means[0] < means[1] < means[2]
    assert {qrel.desirability for qrel in judged} == {0, 1, 2, 3, 4}
    for grade in (1, 2, 3):
        same = [(appeals[q.product_id], q.desirability) for q in judged if q.relevance == grade]
        assert 0.1 < np.corrcoef(np.array(same, float).T)[0, 1] < 0.8


def test_a_shopper_without_leanings_gives_no_signal() -> None:
    blind = EngagementParams(relevance_weight=0, appeal_weight=0, noise=0, step_logit=0, step_cost=0)
    grades = np.repeat([1, 3], 4000)
    steps = desirability(grades, np.zeros(8000), blind, generator(1, "blind"))
    assert np.bincount(steps, minlength=5) / 8000 == pytest.approx(
        [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 16], abs=0.02
    )
    assert abs(steps[:4000].mean() - steps[4000:].mean()) < 0.1


def test_a_shop_too_small_for_its_queries_says_what_to_change() -> None:
    queries = QUERIES.model_copy(
        update={"count": QueryCounts(train=0, validation=0, test=1000), "visual_share": 0.0}
    )
    small = PARAMS.model_copy(update={"products": 48, "test_fraction": 0.1, "queries": queries})
    with pytest.raises(ShopError, match=r"shop\.queries\.count\.test \(now 1000\)"):
        Shop(small).queries()

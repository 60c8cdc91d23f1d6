"""What validation prefers: the system, the weights of text and picture, and the floor under an answer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from components.fusion.answer.answer import PLAIN, AnswerChoice, Floor, check_towers, read_answer
from components.fusion.answer.composed import BEST, FITS, Composed, composed_queries
from components.fusion.evaluate import choose
from components.fusion.evaluate.held_out import Settings, open_towers, read_split
from components.fusion.evaluate.params import FusionEvaluationParams
from components.fusion.evaluate.scorers import TunedBaselines
from components.fusion.model.errors import FusionDataError
from components.fusion.model.params import FusionParams
from components.fusion.model.towers.towers import joined
from components.search.command import no_match, warnings, why
from components.search.products import Likeliest, Question, SearchResult, no_type
from components.stage.left_out import write_note
from tests.model.fusion.conftest import BLOCKS


def row(name: str, kind: str, group: str, **attributes: str) -> dict[str, object]:
    pairs = [{"name": key, "value": value} for key, value in attributes.items()]
    return {"product_id": name, "product_type": kind, "group_id": group, "attributes": pairs}


ROWS = [
    row("a", "dress", "g1", colour="red", sleeve="long", brand="x"),
    row("b", "dress", "g2", colour="navy", sleeve="long", brand="y"),
    row("c", "dress", "g3", colour="navy", sleeve="short"),
    row("d", "dress", "g1", colour="navy", sleeve="long"),  # of a's own group
    row("e", "mug", "g4", colour="navy"),
]


def grades(queries: Composed, at: int) -> dict[int, int]:
    """Product to grade, of one query."""
    mine = queries.qrels.query == at
    return dict(zip(queries.qrels.product[mine].tolist(), queries.qrels.grade[mine].tolist(), strict=True))


def test_a_changed_value_is_answered_by_the_type_with_it_and_best_by_what_keeps_the_rest() -> None:
    queries = composed_queries(ROWS, {"colour", "sleeve"}, 10)
    at = queries.sources.tolist().index(0)
    assert queries.texts[at] == "navy"  # "short" has no best answer: c has another colour too
    assert grades(queries, at) == {1: BEST, 2: FITS}  # not d of its own group, not the mug
    assert queries.barred[at].tolist() == [True, False, False, True, False]
    assert 4 not in queries.sources  # no other mug


def test_one_of_several_values_answers_a_change() -> None:
    several = [dict(each) for each in ROWS]
    for at, uses in ((0, "s"), (1, "sw"), (2, "w")):
        several[at]["attributes"] = [*ROWS[at]["attributes"], *({"name": "use", "value": u} for u in uses)]  # type: ignore[misc]
    queries = composed_queries(several, {"sleeve", "use"}, 10)
    at = queries.sources.tolist().index(0)
    assert queries.texts[at] == "w"
    assert grades(queries, at) == {
        1: BEST,
        2: FITS,
    }  # c has another sleeve than a


def test_what_is_asked_does_not_depend_on_the_order_of_products() -> None:
    def asked(rows: list[dict[str, object]]) -> set[tuple[object, str]]:
        found = composed_queries(rows, {"colour", "sleeve"}, 10)
        return {(rows[s]["product_id"], t) for s, t in zip(found.sources, found.texts, strict=True)}

    assert asked(ROWS) == asked(ROWS[::-1]) != set()
    assert len(composed_queries(ROWS, {"colour", "sleeve"}, 1).texts) == 1


def test_the_best_of_validation_answers(trained: Path) -> None:
    answer = read_answer(trained / "models/fusion")
    assert answer is not None
    assert set(answer.ndcg_at_10) == {*PLAIN, "concat_mlp", "moe_bilinear"}
    assert answer.system == "hybrid_image" and not answer.chosen  # eight queries choose nothing
    config = json.loads((trained / "models/fusion/moe_bilinear/config.json").read_text())
    assert answer.ndcg_at_10["moe_bilinear"] == config["validation_ndcg_at_10"]
    assert (
        sum(answer.hybrid_image) == pytest.approx(1) == pytest.approx(answer.parts.text + answer.parts.image)
    )
    assert set(answer.text_missing_ndcg_at_10) == set(answer.ndcg_at_10)
    assert (
        answer.text_missing_ndcg_at_10["bm25"] < answer.ndcg_at_10["bm25"]
    )  # words that are gone find nothing
    assert answer.floor is None  # eight queries say nothing about it


GOOD: dict[str, object] = {
    "system": "bm25", "towers_sha256": "t", "ndcg_at_10": {"bm25": 0.5}, "queries": 100,
    "hybrid_image": [1, 0, 0],
}  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"ndcg_at_10": {}},
        {"system": "../../x", "ndcg_at_10": {"../../x": 0.5}},
        {"ndcg_at_10": {"bm25": 0.5, "../../x": 0.5}},
        {"ndcg_at_10": {"bm25": float("nan")}},
        {"text_missing_ndcg_at_10": {"hybrid": 0.5}},
        {"hybrid_image": [1, 1, 0]},
        {"hybrid_image": [2, -1, 0]},
        {"type_weight": -1},
        {"parts": {"text": 0.9, "image": 0.9}},
        {"floor": {"score": float("inf"), "warned": 0, "caught": 0, "queries": 1}},
    ],
)
def test_an_answer_that_cannot_be_is_told(tmp_path: Path, wrong: dict[str, object]) -> None:
    (tmp_path / "answer.json").write_text(json.dumps(GOOD))
    assert read_answer(tmp_path) is not None
    (tmp_path / "answer.json").write_text(json.dumps(GOOD | wrong))
    with pytest.raises(FusionDataError, match="run fusion_eval again"):
        read_answer(tmp_path)


def test_where_fusion_was_left_out_there_is_no_answer(tmp_path: Path) -> None:
    write_note(tmp_path / "answer.json", "no queries")
    assert read_answer(tmp_path) is None


def test_of_equals_the_one_answers_that_needs_fewer_texts() -> None:
    def best(plain: dict[str, float], fewer: dict[str, float]) -> str:
        told = GOOD | {"ndcg_at_10": plain, "text_missing_ndcg_at_10": fewer, "system": "hybrid_image"}
        return AnswerChoice.model_validate(told).best()[0]

    perfect = {"bm25": 1.0, "hybrid_image": 1.0, "moe_bilinear": 1.0}
    assert best(perfect, {"bm25": 0.6, "hybrid_image": 0.7, "moe_bilinear": 0.8}) == "moe_bilinear"
    assert best(perfect, {}) == "hybrid_image"  # which reads all that a product has
    assert best({"bm25": 0.9, "hybrid_image": 0.8, "moe_bilinear": 0.9}, {}) == "bm25"  # the simplest
    by_name = {"concat_mlp": 0.9, "hybrid": 0.9, "hybrid_image": 0.8}  # as a file sorts them
    assert best(by_name, {}) == "hybrid"


def test_an_answer_of_other_towers_is_refused() -> None:
    answer = AnswerChoice.model_validate(GOOD)
    check_towers(answer, "t")
    check_towers(None, "other")
    with pytest.raises(FusionDataError, match="run fusion_eval again"):
        check_towers(answer, "other")


def test_who_answers_is_told_with_one_candidate_and_with_few_queries() -> None:
    def told(**changed: object) -> str:
        return why(None, "bm25", Question("mug"), AnswerChoice.model_validate(GOOD | changed))

    assert told() == "bm25 answers: best on 100 validation queries, nDCG@10 0.500."
    assert told(ndcg_at_10={"bm25": 0.5, "hybrid": 0.4}).endswith("nDCG@10 0.500 (then hybrid, 0.400).")
    assert told(ndcg_at_10={"bm25": 0.5, "hybrid": 0.5}).endswith("nDCG@10 0.500, as hybrid.")
    both = told(ndcg_at_10={"bm25": 0.5, "hybrid": 0.4}, text_missing_ndcg_at_10={"bm25": 0.3, "hybrid": 0.3})
    assert both.endswith("texts missing: nDCG@10 0.500 and 0.300 (then hybrid, 0.400 and 0.300).")
    assert told(queries=3, ndcg_at_10={}).startswith("bm25 answers by default: 3 validation queries")


@pytest.mark.parametrize("written", ["{", "{}", "[]"])
def test_a_missing_answer_is_none_and_a_broken_one_is_told(tmp_path: Path, written: str) -> None:
    assert read_answer(tmp_path) is None
    (tmp_path / "answer.json").write_text(written)
    with pytest.raises(FusionDataError, match="run fusion_eval again"):
        read_answer(tmp_path)


def test_the_floor_is_of_all_products_as_a_search_sees_them(
    shop: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(choose, "FEWEST", 4)
    fusion, catalogue = FusionParams.model_validate(BLOCKS["fusion"]), shop / "data/checked"
    params = FusionEvaluationParams.model_validate(BLOCKS["fusion_eval"] | {"relevant_grade": 1})
    settings = Settings(fusion, params, catalogue, tmp_path / "cache")
    towers = open_towers(trained / "models/fusion/align_image", settings)
    validation = read_split(towers, "validation", settings)
    questions, types_told = validation.questions, towers.query_types(catalogue)
    answer = choose.choose(validation, settings, {}, types_told, TunedBaselines(0.5, (1, 0, 0), 0.5))
    floor = answer.floor
    assert answer.type_weight == 0.5
    assert answer.ndcg_at_10["hybrid_image_type"] >= answer.ndcg_at_10["hybrid_image"]
    every = joined(towers.stream(catalogue))
    scores = questions.vectors @ every.text[every.has_text].T
    assert floor is not None and floor.queries == 8
    assert floor.score == pytest.approx(np.quantile(scores.max(axis=1), 0.05), abs=1e-5)
    types = np.array([row["product_type"] for row in every.rows])[every.has_text]
    own = ["mug" if "mug" in text else "lamp" for text in questions.task.texts]
    others = [s[types != kind].max() for s, kind in zip(scores, own, strict=True)]
    assert floor.caught == np.mean(np.array(others) < floor.score)


def test_a_best_answer_below_the_floor_is_no_good_match() -> None:
    floor = Floor(score=0.5, warned=0.05, caught=0.9, queries=100)
    answer = AnswerChoice.model_validate(GOOD | {"floor": floor})
    assert no_match(0.49, answer) == (
        "No good match: the text of the nearest product has a similarity of 0.49 with the query. Below 0.50 "
        "are 5% of the validation queries that have an answer, and 90% of those that have none."
    )
    assert not no_match(0.5, answer) and not no_match(None, answer) and not no_match(0.1, None)
    near = no_match(0.49996, answer)
    assert "of 0.49996 with" in near and "Below 0.50000 are" in near, "the figures explain the warning"
    far = SearchResult([], "", near=0.49)
    assert len(warnings(far, answer)) == 1
    fits = replace(far, likeliest=Likeliest("mug", 0.5))
    assert not warnings(fits, answer), "a type fits, and every word is known"
    told = warnings(replace(fits, unknown={"curtain": "certain"}), answer)
    assert (
        len(told) == 2
        and told[0] == "No product's text has: curtain (did you mean certain?)."
        and told[1].startswith("No good match")
    )


def test_a_query_that_no_type_fits_is_told_and_one_that_a_type_fits_is_not() -> None:
    assert not no_type(None) and not no_type(Likeliest("mug", 0.5))
    told = no_type(Likeliest("Ties", 0.153))
    assert "No product type clearly fits" in told and "Ties, has 15%" in told

"""What a section says first, its table of tests, and the words that explain both."""

from __future__ import annotations

import pytest

from components.report.figures.claims import judged_claims
from components.report.figures.figures import Figures, PairedTest, usual_n
from components.report.figures.key_figures import key_figures, part_in_words, slices
from components.report.galleries.retrieval import failure_in_words
from components.report.params import Claim, ReportParams, SearchGalleryOf
from components.report.text import glossary
from components.report.text.groups import GROUPS
from components.report.text.takeaway import counted, takeaway
from components.stage.record import Interval

REPORT = ReportParams.model_validate({}).model_dump()


def paired(metric: str, a: str, b: str, low: float, high: float) -> PairedTest:
    difference = (low + high) / 2
    return PairedTest(metric=metric, a=a, b=b, difference=difference, low=low, high=high, p=0.5, n=1500)


def figures(*tests: PairedTest, variants: tuple[str, ...] = ("ours", "baseline", "idle")) -> Figures:
    row = {name: Interval(value=0.5, n=1500) for name in ("mrr", "hits_at_5", "iou", "ndcg_at_10")}
    return Figures("fusion", {name: dict(row) for name in variants}, tests)


def claim(metric: str) -> Claim:
    return Claim(system="fusion", metric=metric, ours="ours", relation="above", baseline="baseline")


def test_contradicted_claims_come_first_and_unclaimed_losses_are_listed() -> None:
    held = figures(
        paired("mrr", "ours", "baseline", 0.1, 0.2),
        paired("hits_at_5", "ours", "baseline", -0.1, 0.1).model_copy(update={"n": 40}),
        paired("iou", "baseline", "ours", 0.1, 0.2),
        paired("ndcg_at_10", "ours", "baseline", -0.2, -0.1),
    )
    claims = judged_claims({"fusion": held}, [claim(m) for m in ("mrr", "hits_at_5", "iou")], 0.01)
    taken = takeaway(held, "ours", claims, pretrained=False)
    assert [row.standing for row in taken.claims] == ["opposite", "open", "shown"]
    assert taken.losses == ("ours is worse than baseline on nDCG@10.",)  # iou is told by its claim
    assert taken.caveats[0].startswith(
        "1 of 4 paired tests rest on fewer than 1,000 cases (the smallest on 40)"
    )
    assert taken.caveats[1] == "No paired test was made of idle."
    count = counted(claims, ["fusion"])
    assert (count.shown, count.not_shown, count.contradicted) == (1, 1, 1)
    assert counted(claims, ["opal"]).shown == 0


@pytest.mark.parametrize(
    ("ours", "baseline", "low", "high", "standing"),
    [
        (1.0, 1.0, 0.0, 0.0, "level"),
        (0.9996, 1.0, -0.001, 0.0, "level"),
        (1.0, 0.99, -0.01, 0.02, "open"),
        (0.5, 0.5, 0.0, 0.0, "open"),
        (1.0, 0.9, 0.05, 0.15, "shown"),
    ],
)
def test_sides_that_both_stand_at_the_best_value_are_level(
    ours: float, baseline: float, low: float, high: float, standing: str
) -> None:
    held = figures(paired("mrr", "ours", "baseline", low, high))
    held.variants["ours"]["mrr"] = Interval(value=ours, n=1500)
    held.variants["baseline"]["mrr"] = Interval(value=baseline, n=1500)
    (row,) = judged_claims({"fusion": held}, [claim("mrr")], 0.01)
    assert row.standing == standing
    count = counted([row], ["fusion"])
    assert (count.level, count.not_shown) == (standing == "level", standing == "open")


def test_where_less_is_better_the_best_value_is_zero() -> None:
    held = figures(paired("hallucination_rate", "ours", "baseline", 0.0, 0.0))
    for row in held.variants.values():
        row["hallucination_rate"] = Interval(value=0.0, n=1500)
    below = claim("hallucination_rate").model_copy(update={"relation": "below"})
    assert judged_claims({"fusion": held}, [below], 0.01)[0].standing == "level"


def test_parts_of_the_test_cases_come_worst_first_and_tell_which_lie_below_the_whole() -> None:
    cells = {"mrr": (0.5, 0.02), "visual_mrr": (0.3, 0.1), "mrr_plain": (0.45, 0.1), "titles_mrr": (0.7, 0.1)}
    row = {name: Interval(value=v, low=v - w, high=v + w, n=900) for name, (v, w) in cells.items()}
    row |= dict.fromkeys(("mrr_desirability", "mrr_above_half", "hits_at_5"), row["mrr"])
    tests = (paired("visual_mrr", "baseline", "ours", 0.1, 0.2),)
    parts = slices(Figures("fusion", {"ours": row, "baseline": row}, tests), "mrr", "ours", "baseline")
    assert [(part.metric, part.below) for part in parts] == [
        ("visual_mrr", True),
        ("mrr_plain", False),
        ("titles_mrr", False),
    ]
    assert (parts[0].verdict, parts[1].verdict) == ("worse", None)
    assert parts[0].test is not None and parts[0].test.high == -0.1, "turned to ours − baseline"
    rates = {"fallback_rate": row["mrr"], "fallback_rate_plain": row["titles_mrr"]}
    (part,) = slices(Figures("ground", {"ours": rates}, ()), "fallback_rate", "ours", None)
    assert part.below and part.baseline is None, "of rates of errors, more is worse"


def test_a_part_of_few_cases_is_not_marked_and_one_of_all_cases_is_no_part() -> None:
    whole, none_right = Interval(value=0.5, low=0.4, high=0.6, n=90), {"value": 0.0, "low": 0.0, "high": 0.0}
    row = {"mrr": whole, "mrr_new_text": whole, "mrr_size": Interval(**none_right, n=1)}
    row["mrr_category_toys"] = Interval(**none_right, n=10)
    parts = slices(Figures("fusion", {"ours": row}, ()), "mrr", "ours", None)
    told = [(part_in_words(part.metric, "mrr"), part.below) for part in parts]
    assert told == [("Category: toys", True), ("Size", False)]


def test_first_figures_stand_beside_what_is_claimed_else_beside_the_best_that_was_tested() -> None:
    tests = (
        paired("mrr", "ours", "baseline", 0.1, 0.2),
        paired("iou", "ours", "idle", 0.1, 0.2),
        paired("iou", "ours", "baseline", -0.2, -0.1),
    )
    held = figures(*tests)
    held.variants["baseline"]["iou"] = Interval(value=0.7, n=1500)
    wanted = ["fusion.mrr", "fusion.bleu", "other.mrr", "fusion.iou", "fusion.hits_at_5", "fusion.ndcg_at_10"]
    claims = judged_claims({"fusion": held}, [claim("mrr")], 0.01)
    found = key_figures(wanted, {"fusion": held}, {"fusion": "ours"}, claims)
    assert [(each.metric, each.baseline, each.verdict) for each in found] == [
        ("mrr", "baseline", "better"),
        ("iou", "baseline", "worse"),
        ("hits_at_5", None, None),
    ]


def test_the_number_of_cases_of_a_row_is_the_usual_one() -> None:
    held = figures(variants=("a", "b", "c"))
    held.variants["c"]["mrr"] = Interval(value=0.1, n=7)
    assert (usual_n(held, "mrr"), usual_n(held, "iou")) == (1500, 1500)
    held.variants["b"]["mrr"] = Interval(value=0.1, n=8)
    assert usual_n(held, "mrr") is None
    assert usual_n(figures(variants=("a",)), "mrr") == 1500


def test_columns_are_the_system_then_known_baselines_then_the_rest() -> None:
    held = figures(variants=("concat_mlp", "bm25", "my_own", "moe_bilinear", "text_only"))
    assert list(glossary.in_order(held, "concat_mlp").variants) == [
        "concat_mlp",
        "moe_bilinear",
        "text_only",
        "bm25",
        "my_own",
    ]


@pytest.mark.parametrize("row", REPORT["claims"], ids=lambda row: f"{row['system']}-{row['metric']}")
def test_every_variant_and_metric_of_the_demos_claims_is_explained(row: dict[str, str]) -> None:
    assert row["system"] in glossary.SYSTEMS
    assert {row["ours"], row["baseline"]} <= set(glossary.VARIANTS[row["system"]])
    assert glossary.measures([row["metric"]])


def test_every_system_and_stage_of_the_demo_has_a_description() -> None:
    assert {name for group in GROUPS for name in group.systems} == set(REPORT["systems"])
    assert set(REPORT["curves"]) <= set(glossary.STAGES) and set(REPORT["quality"]) <= set(glossary.GATES)


def test_a_measure_is_explained_once_and_by_whole_words() -> None:
    names = [name for name, _ in glossary.measures(["recall_at_100", "titles_mrr", "mrr", "untitled_x"])]
    assert names == ["MRR", "Recall@k", "Titles"]


@pytest.mark.parametrize(
    ("metric", "limit", "says"),
    [
        ("hits_at_5", 1.0, "none of the first 5 products"),
        ("mrr", 0.2, "none of the first 5 products"),
        ("mrr", 0.3, "its MRR is below 0.3"),
        ("ndcg_at_10", 0.5, "its nDCG@10 is below 0.5"),
    ],
)
def test_the_criterion_of_a_failed_search_is_explained_in_words(metric: str, limit: float, says: str) -> None:
    assert says in failure_in_words(SearchGalleryOf(metric=metric, success_from=limit))

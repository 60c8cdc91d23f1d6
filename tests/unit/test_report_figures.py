"""Figures of a run: what is read, what the paired tests support, how it is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.report.errors import ReportInputError, ReportParamsError
from components.report.figures.figures import (
    Figures,
    PairedTest,
    headline,
    metric_label,
    number,
    read_figures,
    supported_best,
    verdict,
)
from components.stage.record import Interval, lower_is_better


def paired(metric: str, a: str, b: str, low: float, high: float) -> PairedTest:
    difference = (low + high) / 2
    return PairedTest(metric=metric, a=a, b=b, difference=difference, low=low, high=high, p=0.0001, n=1050)


def figures(*tests: PairedTest, metrics: tuple[str, ...] = ("hits_at_5",)) -> Figures:
    row = {metric: Interval(value=0.5, low=0.4, high=0.6, n=1050) for metric in metrics}
    return Figures("encoder", {name: dict(row) for name in ("untrained", "tuned", "histogram")}, tests)


@pytest.mark.parametrize(
    ("metric", "written"),
    [
        ("hits_at_5", "HITS@5"),
        ("ndcg_at_10", "nDCG@10"),
        ("recall_at_100", "Recall@100"),
        ("mrr", "MRR"),
        ("iou", "IoU"),
        ("hallucination_rate", "Hallucination rate"),
        ("visual.hits_at_1", "Visual · HITS@1"),
        ("titles_ndcg_at_10", "Titles · nDCG@10"),
        ("encoder.pointing", "Encoder · Pointing accuracy"),
        ("pointing_cluttered", "Pointing accuracy · cluttered"),
        ("attribute_accuracy_neck_line", "Attribute accuracy · neck line"),
        ("attribute_macro_f1", "Attribute macro-F1"),
        ("train_loss", "Train loss"),
        ("encoder.titles_hits_at_5", "Encoder · Titles · HITS@5"),
        ("hits_at_1_cluttered", "HITS@1 · cluttered"),
        ("titles_mrr_cluttered", "Titles · MRR · cluttered"),
        ("vlclip.raw_mrr", "VL-CLIP · Raw · MRR"),
        ("title_rouge_l", "Title · ROUGE-L"),
        ("constrained_attribute_f1_category_bags", "Constrained · Attribute F1 · category bags"),
        ("drop_recall_misspelling", "Drop · Recall · misspelling"),
        ("novelty_at_3", "Novelty@3"),
    ],
)
def test_metrics_are_written_as_the_field_writes_them(metric: str, written: str) -> None:
    assert metric_label(metric) == written


@given(st.floats(-1e6, 1e6), st.integers(0, 6), st.booleans())
def test_a_written_number_reads_back_and_never_is_minus_zero(value: float, digits: int, signed: bool) -> None:
    text = number(value, digits, signed)
    assert "-" not in text
    back = float(text.replace("−", "-").replace(",", ""))
    assert abs(back - value) <= 0.5 * 10**-digits * (1 + 1e-9) + 1e-9
    assert not text.startswith("−") or back < 0


@given(st.floats(-1, 1), st.floats(0, 1), st.sampled_from(["hits_at_5", "fallback_rate"]), st.booleans())
def test_a_verdict_is_the_opposite_from_the_other_side(
    low: float, width: float, metric: str, turned: bool
) -> None:
    test = paired(metric, "tuned", "histogram", low, low + width)
    if turned:
        test = paired(metric, "histogram", "tuned", -low - width, -low)
    opposite = {"better": "worse", "worse": "better", "unclear": "unclear"}
    one = verdict(figures(test), "tuned", "histogram", metric)
    other = verdict(figures(test), "histogram", "tuned", metric)
    assert one is not None
    assert other == opposite[one]
    if low > 0:
        assert one == ("worse" if metric == "fallback_rate" else "better")
    if low <= 0 <= low + width:
        assert one == "unclear"


def test_without_a_paired_test_there_is_no_verdict() -> None:
    held = figures(paired("hits_at_5", "tuned", "histogram", 0.1, 0.2))
    assert verdict(held, "tuned", "untrained", "hits_at_5") is None
    assert verdict(held, "tuned", "histogram", "mrr") is None


def test_best_needs_a_paired_test_won_against_every_other_variant() -> None:
    won = (
        paired("hits_at_5", "tuned", "histogram", 0.1, 0.2),
        paired("hits_at_5", "untrained", "tuned", -0.5, -0.4),
    )
    assert supported_best(figures(*won), "hits_at_5") == "tuned"
    assert supported_best(figures(won[0]), "hits_at_5") is None  # untested against untrained
    drawn = paired("hits_at_5", "tuned", "histogram", -0.01, 0.2)
    assert supported_best(figures(drawn, won[1]), "hits_at_5") is None


def test_tested_metrics_come_in_the_order_of_their_tests() -> None:
    tests = paired("mrr", "tuned", "untrained", 0, 1), paired("hits_at_5", "tuned", "untrained", 0, 1)
    assert figures(*tests, metrics=("hits_at_5", "iou", "mrr")).tested == ["mrr", "hits_at_5"]
    assert figures(metrics=("hits_at_5", "iou")).tested == ["hits_at_5", "iou"]


def test_a_single_variant_is_never_best() -> None:
    alone = Figures("encoder", {"tuned": {"mrr": Interval(value=0.9, n=10)}}, ())
    assert supported_best(alone, "mrr") is None


def write(path: Path, value: object) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_metrics_are_read_with_extra_keys_left_alone(tmp_path: Path) -> None:
    cell = {"value": 0.5, "low": None, "high": None, "n": 7, "unit": "share"}
    tests = [paired("mrr", "a", "b", 0.1, 0.2).model_dump() | {"seed": 3}]
    held = read_figures(
        write(tmp_path / "m.json", {"a": {"mrr": cell}, "_tests": tests, "_more": 1}), "encoder"
    )
    assert list(held.variants) == ["a"]
    assert held.variants["a"]["mrr"].n == 7
    assert held.tests[0].n == 1050


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not valid JSON"),
        ("[]", "JSON object"),
        ({"_tests": []}, "no variant"),
        ({"a": {"mrr": {"value": "high", "n": 3}}}, "not a metrics file"),
        ({"a": {"mrr": {"value": 0.5}}}, "not a metrics file"),
        ({"a": 3}, "not a metrics file"),
        ('{"a": {"mrr": {"value": NaN, "n": 3}}}', "not a metrics file"),
        ({"a": {"mrr": {"value": 0.5, "n": 3}}, "_tests": [{"metric": "mrr"}]}, "not a metrics file"),
    ],
)
def test_a_broken_metrics_file_is_refused_by_name(tmp_path: Path, content: Any, says: str) -> None:
    path = write(tmp_path / "encoder.json", content)
    with pytest.raises(ReportInputError, match=says) as caught:
        read_figures(path, "encoder")
    assert "encoder.json" in str(caught.value)


def test_the_headline_is_flat_and_unknown_figures_are_named() -> None:
    held = {"encoder": figures(metrics=("hits_at_5", "visual.mrr"))}
    wanted = {"encoder.hits_at_5": "encoder.tuned.hits_at_5", "visual": "encoder.tuned.visual.mrr"}
    assert headline(held, wanted) == {"encoder.hits_at_5": 0.5, "visual": 0.5}
    with pytest.raises(ReportParamsError, match=r"report\.headline\.x.*'iou'.*known: hits_at_5"):
        headline(held, {"x": "encoder.tuned.iou"})
    with pytest.raises(ReportParamsError, match=r"'best'.*known: untrained, tuned, histogram"):
        headline(held, {"x": "encoder.best.mrr"})


def test_untrained_variants_are_recognised_by_their_flag_or_as_the_untrained_encoder() -> None:
    flag = {"pretrained": Interval(value=0.0, n=9), "mrr": Interval(value=0.5, n=9)}
    row = {"mrr": Interval(value=0.5, n=9)}
    listing = Figures("listing", {"zero_shot": flag, "untrained": row}, ())
    assert listing.knows_nothing("zero_shot", pretrained=True)
    assert not listing.knows_nothing("untrained", pretrained=False)
    assert listing.metrics == ["mrr"]
    encoder = Figures("encoder", {"untrained": row}, ())
    assert encoder.note("untrained", pretrained=False) == "learned nothing yet"
    assert encoder.note("untrained", pretrained=True) == ""
    assert (
        Figures("vlclip", {"untrained": row}, ()).note("untrained", False) == "the encoder, before training"
    )


@pytest.mark.parametrize(
    ("metric", "lower"),
    [
        ("hallucination_rate", True),
        ("constrained_hallucination_rate_category_bags", True),
        ("fallback_rate_cluttered", True),
        ("completion_rate", False),
        ("hits_at_5", False),
    ],
)
def test_slices_of_a_rate_are_read_like_the_rate(metric: str, lower: bool) -> None:
    assert lower_is_better(metric) == lower

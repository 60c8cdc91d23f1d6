"""The honest reading follows from the figures, and says what does not hold as plainly as what does."""

from __future__ import annotations

from components.report.figures.figures import Figures, PairedTest
from components.report.text.reading import against, honest_reading
from components.report.text.takeaway import takeaway
from components.stage.record import Interval

METRICS = ("hits_at_5", "mrr", "ndcg_at_10", "iou")


def figures(*tests: tuple[str, str, float, float], n: int = 1050) -> Figures:
    row = {metric: Interval(value=0.5, n=n) for metric in METRICS}
    paired = [
        PairedTest(
            metric=metric, a="tuned", b=b, difference=(low + high) / 2, low=low, high=high, p=0.01, n=n
        )
        for metric, b, low, high in tests
    ]
    return Figures("encoder", {"untrained": row, "tuned": row, "histogram": row}, tuple(paired))


def test_the_reading_names_better_worse_unclear_and_untested_metrics() -> None:
    held = figures(
        ("hits_at_5", "histogram", 0.1, 0.2),
        ("mrr", "histogram", -0.2, -0.1),
        ("ndcg_at_10", "histogram", -0.1, 0.1),
    )
    assert against(held, "tuned", "histogram") == (
        "tuned is better than histogram on HITS@5; worse on MRR; not shown to be better or worse on nDCG@10; "
        "not tested on IoU."
    )


def test_the_reading_names_rows_that_are_not_better() -> None:
    worse = figures(*((metric, "histogram", -0.2, -0.1) for metric in METRICS))
    assert (
        against(worse, "tuned", "histogram")
        == "tuned is worse than histogram on HITS@5, MRR, nDCG@10 and IoU."
    )
    unclear = figures(("mrr", "histogram", -0.1, 0.1))
    assert "not shown to be better or worse than histogram on MRR" in against(unclear, "tuned", "histogram")


def test_many_untested_metrics_are_counted_not_listed() -> None:
    row = {f"metric_{i}": Interval(value=0.5, n=9) for i in range(30)} | {"mrr": Interval(value=0.5, n=9)}
    test = PairedTest(metric="mrr", a="tuned", b="other", difference=0.2, low=0.1, high=0.3, p=0.01, n=9)
    held = Figures("encoder", {"tuned": row, "other": row}, (test,))
    assert (
        against(held, "tuned", "other")
        == "tuned is better than other on MRR; not tested on the other 30 metrics."
    )


def test_without_a_paired_test_the_order_shows_nothing() -> None:
    assert "their order here shows nothing" in against(figures(), "tuned", "histogram")


def test_variants_without_a_common_metric_are_not_compared() -> None:
    held = Figures("x", {"a": {"mrr": Interval(value=1, n=1)}, "b": {"iou": Interval(value=1, n=1)}}, ())
    assert against(held, "a", "b") == "a and b have no metric in common."


def test_the_reading_has_every_other_row_and_what_they_are_among_themselves() -> None:
    held = figures(("mrr", "histogram", 0.1, 0.2))
    between = PairedTest(
        metric="iou", a="untrained", b="histogram", difference=0.2, low=0.1, high=0.3, p=0.01, n=9
    )
    lines = honest_reading(Figures("encoder", held.variants, (*held.tests, between)), "tuned")
    assert [line.split(" is ")[0] for line in lines[1:]] == ["tuned", "the untrained network"]
    assert "not compared by a paired test" in lines[0]


def test_untrained_is_labelled_only_where_nothing_was_pretrained() -> None:
    held = figures(("mrr", "untrained", 0.1, 0.2))
    for pretrained in (True, False):
        caveats = takeaway(held, "tuned", (), pretrained).caveats
        assert any("learned nothing yet" in line for line in caveats) != pretrained


def test_few_cases_are_called_an_indication() -> None:
    few = takeaway(figures(("mrr", "histogram", 0.1, 0.2), n=879), "tuned", (), pretrained=True)
    assert any("fewer than 1,000 cases (the smallest on 879)" in line for line in few.caveats)
    many = takeaway(figures(("mrr", "histogram", 0.1, 0.2), n=1000), "tuned", (), pretrained=True)
    assert not any("indication" in line for line in many.caveats)

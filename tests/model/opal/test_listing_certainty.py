"""How far a listing model can be trusted: calibration, promised rates, and pictures of another kind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta
from sklearn.linear_model import LogisticRegression

from components.opal.evaluate.listings.measures import Target
from components.opal.evaluate.listings.risk import Ranked, RiskTable
from components.opal.model.certainty.abstain import threshold_of, without_doubtful
from components.opal.model.certainty.calibration import Calibration, Value, fit_calibration, log_odds
from components.opal.model.certainty.certainty import FILE, Certainty, CertaintyFile, read_certainty
from components.opal.model.certainty.likeness import Likeness
from components.opal.model.certainty.measure import JudgedProducts, judged_values, learn_certainty, usual_of
from components.opal.model.certainty.promise import (
    NOWHERE,
    Curve,
    JudgedValues,
    binomial_bound,
    design_effect,
    risk_curve,
)
from components.opal.model.errors import ListingModelFileError
from components.opal.model.listing_text import Listing, answer_text
from components.opal.model.writing.generate import Generated
from components.opal.model.writing.head_margins import Lead

SHARES = st.floats(0, 1)


def drawn(count: int, shifts: dict[str, float], seed: int = 0) -> tuple[list[Value], np.ndarray]:
    """Values whose confidence is off by a shift of the log-odds per attribute, and their true probability."""
    random = np.random.default_rng(seed)
    names = random.choice(list(shifts), count)
    odds = random.normal(0, 1.5, count)
    true = 1 / (1 + np.exp(-(0.6 * odds + np.array([shifts[n] for n in names]))))
    right = random.random(count) < true
    sure = 1 / (1 + np.exp(-odds))
    values = [
        Value("c", n, "v", float(p), f"g{i}", bool(r))
        for i, (n, p, r) in enumerate(zip(names, sure, right, strict=True))
    ]
    return values, true


def test_a_simulated_miscalibration_is_undone() -> None:
    values, true = drawn(8000, {"a": -1.0, "b": 0.5, "c": 1.5})
    calibration, held_out = fit_calibration(values)
    assert np.abs(calibration.probability(values) - true).mean() < 0.02
    assert np.abs(held_out - true).mean() < 0.025
    before = np.abs(np.array([v.confidence for v in values]) - true).mean()
    assert before > 0.15, "there was something to undo"


def test_an_attribute_with_few_values_stays_near_the_fit_of_all() -> None:
    many, _ = drawn(4000, {"a": 0.0})
    few = [Value("c", "rare", "v", 0.5, f"r{i}", False) for i in range(2)]
    chance = fit_calibration(many + few)[0].probability(few)[0]
    assert 0.05 < chance < 0.5, "two wrong values move it, and do not make it zero"


def test_one_attribute_alone_is_platt_scaling() -> None:
    values, _ = drawn(3000, {"a": 0.7})
    odds = log_odds([v.confidence for v in values])
    plain = LogisticRegression(C=1e6).fit(odds[:, None], [v.right for v in values])
    ours = fit_calibration(values)[0].probability(values)
    assert np.abs(ours - plain.predict_proba(odds[:, None])[:, 1]).max() < 0.01


def test_a_second_witness_weighs_what_a_plain_regression_gives_it() -> None:
    values, _ = drawn(3000, {"a": 0.7})
    lead = np.random.default_rng(1).normal(0, 1, 3000)
    hidden = np.random.default_rng(2).random(3000) < 1 / (1 + np.exp(-2 * lead))
    both = [
        v._replace(right=v.right and bool(h), seen=(float(x), 0.0))
        for v, h, x in zip(values, hidden, lead, strict=True)
    ]
    odds = np.stack([log_odds([v.confidence for v in both]), lead], axis=1)
    plain = LogisticRegression(C=1e6).fit(odds, [v.right for v in both])
    calibration, _ = fit_calibration(both)
    assert np.abs(calibration.probability(both) - plain.predict_proba(odds)[:, 1]).max() < 0.01
    alone = fit_calibration([v._replace(seen=(0.0, 0.0)) for v in both])[0]
    assert alone.seen_slope == (0, 0) and set(alone.seen_slopes.values()) == {(0.0, 0.0)}


def test_without_a_judged_value_confidence_stays_as_it_is() -> None:
    calibration, held_out = fit_calibration([])
    value = Value("c", "a", "v", 0.3, "g")
    assert len(held_out) == 0 and calibration.probability([value])[0] == pytest.approx(0.3)


@given(events=st.integers(0, 60), more=st.integers(1, 200), risk=st.floats(0.01, 0.3))
@settings(max_examples=40, deadline=None)
def test_the_bound_is_clopper_and_pearsons(events: int, more: int, risk: float) -> None:
    n = events + more
    assert binomial_bound(events / n, n, risk) == pytest.approx(
        beta.ppf(1 - risk, events + 1, n - events), abs=1e-6
    )


def test_equal_values_of_a_group_count_once() -> None:
    wrong = np.repeat(np.random.default_rng(0).random(400) < 0.3, 4).astype(float)
    assert design_effect(wrong, np.repeat(np.arange(400), 4)) == pytest.approx(4, rel=0.02)
    assert design_effect(wrong, np.arange(1600)) == pytest.approx(1, rel=0.02)


def judged(count: int, seed: int) -> JudgedValues:
    random = np.random.default_rng(seed)
    chance = random.random(count)
    return JudgedValues(
        chance, random.random(count) > chance, [f"g{i // 3}" for i in range(count)], 2 * count
    )


@given(count=st.integers(0, 300), seed=st.integers(0, 99), points=st.lists(SHARES, min_size=2, max_size=6))
@settings(max_examples=40, deadline=None)
def test_a_higher_promise_never_lowers_the_threshold(count: int, seed: int, points: list[float]) -> None:
    curve = risk_curve(judged(count, seed))
    by_precision = [curve.for_precision(p) for p in sorted(points)]
    by_completion = [curve.for_completion(p) for p in sorted(points)]
    assert by_precision == sorted(by_precision) and by_completion == sorted(by_completion, reverse=True)
    assert all(b >= w - 1e-9 for w, b in zip(curve.wrong, curve.bound, strict=True))


def test_a_curve_is_that_of_a_plain_loop() -> None:
    found = judged(250, 1)
    curve = risk_curve(found)
    for threshold, coverage, wrong in zip(curve.threshold, curve.coverage, curve.wrong, strict=True):
        above = [w for c, w in zip(found.chance, found.wrong, strict=True) if c >= threshold]
        assert coverage == pytest.approx(len(above) / 250) and wrong == pytest.approx(sum(above) / len(above))


def test_a_promise_is_kept_on_new_data_of_groups() -> None:
    """Values of a group are wrong together; calibration and test of 150 groups each, 60 times."""
    broken, spoke = 0, 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        chance = random.uniform(0.4, 1, (300, 5))
        shared = random.random((300, 1)) < 0.5  # half of the groups share one draw
        wrong = np.where(shared, random.random((300, 1)), random.random((300, 5))) > chance
        names = np.repeat(np.arange(150), 5).astype(str).tolist()
        curve = risk_curve(JudgedValues(chance[:150].ravel(), wrong[:150].ravel(), names, 750))
        stated = wrong[150:][chance[150:] >= curve.for_precision(0.8)]
        spoke += len(stated) > 0
        broken += len(stated) > 0 and stated.mean() > 0.2
    assert broken <= 3 and spoke > 45, "and it does not keep silent to keep its promise"


def test_where_nothing_can_be_promised_nothing_is_stated() -> None:
    nothing = Certainty(CertaintyFile())
    assert threshold_of(nothing, 0.9, None) == NOWHERE and threshold_of(nothing, None, None) == 0
    assert threshold_of(nothing, None, 0.8) == 0, "no threshold fills so many fields, so all are stated"


def targets_and_answers(seed: int) -> tuple[list[Target], list[Generated], list[str]]:
    random = np.random.default_rng(seed)
    targets, answers = [], []
    for i in range(60):
        truth = {n: str(random.integers(3)) for n in "abcd"}
        said = {n: str(random.integers(3)) for n in "abcde" if random.random() < 0.8}
        sure = {n: float(random.integers(1, 20)) / 20 for n in said}
        targets.append(Target(f"p{i}", "c", Listing("t", truth)))
        answers.append(Generated("", Listing("t", said), sure))
    return targets, answers, [f"g{i // 2}" for i in range(60)]


def doubted(i: int) -> Generated:
    """A bag that the model calls red; the heads see blue in every third one, and are right."""
    blue = i % 3 == 0
    lead = Lead(-3.0, 2.0, "blue", 3.0, 5) if blue else Lead(3.0, 2.0)
    listing = Listing("Red bag", {"colour": "red"}, "bag")
    return Generated(answer_text(listing, None), listing, {"colour": 0.6, "type": 0.9}, seen={"colour": lead})


def test_what_the_heads_see_stands_in_place_of_a_less_likely_value() -> None:
    answers = [doubted(i) for i in range(120)]
    rows = [{"category": "bags", "group_id": f"g{i}", "product_type": "bag"} for i in range(120)]
    true = [Listing("", {"colour": "red" if i % 3 else "blue"}, "bag") for i in range(120)]
    file = learn_certainty(answers, JudgedProducts(rows, true))
    assert file.measured.values == 120 and file.curve.wrong[-1] == 0
    kept, changed = Certainty(file).calibrated(
        [doubted(1), doubted(0)], ["bags"] * 2, lambda _, listing: replace(listing, title="anew")
    )
    assert kept.listing == Listing("Red bag", {"colour": "red"}, "bag") and kept.text == doubted(1).text
    assert changed.listing == Listing("anew", {"colour": "blue"}, "bag")
    assert json.loads(changed.text)["attributes"] == {"colour": "blue"}
    assert min(kept.confidence["colour"], changed.confidence["colour"]) > 0.8
    assert (rank := Ranked([Target("p", "bags", true[0])], [changed], ["g"])).wrong.tolist() == [0] and len(
        rank
    )


def test_each_attribute_has_its_own_calibration_error() -> None:
    truth = {"a": "x", "b": "x", "rare": "x"}
    targets = [Target(f"p{i}", "c", Listing("", truth)) for i in range(120)]
    said = [{"a": "x", "b": "xy"[i % 2], "rare": "x"} for i in range(120)]
    for row in said[49:]:
        del row["rare"]
    sure = {"a": 0.8, "b": 0.5, "rare": 0.1}
    answers = [Generated("", Listing("", row), sure) for row in said]
    ranked = Ranked(targets, answers, [f"g{i}" for i in range(120)])
    lines = RiskTable({"dpo": ranked}, 0, 10).attributes_csv().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    drawn = {
        name: sum(
            abs(float(sure) - float(right)) * int(n) for _, each, sure, right, n in rows if each == name
        )
        for name in ("a", "b")
    }
    assert drawn == {"a": pytest.approx(0.2 * 120), "b": pytest.approx(0, abs=1e-4)} and len(rows) == 4
    found = ranked.error_of_attributes()
    assert found == {"a": (pytest.approx(0.2), 120), "b": (pytest.approx(0), 120)}


def test_risk_measures_are_those_of_a_plain_loop() -> None:
    targets, answers, groups = targets_and_answers(3)
    row = Ranked(targets, answers, groups)
    stated = [
        (g.confidence[n], v != t.listing.attributes.get(n), n in t.listing.attributes)
        for t, g in zip(targets, answers, strict=True)
        for n, v in g.listing.attributes.items()
    ]
    ones = np.ones((1, 30))

    def above(least: float) -> tuple[float, float]:
        chosen = [(wrong, fills) for sure, wrong, fills in stated if sure >= least]
        return sum(w for w, _ in chosen) / len(chosen), sum(f for _, f in chosen) / 240

    assert row.area(ones)[0] == pytest.approx(np.mean([above(sure)[0] for sure, *_ in stated]))
    levels = sorted({sure for sure, *_ in stated}, reverse=True)
    half = next(rate for rate, filled in map(above, levels) if filled >= 0.5)
    assert row.at_completions(ones)[0, 49] == pytest.approx(half)
    ordered = sorted(stated, key=lambda value: -value[0])
    bins = [[ordered[i] for i in part] for part in np.array_split(np.arange(len(ordered)), 10)]
    error = sum(abs(sum(s - (1 - w) for s, w, _ in part)) for part in bins) / len(stated)
    assert row.calibration_error(ones)[0] == pytest.approx(error)
    least = next(level for level in levels if above(level)[1] >= 0.5)
    kept = [
        [
            v != t.listing.attributes.get(n)
            for n, v in g.listing.attributes.items()
            if g.confidence[n] >= least
        ]
        for t, g in zip(targets, answers, strict=True)
    ]
    assert row.no_wrong_value().tolist() == [float(bool(k) and not any(k)) for k in kept]


def test_weighted_groups_are_repeated_groups() -> None:
    targets, answers, groups = targets_and_answers(4)
    weights = np.random.default_rng(0).integers(0, 3, (1, 30))
    again = [i for i in range(60) for _ in range(weights[0, i // 2])]
    plain = Ranked(
        [targets[i] for i in again], [answers[i] for i in again], [str(i) for i in range(len(again))]
    )
    ones, row = np.ones((1, len(again))), Ranked(targets, answers, groups)
    assert row.area(weights)[0] == pytest.approx(plain.area(ones)[0])
    assert row.at_completions(weights) == pytest.approx(plain.at_completions(ones), nan_ok=True)


def test_a_row_differs_from_itself_by_nothing_and_from_a_better_one_by_something() -> None:
    targets, answers, groups = targets_and_answers(5)
    better = [
        replace(
            g,
            confidence={
                n: 0.9 if g.listing.attributes[n] == t.listing.attributes.get(n) else 0.1
                for n in g.confidence
            },
        )
        for t, g in zip(targets, answers, strict=True)
    ]
    rows = {name: Ranked(targets, a, groups) for name, a in (("x", answers), ("y", answers), ("z", better))}
    table = RiskTable(rows, 0, 300)
    assert {found.difference for found in table.tests([("x", "y")]).values()} == {0.0}
    better_by = table.tests([("z", "x")])["risk_coverage_area"]
    assert better_by.high < 0 and table.tests([("z", "nothing")]) == {}
    pooled = table.tests([("z", "x"), ("x", "y")])["risk_coverage_area"]
    assert pooled.difference == pytest.approx(better_by.difference / 2)
    figures = table.figures("x", "z")
    assert all(f.low <= f.value <= f.high for f in figures.values()) and figures["calibration_error"].n == 30


def titled(listing: Listing) -> Listing:
    return replace(
        listing, title=" ".join([*map(str, listing.attributes.values()), listing.product_type]).strip()
    )


def test_doubtful_values_are_left_out_of_the_listing_and_its_title() -> None:
    listing = Listing("Red Acme bag", {"colour": "red", "brand": "Acme"}, "bag")
    text = answer_text(listing, None)
    one = Generated(text, listing, {"type": 0.8, "colour": 0.9, "brand": 0.2})
    (kept,) = without_doubtful([one], 0.5, [False], titled)
    assert kept.generated.listing == Listing("red bag", {"colour": "red"}, "bag")
    assert kept.left_out == {"brand": 0.2} and "Acme" not in kept.generated.whole
    assert set(kept.generated.confidence) == {"type", "colour"}
    (unlike,) = without_doubtful([one], 0.0, [True], titled)
    assert unlike.unlike and set(unlike.left_out) == {"type", "colour", "brand"}
    assert json.loads(unlike.generated.whole) == {"attributes": {}, "title": ""}
    (whole,) = without_doubtful([one], 0.0, [False], titled)
    assert whole.generated.whole == one.whole and not whole.left_out


def test_a_type_is_calibrated_and_no_part_of_the_curve() -> None:
    answers = [Generated("", Listing("", {"colour": "red"}, "bag"), {"colour": 0.5, "type": 0.5})] * 40
    rows = [{"category": "bags", "group_id": f"g{i}"} for i in range(40)]
    refined = [Listing("", {"colour": "red"}, "bag" if i % 2 else "box") for i in range(40)]
    file = learn_certainty(answers, JudgedProducts(rows, refined))
    assert file.measured.values == 40 and max(file.curve.wrong) == 0
    (first, *_) = Certainty(file).calibrated(answers[:1], ["bags"])
    assert first.confidence["type"] == pytest.approx(0.5, abs=0.1) and first.confidence["colour"] > 0.8


def test_silence_of_the_refined_listing_teaches_nothing() -> None:
    listing = Listing("", {"colour": "red", "brand": "Acme"})
    generated = [Generated("", listing, {"colour": 0.5, "brand": 0.5}) for _ in range(30)]
    rows = [{"category": "bags", "group_id": f"g{i}"} for i in range(30)]
    file = learn_certainty(generated, JudgedProducts(rows, [Listing("", {"colour": "red"})] * 30))
    assert (file.measured.values, file.measured.silent, file.measured.products) == (30, 30, 30)
    assert file.calibration.values == {"colour": pytest.approx(file.calibration.values["colour"])}


def test_an_attribute_that_no_listing_of_the_type_states_is_wrong() -> None:
    rows = [
        {"product_id": f"p{i}", "split": "train", "category": "bags", "product_type": "tote", "group_id": "g"}
        for i in range(20)
    ]
    refined = {str(row["product_id"]): Listing("", {"colour": "red", "size": "9"}) for row in rows}
    usual = usual_of(rows, refined)
    assert usual == {("bags", "tote"): {"colour", "size"}} and usual_of(rows[:5], refined) == {}
    said = Generated("", Listing("", {"heel": "flat", "size": "9"}), {"heel": 0.9, "size": 0.9})
    silent = [Listing("", {"colour": "red"})]
    found = judged_values([said], JudgedProducts(rows[:1], silent, usual))
    assert {value.name: value.right for value in found} == {"heel": False, "size": None}
    assert [value.right for value in judged_values([said], JudgedProducts(rows[:1], silent))] == [None, None]


def test_other_pictures_are_further_away_and_the_file_keeps_every_bit(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    mix = random.normal(size=(6, 40))
    train, more, other = (
        random.normal(size=(n, 6)) @ mix + 0.1 * random.normal(size=(n, 40)) for n in (300, 50, 50)
    )
    likeness = Likeness.of(train)
    other = other[:, ::-1]
    assert np.quantile(likeness.unlikeness(more), 0.9) < np.quantile(likeness.unlikeness(other), 0.1)
    likeness.save(tmp_path / "a.safetensors")
    again = Likeness.load(tmp_path / "a.safetensors")
    assert np.array_equal(again.unlikeness(more), likeness.unlikeness(more))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "cannot be read"),
        ('{"format": 2}', "format"),
        ('{"curve": {"threshold": [0.5, 0.6], "coverage": [0.1, 0.2]}}', "differ in length"),
        ('{"calibration": {"slope": NaN}}', "finite"),
        ('{"most_unlike": 2.0}', "cannot be read"),
    ],
)
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ListingModelFileError, match=told):
        read_certainty(tmp_path)


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    values, _ = drawn(300, {"a": 0.0, "b": 1.0})
    calibration, held_out = fit_calibration(values)
    curve = risk_curve(
        JudgedValues(held_out, np.array([not v.right for v in values]), [v.group for v in values], 400)
    )
    made = Certainty(CertaintyFile(calibration=calibration, curve=curve))
    made.save(tmp_path)
    assert read_certainty(tmp_path) == made
    assert Curve.model_validate(curve.model_dump()) == curve and Calibration() != calibration
    assert read_certainty(tmp_path / "elsewhere") is None

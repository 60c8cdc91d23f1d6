"""The linear probe of attribute values, beside scikit-learn's logistic regression."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from components.catalog.format.attributes import Value, each
from components.catalog.format.schema import CatalogSchema
from components.encoder.evaluate.attribute_values import AttributeAnswers, probe_answers
from components.encoder.evaluate.figures import VariantFigures
from components.encoder.model.features import attribute_probe
from components.encoder.model.features.attribute_probe import ABSENT, AttributeProbe, StatedProducts
from components.encoder.model.features.held_out import HeldOut

COLOURS = ("blue", "green", "red")
SCHEMA = CatalogSchema.model_validate(
    {
        "categories": {
            "shapes": {
                "product_types": ["bar"],
                "attributes": {
                    "colour": {"type": "enum", "values": [*COLOURS, "never"]},
                    "size": {"type": "number"},
                },
            },
            "empty": {"product_types": ["none"], "attributes": {}},
        }
    }
)
RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(3, 12))
LABELS = RNG.integers(0, 3, 300)
FEATURES = (CENTRES[LABELS] + RNG.normal(0, 1.2, (300, 12))).astype(np.float32)


def stated(start: int, end: int, absent_every: int = 0) -> StatedProducts:
    rows = np.arange(start, end)
    said = [
        {} if absent_every and i % absent_every == 0 else {"colour": COLOURS[LABELS[i]], "size": "3"}
        for i in rows
    ]
    return StatedProducts(rows, ["shapes"] * len(rows), said)


def probe(train: StatedProducts, validation: StatedProducts, absent: bool = False) -> AttributeProbe:
    return AttributeProbe(SCHEMA, lambda rows: FEATURES[rows], train, validation, absent)


def test_without_validation_it_is_the_logistic_regression_of_scikit_learn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attribute_probe, "STEPS", 200)
    monkeypatch.setattr(attribute_probe, "UNCHOSEN", 10.0)
    for rows in (200, 8):  # more rows than features, and fewer
        x = FEATURES[:rows]
        z = (x - x.mean(0)) / x.std(0)
        theirs = LogisticRegression(C=1 / 10, max_iter=2000, tol=1e-9).fit(z, LABELS[:rows])
        asked = np.arange(200, 300)
        ours = probe(stated(0, rows), stated(0, 0)).answers(asked, ["shapes"] * 100)
        expected = theirs.predict_proba((FEATURES[asked] - x.mean(0)) / x.std(0))
        found = np.array([a["colour"].probability for a in ours])
        np.testing.assert_allclose(found, expected.max(axis=1), atol=5e-3)
        best = [COLOURS[theirs.classes_[i]] for i in expected.argmax(axis=1)]
        assert [a["colour"].value for a in ours] == best


def test_validation_makes_the_probabilities_honest() -> None:
    answers = probe(stated(0, 150), stated(150, 225)).answers(np.arange(225, 300), ["shapes"] * 75)
    right = np.mean([a["colour"].value == COLOURS[LABELS[225 + i]] for i, a in enumerate(answers)])
    sure = np.mean([a["colour"].probability for a in answers])
    assert right > 0.7 and abs(right - sure) < 0.12


def test_an_attribute_that_is_left_out_is_a_class_or_no_label() -> None:
    train, validation = stated(0, 200, absent_every=1), stated(200, 225)
    assert probe(train, validation).answers(np.arange(3), ["shapes"] * 3) == [{}, {}, {}]
    half = StatedProducts(
        train.positions, train.categories, [*stated(0, 100).attributes, *train.attributes[100:]]
    )
    names = {a["colour"].value for a in probe(half, validation, absent=True).answers(
        np.arange(300), ["shapes"] * 300)}  # fmt: skip
    assert ABSENT in names and names - {ABSENT} <= set(COLOURS)


def test_what_nobody_taught_is_not_answered_and_equal_work_gives_equal_answers() -> None:
    made = [probe(stated(0, 100), stated(100, 150)) for _ in range(2)]
    asked = np.array([7, 8, 9]), ["empty", "shapes", "unheard of"]
    first, second = (p.answers(*asked) for p in made)
    assert first == second and first[0] == first[2] == {} and set(first[1]) == {"colour"}


def test_sellers_words_teach_it_and_the_truth_judges_it() -> None:
    splits = ["train"] * 200 + ["validation"] * 50 + ["test"] * 50
    rows = [
        {
            "product_id": str(i),
            "split": split,
            "category": "shapes",
            "attributes": [{"name": "colour", "value": COLOURS[label]}],
        }
        for i, (split, label) in enumerate(zip(splits, LABELS, strict=True))
    ]
    truth = {str(i): {"attributes": [{"name": "colour", "value": "green"}]} for i in range(300)}
    held_out = HeldOut(rows[250:], np.arange(250, 300), [], np.arange(0), SCHEMA, truth, [])
    answers = probe_answers(rows, held_out, lambda at: FEATURES[at])
    assert answers.product_ids == [str(i) for i in range(250, 300)]
    assert set(answers.truth) == {"green"}, "the truth, not what the seller says"
    said = np.mean([p == COLOURS[LABELS[250 + i]] for i, p in enumerate(answers.predicted)])
    assert said > 0.7, "what was learned is what sellers say"


def test_the_mean_over_attributes_counts_rare_ones_as_much() -> None:
    names = ["colour"] * 9 + ["cut"]
    answers = AttributeAnswers([str(i) for i in range(10)], names, ["a"] * 10, ["b"] * 9 + ["a"])
    measured = VariantFigures()
    measured.add_answers(answers)
    assert measured.values["attribute_accuracy"].mean() == pytest.approx(0.1)
    assert measured.values["attribute_mean_accuracy"].mean() == pytest.approx(0.5)


def test_each_of_several_values_is_asked_by_itself() -> None:
    sets = CatalogSchema.model_validate(
        {
            "categories": {
                "shapes": {
                    "product_types": ["bar"],
                    "attributes": {"colour": {"type": "enum", "values": COLOURS, "multiple": True}},
                }
            }
        }
    )
    both = {0: ("blue", "green"), 1: ("green", "red"), 2: "red"}  # what the three kinds of pictures show
    rows = np.arange(300)
    said = [{"colour": both[LABELS[i]]} for i in rows]
    train, rest = (
        StatedProducts(rows[s], ["shapes"] * len(rows[s]), said[s]) for s in (slice(200), slice(200, 260))
    )

    def answered(absent: bool) -> list[Value]:
        made = AttributeProbe(sets, lambda at: FEATURES[at], train, rest, absent)
        return [found["colour"].value for found in made.answers(np.arange(260, 300), ["shapes"] * 40)]

    whole = np.mean([a == said[260 + i]["colour"] for i, a in enumerate(answered(absent=True))])
    first = np.mean([a in each(said[260 + i]["colour"]) for i, a in enumerate(answered(absent=False))])
    assert whole > 0.7 and first > 0.8

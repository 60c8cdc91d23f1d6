"""The type of a query, inferred from its text: learned, never told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from components.encoder.model.errors import ModelFileError
from components.encoder.model.features.query_types import (
    DECAY,
    GAIN,
    LEAST,
    Examples,
    QueryTypes,
    learn_types,
    load_types,
    named,
    save_types,
    type_examples,
)

ROWS = [
    {"product_id": "p1", "title": "Red mug", "product_type": "mug", "split": "train"},
    {"product_id": "p2", "title": " ", "product_type": "tea pot", "split": "train"},
    {"product_id": "p3", "title": "Green hat", "product_type": "hat", "split": "test"},
]


def catalogue_with(folder: Path, queries: Sequence[tuple[str, str, str]], qrels: Sequence[Any]) -> Path:
    columns = zip(*queries, strict=True) if queries else ([], [], [])
    names = ("query_id", "text", "split")
    pq.write_table(
        pa.table({n: pa.array(c, pa.string()) for n, c in zip(names, columns, strict=True)}),
        folder / "queries.parquet",
    )
    query, product, grade = zip(*qrels, strict=True) if qrels else ([], [], [])
    ids = {n: pa.array(c, pa.string()) for n, c in (("query_id", query), ("product_id", product))}
    pq.write_table(pa.table({**ids, "relevance": pa.array(grade, pa.int8())}), folder / "qrels.parquet")
    return folder


def letters(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Frozen features of a tower that counts letters."""
    return np.array([[1 + t.lower().count(c) for c in "abcdeghimoprstu"] for t in texts], dtype=np.float32)


def test_examples_are_train_queries_with_their_shares_train_titles_and_all_names(tmp_path: Path) -> None:
    queries = [("q1", "something to drink from", "train"), ("q2", "hat", "test"), ("q3", "none", "train")]
    qrels = [("q1", "p1", 3), ("q1", "p2", 1), ("q2", "p3", 3), ("q3", "p1", 0), ("q1", "gone", 3)]
    found = type_examples(catalogue_with(tmp_path, queries, qrels), ROWS)
    assert found.names == ("hat", "mug", "tea pot")
    told = [
        (text, found.names[kind], round(float(weight), 4))
        for text, kind, weight in zip(found.texts, found.types, found.weights, strict=True)
    ]
    asked = "something to drink from"
    assert told == [
        (asked, "mug", 0.875),  # gains 7 and 1
        (asked, "tea pot", 0.125),
        ("Red mug", "mug", 0.1),
        *((name, name, 1.0) for name in found.names),
    ]


def test_a_catalogue_without_queries_learns_from_titles_and_names(tmp_path: Path) -> None:
    found = learn_types(type_examples(catalogue_with(tmp_path, [], []), ROWS), letters)
    asked = ["a blue mug", "tea pots", "HAT"]
    said = found.log_probabilities(asked, letters(asked))
    assert [found.names[i] for i in said.argmax(axis=1)] == ["mug", "tea pot", "hat"]


def test_the_longest_name_counts_and_plurals_are_one() -> None:
    names = ("bag", "laptop bag", "dress", "123")
    assert named(["black laptop bags", "bags", "dresses", ""], names).tolist() == [
        [0, 1, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]


def test_the_posterior_is_the_logistic_regression_of_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    table = {f"text{chr(97 + i)}": rng.normal(size=6).astype(np.float32) for i in range(24)}
    kinds = np.arange(24) % 3
    examples = Examples(("x1", "x2", "x3"), list(table), kinds, np.ones(24, np.float32))
    features = np.stack(list(table.values()))
    found = learn_types(examples, lambda texts: np.stack([table[t] for t in texts]))
    unit = GAIN * features / np.linalg.norm(features, axis=1, keepdims=True)
    x = np.column_stack([unit - unit.mean(axis=0), np.ones(24)])  # our bias is held small, too
    oracle = LogisticRegression(C=1 / DECAY, fit_intercept=False, max_iter=5000, tol=1e-8).fit(x, kinds)
    ours = found.log_probabilities(list(table), features)
    assert ours == pytest.approx(oracle.predict_log_proba(x).clip(LEAST), abs=2e-2)


def test_an_unsure_posterior_prefers_no_product() -> None:
    unsure = QueryTypes(("hat", "mug"), np.zeros(2, np.float32), np.zeros((2, 2), np.float32),
                        np.zeros(2, np.float32), 5.0)  # fmt: skip
    texts = ["something nice", "a mug"]
    products = ["mug", "hat", "unheard of", None]
    scores = unsure.of_types(unsure.log_probabilities(texts, np.ones((2, 2))), products)
    assert scores[0] == pytest.approx(np.log(0.5) * np.ones(4))
    assert scores[1, 0] > scores[1, 2] == scores[1, 3] > scores[1, 1]


def test_saved_types_say_the_same_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    found = learn_types(type_examples(catalogue_with(tmp_path, [], []), ROWS), letters)
    file = tmp_path / "types.safetensors"
    save_types(found, file)
    asked = ["a blue mug", "nothing"]
    known = load_types(file).log_probabilities(asked, letters(asked))
    assert (known == found.log_probabilities(asked, letters(asked))).all()
    save_types(replace(found, names=("hat",)), file)
    with pytest.raises(ModelFileError, match="do not fit"):
        load_types(file)
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ModelFileError, match="run its stage again"):
        load_types(file)


def test_one_type_alone_changes_nothing(tmp_path: Path) -> None:
    found = learn_types(type_examples(catalogue_with(tmp_path, [], []), ROWS[:1]), letters)
    assert not found.log_probabilities(["a hat"], letters(["a hat"])).any()

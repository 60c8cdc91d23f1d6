"""What an encoder is asked: titles, the split's own queries, and which attribute value a picture shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from components.catalog.format.records import Qrel, Query
from components.catalog.format.schema import CatalogSchema
from components.catalog.format.shards import write_qrels, write_queries
from components.encoder.evaluate.attribute_values import attribute_answers
from components.encoder.model.features.held_out import HeldOut, Task, query_task, title_task

TITLES = st.sampled_from(["Red mug", "red mug ", "Blue mug", "", " "])


def hits(task: Task) -> dict[str, set[tuple[int, int]]]:
    """Query id to the (place, grade) of its judged products."""
    found: dict[str, set[tuple[int, int]]] = {name: set() for name in task.query_ids}
    qrels = task.qrels
    for q, p, g in zip(qrels.query.tolist(), qrels.product.tolist(), qrels.grade.tolist(), strict=True):
        found[task.query_ids[q]].add((p, g))
    return found


@given(st.lists(st.tuples(TITLES, st.sampled_from("abc")), max_size=8))
def test_a_title_asks_for_every_product_of_its_words_or_its_group(products: list[tuple[str, str]]) -> None:
    rows = [
        {"product_id": f"p{i}", "title": title, "group_id": group}
        for i, (title, group) in enumerate(products)
    ]
    task = title_task(rows)
    titles = [title.strip().casefold() for title, _ in products]
    expected = {
        f"p{i}": {
            (j, 3) for j in range(len(rows)) if titles[j] == titles[i] or products[j][1] == products[i][1]
        }
        for i in range(len(rows))
        if titles[i]
    }
    assert hits(task) == expected
    assert task.clusters == [group for title, group in products if title.strip()]


def test_only_answerable_queries_of_the_split_are_asked(tmp_path: Path) -> None:
    queries = {"asked": "test", "half": "test", "elsewhere": "test", "train": "train"}
    write_queries(tmp_path, [Query(query_id=q, text=f"text of {q}", split=s) for q, s in queries.items()])
    judged = [
        ("asked", "b", 3), ("asked", "a", 1), ("asked", "gone", 3),
        ("half", "a", 2), ("elsewhere", "gone", 3), ("train", "a", 3),
    ]  # fmt: skip
    write_qrels(tmp_path, [Qrel(query_id=q, product_id=p, relevance=g) for q, p, g in judged])
    task = query_task(tmp_path, "test", ["a", "b"], relevant_grade=3)
    assert task.texts == ["text of asked"] and hits(task) == {"asked": {(0, 1), (1, 3)}}
    lower = query_task(tmp_path, "test", ["a", "b"], relevant_grade=2)
    assert hits(lower) == {"asked": {(0, 1), (1, 3)}, "half": {(0, 2)}}


SCHEMA = CatalogSchema.model_validate(
    {
        "categories": {
            "home": {
                "product_types": ["mug"],
                "attributes": {
                    "colour": {"type": "enum", "values": ["red", "blue"]},
                    "accent_colour": {"type": "enum", "values": ["red", "blue"]},
                    "maker": {"type": "string"},
                    "lid": {"type": "enum", "values": ["none"]},
                },
            }
        }
    }
)
DIRECTIONS = {"mug in red": 0, "mug in blue": 1, "mug in accent red": 2, "mug in accent blue": 3}


class FourDirections:
    """An encoder that knows four sentences, each a direction of its own."""

    def texts(self, texts: list[str]) -> np.ndarray:
        assert len(set(texts)) == len(texts), "a sentence is encoded once"
        return np.eye(4, dtype=np.float32)[[DIRECTIONS[text] for text in texts]]


def pairs(**attributes: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in attributes.items()]


def test_each_product_is_asked_for_its_closed_attributes_and_the_nearest_sentence_answers() -> None:
    stated = pairs(colour="red", accent_colour="blue", maker="Quenby", lid="none")
    rows: list[dict[str, Any]] = [
        {"product_id": "told", "category": "home", "product_type": "mug", "attributes": stated},
        {"product_id": "wrong", "category": "home", "product_type": "mug", "attributes": pairs(colour="red")},
        {"product_id": "odd", "category": "home", "product_type": "mug", "attributes": pairs(colour="pink")},
        {"product_id": "foreign", "category": "garden", "product_type": "pot", "attributes": stated},
    ]
    truth = {"wrong": {"attributes": pairs(colour="blue")}}
    both = [*pairs(colour="blue"), *pairs(colour="red")]
    rows.append({"product_id": "both", "category": "home", "product_type": "mug", "attributes": both})
    nothing: Any = np.zeros(0, dtype=np.int64)
    held_out = HeldOut(rows, nothing, [], nothing, SCHEMA, truth, [])
    images = np.array(
        [[0.2, 0.9, 0.3, 0.4], [0.1, 0.8, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0.9, 0.1, 0, 0]], np.float32
    )
    encoder: Any = FourDirections()
    answers = attribute_answers(encoder, images, held_out, "{product_type} in {value}")
    found = list(zip(answers.product_ids, answers.names, answers.truth, answers.predicted, strict=True))
    assert found == [
        ("told", "colour", "red", "blue"),
        ("told", "accent_colour", "blue", "blue"),
        ("wrong", "colour", "blue", "blue"),  # what is true counts, not what the seller says
        ("both", "colour", ("blue", "red"), "red"),  # asked once; one of its values is right
    ]
    assert answers.correct.tolist() == [0, 1, 1, 1]
    nobody = attribute_answers(
        encoder, images[:0], HeldOut([], nothing, [], nothing, SCHEMA, {}, []), "{value}"
    )
    assert nobody.product_ids == [] and nobody.correct.shape == (0,)

"""A query's type as a part of a row's scores: named by its words, or inferred from its text.

A row that is told types ranks what has a type that the text names above all else: it knows every candidate's
type. It is compared with others that know as much: an encoder that has to see the type, or is told it too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.encoder.embed.hubs import best_weight
from components.encoder.model.features.captions import attribute_text
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.held_out import HeldOut, Task, read_held_out
from components.encoder.model.features.picture_features import FeatureCache
from components.encoder.model.features.query_types import Floats, learn_types, type_examples, words
from components.encoder.model.features.rows import read_rows

Bonus = Callable[[Task, HeldOut], Floats]  # [queries, products], added to a row's scores
ABOVE = 10.0  # more than any similarity
WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)  # of a log-probability beside a cosine


def postings(rows: Sequence[dict[str, Any]]) -> dict[str, list[int]]:
    """The rows that each word of the captions stands in."""
    found: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        for word in words(f"{row['title']} {attribute_text(row['attributes'])}"):
            found.setdefault(word, []).append(i)
    return found


class NamedTypes:
    """The types of ``rows``, named by their own words or by words that go with one type alone."""

    def __init__(self, rows: Sequence[dict[str, Any]], words_at: Mapping[str, list[int]]) -> None:
        self._types = {r["product_type"]: words(r["product_type"]) for r in rows}
        # Words that go with one type nearly always ("trainers" with shoe) also name it.
        self._type_of_word = {w: _dominant(rows, at) for w, at in words_at.items()}

    def named(self, text: str) -> set[str]:
        """Product types that a text names."""
        asked = words(text)
        exact = {t for t, own in self._types.items() if own <= asked}
        return exact or {t for w in asked if (t := self._type_of_word.get(w))}

    def bonus(self, texts: Sequence[str], rows: Sequence[dict[str, Any]]) -> Floats:
        """``[texts, rows]``: ``ABOVE`` where the candidate has a type that the text names, else 0."""
        types = np.array([r["product_type"] for r in rows])
        found = [np.isin(types, sorted(self.named(text))) for text in texts]
        return np.stack(found).astype(np.float32) * np.float32(ABOVE)


def _dominant(rows: Sequence[dict[str, Any]], at: Sequence[int]) -> str | None:
    types = [rows[i]["product_type"] for i in at]
    best = max(sorted(set(types)), key=types.count)
    return best if len(at) >= 5 and types.count(best) >= 0.9 * len(at) else None


class InferredTypes:
    """``weight`` x log p(type of the product | text), the weight chosen on the validation split.

    Args:
        encoder: whose text features are read. features: of the catalogue's pictures.
    """

    def __init__(
        self, encoder: BatchEncoder, features: FeatureCache, catalogue: Path, relevant_grade: int
    ) -> None:
        self._encoder = encoder
        rows = read_rows(catalogue)
        self._types = learn_types(type_examples(catalogue, rows), encoder.text_features)
        self.weight = 0.0  # changes nothing where no validation product can say better
        if any(row["split"] == "validation" for row in rows):
            no_truth = catalogue  # nothing of it is needed: the folder has no such file
            held_out = read_held_out(catalogue, no_truth, "validation", relevant_grade)
            images = features.vectors(held_out.positions)
            asked = (
                (task, encoder.texts(task.texts) @ images.T, self._log_probabilities(task, held_out))
                for task in held_out.tasks
            )
            self.weight = best_weight(WEIGHTS, asked)

    def _log_probabilities(self, task: Task, held_out: HeldOut) -> Floats:
        found = self._types.log_probabilities(task.texts, self._encoder.text_features(task.texts))
        return self._types.of_types(found, [row["product_type"] for row in held_out.rows])

    def bonus(self, task: Task, held_out: HeldOut) -> Floats:
        """``[queries, products]``."""
        found: Floats = np.float32(self.weight) * self._log_probabilities(task, held_out)
        return found

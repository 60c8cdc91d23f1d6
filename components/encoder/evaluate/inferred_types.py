"""The type of a query, inferred from its text, as a part of a row's scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.held_out import HeldOut, Task, read_held_out
from components.encoder.model.features.picture_features import FeatureCache
from components.encoder.model.features.query_types import Floats, QueryTypes, learn_types, type_examples
from components.encoder.model.features.rows import read_rows
from components.retrieval.metrics import judge, ndcg_at
from components.retrieval.ranking import top_k

Bonus = Callable[[Task, HeldOut], Floats]  # [queries, products], added to a row's scores
WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)  # of a log-probability beside a cosine


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
        self._types: QueryTypes = learn_types(type_examples(catalogue, rows), encoder.text_features)
        self.weight = 0.0  # changes nothing where no validation product can say better
        if any(row["split"] == "validation" for row in rows):
            no_truth = catalogue  # nothing of it is needed: the folder has no such file
            held_out = read_held_out(catalogue, no_truth, "validation", relevant_grade)
            self.weight = self._chosen(held_out, features)

    def _log_probabilities(self, task: Task, held_out: HeldOut) -> Floats:
        found = self._types.log_probabilities(task.texts, self._encoder.text_features(task.texts))
        return self._types.of_types(found, [row["product_type"] for row in held_out.rows])

    def _chosen(self, held_out: HeldOut, features: FeatureCache) -> float:
        """The weight with the highest nDCG@10, every task counting alike; the least of equals."""
        images = features.vectors(held_out.positions)
        means = np.zeros(len(WEIGHTS))
        for task in held_out.tasks:
            scores = self._encoder.texts(task.texts) @ images.T
            bonus = self._log_probabilities(task, held_out)
            for at, weight in enumerate(WEIGHTS):
                ranking = top_k(scores + np.float32(weight) * bonus, 10)
                means[at] += np.nanmean(ndcg_at(judge(ranking, task.qrels), 10))
        return WEIGHTS[int(means.argmax())]

    def bonus(self, task: Task, held_out: HeldOut) -> Floats:
        """``[queries, products]``."""
        found: Floats = np.float32(self.weight) * self._log_probabilities(task, held_out)
        return found

"""The same task on one kind of picture: cluttered or plain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.encoder.model.features.held_out import Task
from components.retrieval.metrics import Qrels


@dataclass(frozen=True)
class SceneSlice:
    """Queries whose answer can be a picture of one scene.

    All pictures stay candidates, so a cluttered one competes with plain ones. Only answers of the scene count
    as hits; answers of other scenes are left out of the ranking, for they are neither hits nor mistakes. Of a
    scene *alone*, all pictures of other scenes are left out.

    Attributes:
        queries: positions of the queries in their task. qrels: of these queries, hits of the scene only.
        left_out: bool ``[queries, products]``.
    """

    scene: str
    queries: npt.NDArray[np.int64]
    qrels: Qrels
    left_out: npt.NDArray[np.bool_]

    def scores(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The task's scores ``[all queries, products]`` for this slice; what is left out comes last."""
        own = scores[self.queries].copy()
        own[self.left_out] = -2.0  # below any cosine
        return own


def scene_slice(task: Task, scenes: Sequence[str], scene: str, level: int, alone: bool = False) -> SceneSlice:
    """The part of a task that asks for pictures of ``scene``; ``level`` is the grade of a hit."""
    qrels = task.qrels
    hit = (qrels.grade >= level) & (qrels.product >= 0)
    inside = np.array([s == scene for s in scenes], dtype=bool)
    wanted = hit & inside[qrels.product]
    queries = np.unique(qrels.query[wanted])
    place = np.full(qrels.queries, -1, dtype=np.int64)
    place[queries] = np.arange(len(queries))
    left_out = np.zeros((len(queries), qrels.products), dtype=bool)
    other = hit & ~inside[qrels.product] & (place[qrels.query] >= 0)
    left_out[place[qrels.query[other]], qrels.product[other]] = True
    if alone:
        left_out[:, ~inside] = True
    sliced = Qrels.from_arrays(
        place[qrels.query[wanted]], qrels.product[wanted], qrels.grade[wanted], len(queries), qrels.products
    )
    return SceneSlice(f"{scene}_alone" if alone else scene, queries, sliced, left_out)

"""What each variant of VL-CLIP can do on held-out products, all asked the same questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.encoder.encode import BatchEncoder
from components.encoder.evaluate import ATTRIBUTES, DEPTH, Measured, task_metrics
from components.encoder.heldout import HeldOut, Task
from components.encoder.zero_shot import AttributeAnswers, attribute_answers
from components.retrieval.metrics import judge
from components.retrieval.ranking import top_k
from components.retrieval.significance import bootstrap_interval, paired_bootstrap
from components.vlclip.params import VlclipEvaluationParams
from components.vlclip.similar import Likeness, chance, likeness, precision_at
from components.vlclip.slices import SceneSlice, scene_slice

SCENES = ("cluttered", "plain")
SLICED = ("hits_at_1", "hits_at_5", "hits_at_10", "mrr")  # nDCG would need the ideal without other scenes
TESTED = (
    *("hits_at_5", "mrr", "mrr_cluttered", "mrr_plain", "titles_mrr", "titles_mrr_cluttered"),
    *("pooled_mrr_cluttered", "pooled_mrr_plain", "similar_precision", "attribute_accuracy"),
)


def interval_table(measured: Mapping[str, Measured], params: VlclipEvaluationParams) -> dict[str, Any]:
    """variant -> metric -> {value, low, high, n}."""
    return {
        variant: {
            name: bootstrap_interval(
                values, params.seed, params.bootstrap_samples, clusters=row.clusters[name]
            ).model_dump()
            for name, values in row.values.items()
        }
        for variant, row in measured.items()
    }


def paired_tests(
    measured: Mapping[str, Measured], pairs: Sequence[tuple[str, str]], metrics: Sequence[str],
    params: VlclipEvaluationParams,
) -> list[dict[str, Any]]:  # fmt: skip
    """A paired bootstrap of each metric that both variants of a pair have."""
    tests = []
    for ours, rival in pairs:
        if ours not in measured or rival not in measured:
            continue
        a, b = measured[ours], measured[rival]
        for metric in (m for m in metrics if m in a.values and m in b.values):
            difference = paired_bootstrap(
                a.values[metric], b.values[metric], params.seed, params.bootstrap_samples,
                clusters=b.clusters[metric],
            )  # fmt: skip
            tests.append({"metric": metric, "a": ours, "b": rival, **difference.model_dump()})
    return tests


def compared(variants: Sequence[str]) -> list[tuple[str, str]]:
    """Which rows are held against which: full against each, halves against raw, and full and raw by seed."""
    seeds = [v.removeprefix("full_") for v in variants if v.startswith("full_")]
    single = [v for v in variants if v not in ("full", "chance") and not v.endswith(tuple(seeds or ["?"]))]
    pairs = [("full", v) for v in single] + [("raw", "untrained")]
    pairs += [(v, "raw") for v in ("grounded", "clarified", "true_box", "lambda_zero") if v in variants]
    return pairs + [(f"full_{seed}", f"raw_{seed}") for seed in seeds]


class VlclipEvaluation:
    """Collects the metrics and per-query results of several variants on one held-out split."""

    def __init__(self, held_out: HeldOut, params: VlclipEvaluationParams) -> None:
        self.held_out, self.params = held_out, params
        self.measured: dict[str, Measured] = {}
        self._per_query: list[dict[str, Any]] = []
        self._per_attribute: list[dict[str, Any]] = []
        self._per_item: list[dict[str, Any]] = []
        scenes = [held_out.truth.get(i, {}).get("scene", "unknown") for i in held_out.product_ids]
        self._slices = {
            task.name: [scene_slice(task, scenes, s, params.relevant_grade) for s in SCENES]
            for task in held_out.tasks
        }
        self._like: Likeness = likeness(held_out, params.similar_attributes)

    def _of(self, variant: str) -> Measured:
        return self.measured.setdefault(variant, Measured())

    def add(self, variant: str, encoder: BatchEncoder, images: npt.NDArray[np.float32]) -> None:
        """Every figure of one variant; ``images [products, D]`` are its vectors of its own pictures."""
        for task in self.held_out.tasks:
            self._add_task(variant, task, encoder.texts(task.texts) @ images.T)
        for scene in SCENES:
            self._add_pooled(variant, scene)
        self._add_similar(variant, images)
        self._add_answers(
            variant, attribute_answers(encoder, images, self.held_out, self.params.attribute_prompt)
        )

    def _add_task(self, variant: str, task: Task, scores: npt.NDArray[np.float32]) -> None:
        """Every metric of one task, over all pictures and for each scene."""
        prefix = "" if task.name == "queries" else f"{task.name}_"
        ranking = top_k(scores, min(DEPTH, scores.shape[1]))
        metrics = task_metrics(judge(ranking, task.qrels), self.params.relevant_grade)
        for name, values in metrics.items():
            self._of(variant).add(f"{prefix}{name}", values, task.clusters)
        sliced = {s.scene: self._add_slice(variant, task, s, scores, prefix) for s in self._slices[task.name]}
        ids = self.held_out.product_ids
        for i, query_id in enumerate(task.query_ids):
            row: dict[str, Any] = {"variant": variant, "task": task.name, "query_id": query_id}
            row |= {"kind": task.kinds[i]} | {name: float(v[i]) for name, v in metrics.items()}
            row |= {f"mrr_{scene}": values.get(i) for scene, values in sliced.items()}
            self._per_query.append(row | {"text": task.texts[i], "top": [ids[p] for p in ranking[i, :10]]})

    def _add_slice(
        self, variant: str, task: Task, part: SceneSlice, scores: npt.NDArray[np.float32], prefix: str
    ) -> dict[int, float]:
        """Metrics of one scene; the reciprocal rank by the query's position in its task."""
        if not len(part.queries):
            return {}
        ranking = top_k(part.scores(scores), min(DEPTH, scores.shape[1]))
        metrics = task_metrics(judge(ranking, part.qrels), self.params.relevant_grade)
        clusters = [task.clusters[q] for q in part.queries] if task.clusters is not None else None
        for name in SLICED:
            self._of(variant).add(f"{prefix}{name}_{part.scene}", metrics[name], clusters)
        return dict(zip(part.queries.tolist(), metrics["mrr"].tolist(), strict=True))

    def _add_pooled(self, variant: str, scene: str) -> None:
        """MRR of one scene over queries and titles together; a title's unit is its product's group."""
        measured = self._of(variant)
        values: list[npt.NDArray[np.float64]] = []
        clusters: list[object] = []
        for prefix in ("", "titles_"):
            name = f"{prefix}mrr_{scene}"
            part = measured.values.get(name, np.zeros(0))
            values.append(part)
            clusters += [(prefix, c) for c in measured.clusters.get(name) or range(len(part))]
        measured.add(f"pooled_mrr_{scene}", np.concatenate(values), clusters)

    def _add_similar(self, variant: str, images: npt.NDArray[np.float32]) -> None:
        precision = precision_at(images, self._like, self.params.similar_k)
        asked = self._like.asked
        groups = self._like.groups[asked].tolist()
        self._of(variant).add("similar_precision", precision, groups)
        ids = self.held_out.product_ids
        for at, value in zip(asked, precision, strict=True):
            self._per_item.append({"variant": variant, "product_id": ids[at], "precision": float(value)})

    def add_chance(self) -> None:
        """What a random order of similar items would score."""
        values = chance(self._like, self.params.similar_k)
        self._of("chance").add("similar_precision", values, self._like.groups[self._like.asked].tolist())

    def _add_answers(self, variant: str, answers: AttributeAnswers) -> None:
        """Zero-shot attribute accuracy, overall and by attribute; a product's answers are one unit."""
        correct, names = answers.correct, np.array(answers.names)
        self._of(variant).add("attribute_accuracy", correct, answers.product_ids)
        for name in sorted(set(answers.names)):
            self._of(variant).add(f"attribute_accuracy_{name}", correct[names == name])
        columns = zip(answers.product_ids, answers.names, answers.truth, answers.predicted, strict=True)
        for product_id, name, truth, predicted in columns:
            row = {"variant": variant, "product_id": product_id, "attribute": name}
            self._per_attribute.append(row | {"truth": truth, "predicted": predicted})

    def metrics(self) -> dict[str, Any]:
        """variant -> metric -> {value, low, high, n}, and the paired tests under ``_tests``."""
        tests = paired_tests(self.measured, compared(list(self.measured)), TESTED, self.params)
        return {**interval_table(self.measured, self.params), "_tests": tests}

    def tables(self) -> Mapping[str, pa.Table]:
        """Per-query, per-attribute and per-item results, by file name."""
        return {
            "vlclip.parquet": pa.Table.from_pylist(self._per_query, schema=_per_query_schema()),
            "attributes.parquet": pa.Table.from_pylist(self._per_attribute, schema=ATTRIBUTES),
            "similar.parquet": pa.Table.from_pylist(self._per_item, schema=SIMILAR),
        }


SIMILAR = pa.schema([("variant", pa.string()), ("product_id", pa.string()), ("precision", pa.float64())])
RETRIEVAL = (
    *("hits_at_1", "hits_at_5", "hits_at_10", "mrr", "ndcg_at_1", "ndcg_at_10", "recall_at_100"),
    *(f"mrr_{scene}" for scene in SCENES),
)


def _per_query_schema() -> pa.Schema:
    texts = [(n, pa.string()) for n in ("variant", "task", "query_id", "kind")]
    numbers = [(n, pa.float64()) for n in RETRIEVAL]
    return pa.schema([*texts, *numbers, ("text", pa.string()), ("top", pa.list_(pa.string()))])

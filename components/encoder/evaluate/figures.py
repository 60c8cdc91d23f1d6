"""What the encoder can do on held-out products, beside baselines that cannot learn or cannot see."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.encoder.evaluate.attribute_values import ATTRIBUTES, AttributeAnswers, attribute_answers
from components.encoder.evaluate.colour_histogram import ColourHistogram, histograms_of
from components.encoder.evaluate.query_type import Bonus, NamedTypes
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.held_out import HeldOut, Task, one_spelling
from components.encoder.model.features.picture_features import FeatureCache
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.params import EvaluationParams, HeldOutParams
from components.retrieval.metrics import RankedGrades, hits_at, judge, ndcg_at, recall_at, reciprocal_rank
from components.retrieval.ranking import top_k
from components.retrieval.significance import bootstrap_interval, paired_bootstrap

Floats = npt.NDArray[np.float64]
DEPTH = 100
# rows that are told a query's type by its words, are not, infer it, or hold hubs back, unlike their namesake
TYPED, UNTYPED, INFERRED, NORMALISED = "_typed", "_untyped", "_inferred", "_normalised"
OTHERS = (  # rows that are no encoder's own
    "linear_probe",
    f"fine_tuned{TYPED}",
    f"fine_tuned{INFERRED}",
    f"fine_tuned{NORMALISED}",
    f"fine_tuned{INFERRED}{NORMALISED}",
    "colour_histogram",
    f"colour_histogram{UNTYPED}",
)
TESTED = (
    *("hits_at_5", "mrr", "titles_hits_at_5", "titles_mrr", "ndcg_at_10", "titles_ndcg_at_10"),
    *("attribute_accuracy", "new_text_hits_at_5"),
)
BY_TEXT = ("hits_at_5", "mrr", "ndcg_at_10")  # told apart for queries whose text is a train query's, or not


def task_metrics(judged: RankedGrades, level: int) -> dict[str, Floats]:
    """Per-query values; a product is a hit from grade ``level`` on, nDCG uses every grade."""
    return {
        "hits_at_1": hits_at(judged, 1, level),
        "hits_at_5": hits_at(judged, 5, level),
        "hits_at_10": hits_at(judged, 10, level),
        "mrr": reciprocal_rank(judged, level),
        "ndcg_at_1": ndcg_at(judged, 1),
        "ndcg_at_10": ndcg_at(judged, 10),
        "recall_at_100": recall_at(judged, 100, level),
    }


@dataclass
class VariantFigures:
    """Everything measured of one variant; units of a metric are queries or answers."""

    values: dict[str, Floats] = field(default_factory=dict)
    clusters: dict[str, Sequence[object] | None] = field(default_factory=dict)

    def add(self, name: str, values: Floats, clusters: Sequence[object] | None = None) -> None:
        """Keep one metric's values per unit; without units there is no metric."""
        if len(values):
            self.values[name] = values
            self.clusters[name] = clusters

    def add_answers(self, answers: AttributeAnswers) -> None:
        """Attribute accuracy over answers, over attributes and of each; a product's answers are one unit."""
        correct, names = answers.correct, np.array(answers.names)
        self.add("attribute_accuracy", correct, answers.product_ids)
        kinds, which, counts = np.unique(names, return_inverse=True, return_counts=True)
        if len(kinds):  # so weighted, the mean over answers is the mean of the attributes' accuracies
            weights = len(names) / (len(kinds) * counts)
            self.add("attribute_mean_accuracy", correct * weights[which], answers.product_ids)
        for name in kinds.tolist():
            self.add(f"attribute_accuracy_{name}", correct[names == name])


def tested_figures(
    measured: Mapping[str, VariantFigures], pairs: Sequence[tuple[str, str]], metrics: Sequence[str],
    params: HeldOutParams,
) -> dict[str, Any]:  # fmt: skip
    """variant -> metric -> {value, low, high, n}; ``_tests``: paired bootstraps of ``metrics`` by pair.

    A pair is tested in what was measured of both of its variants.
    """
    drawn = (params.seed, params.bootstrap_samples)
    figures: dict[str, Any] = {
        variant: {
            name: bootstrap_interval(values, *drawn, clusters=row.clusters[name]).model_dump()
            for name, values in row.values.items()
        }
        for variant, row in measured.items()
    }
    figures["_tests"] = tests = []
    for ours, other in (pair for pair in pairs if measured.keys() >= set(pair)):
        a, b = measured[ours], measured[other]
        for metric in (m for m in metrics if m in a.values and m in b.values):
            found = paired_bootstrap(a.values[metric], b.values[metric], *drawn, clusters=b.clusters[metric])
            tests.append({"metric": metric, "a": ours, "b": other, **found.model_dump()})
    return figures


class HeldOutFigures:
    """Collects metrics and per-query results of several variants on one held-out split."""

    def __init__(self, held_out: HeldOut, params: HeldOutParams) -> None:
        self.held_out, self.params = held_out, params
        self.measured: dict[str, VariantFigures] = {}
        self.per_query, self.per_attribute = list[dict[str, Any]](), list[dict[str, Any]]()

    def of(self, variant: str) -> VariantFigures:
        """What was measured of a variant."""
        return self.measured.setdefault(variant, VariantFigures())

    def add_task(
        self, variant: str, task: Task, scores: npt.NDArray[np.float32]
    ) -> tuple[dict[str, Floats], list[dict[str, Any]]]:
        """Rank the split's pictures by ``scores [queries, products]``; metrics, and a row for each query."""
        ranking = top_k(scores, min(DEPTH, scores.shape[1]))
        metrics = task_metrics(judge(ranking, task.qrels), self.params.relevant_grade)
        for name, values in metrics.items():
            self.of(variant).add(f"{prefix_of(task)}{name}", values, task.clusters)
        ids, rows = self.held_out.product_ids, list[dict[str, Any]]()
        for i, query_id in enumerate(task.query_ids):
            row: dict[str, Any] = {name: float(values[i]) for name, values in metrics.items()}
            asked = {"variant": variant, "task": task.name, "query_id": query_id, "kind": task.kinds[i]}
            rows.append(asked | row | {"text": task.texts[i], "top": [ids[p] for p in ranking[i, :10]]})
        self.per_query += rows
        return metrics, rows

    def add_answers(self, variant: str, answers: AttributeAnswers) -> None:
        """Attribute accuracy, and which value was chosen for each product."""
        self.of(variant).add_answers(answers)
        self.per_attribute += answers.rows(variant)


def prefix_of(task: Task) -> str:
    """What the names of a task's metrics begin with."""
    return "" if task.name == "queries" else f"{task.name}_"


class Evaluation(HeldOutFigures):
    """The encoder's table.

    Args:
        trained_texts: of train queries, in one spelling: they tell known queries from new ones.
    """

    def __init__(
        self, held_out: HeldOut, params: EvaluationParams, trained_texts: Collection[str] = ()
    ) -> None:
        super().__init__(held_out, params)
        self.bins, self.trained_texts = params.histogram_bins, trained_texts

    def add_scores(self, variant: str, task: Task, scores: npt.NDArray[np.float32]) -> None:
        """Every metric of a task; of queries also by kind, and by whether training has seen the text."""
        metrics, _ = self.add_task(variant, task, scores)
        if task.name != "queries":
            return
        kinds = np.array(task.kinds)
        for kind in sorted(set(task.kinds)) if len(set(task.kinds)) > 1 else ():
            for name, values in metrics.items():
                self.of(variant).add(f"{kind}_{name}", values[kinds == kind])
        known = np.array([one_spelling(text) in self.trained_texts for text in task.texts], dtype=bool)
        for group, chosen in (("known_text", known), ("new_text", ~known)):
            for name in BY_TEXT:
                self.of(variant).add(f"{group}_{name}", metrics[name][chosen])

    def metrics(self) -> dict[str, Any]:
        """variant -> metric -> {value, low, high, n}, and the paired tests under ``_tests``."""
        others = [m for m in self.measured if m != "fine_tuned"]
        typed, inferred = f"fine_tuned{TYPED}", f"fine_tuned{INFERRED}"
        pairs = [*(("fine_tuned", m) for m in others), (typed, "colour_histogram")]
        pairs += [(inferred, typed), (inferred, "colour_histogram"), (f"{inferred}{NORMALISED}", inferred)]
        return tested_figures(self.measured, pairs, TESTED, self.params)

    def tables(self) -> Mapping[str, pa.Table]:
        """Per-query and per-attribute results, by file name."""
        return {
            "encoder.parquet": pa.Table.from_pylist(self.per_query),
            "attributes.parquet": pa.Table.from_pylist(self.per_attribute, schema=ATTRIBUTES),
        }


def evaluate_encoder(
    evaluation: Evaluation,
    variant: str,
    encoder: BatchEncoder,
    features: FeatureCache,
    bonuses: Mapping[str, Bonus],
) -> None:
    """Every task and zero-shot attributes for one encoder; with each of ``bonuses`` one more row of tasks.

    Args:
        bonuses: what is added to the scores, by the end of the row's name.
    """
    held_out = evaluation.held_out
    images = features.vectors(held_out.positions)
    for task in held_out.tasks:
        scores = encoder.texts(task.texts) @ images.T
        evaluation.add_scores(variant, task, scores)
        for name, bonus in bonuses.items():
            evaluation.add_scores(f"{variant}{name}", task, scores + bonus(task, held_out))
    prompt = evaluation.params.attribute_prompt
    evaluation.add_answers(variant, attribute_answers(encoder, images, held_out, prompt))


def evaluate_baselines(
    evaluation: Evaluation, pixels: PixelCache, words_at: Mapping[str, list[int]], told: NamedTypes
) -> None:
    """The colour baseline for retrieval: told every candidate's type, and not told it."""
    held_out, bins = evaluation.held_out, evaluation.bins
    rows = np.concatenate([held_out.train_positions, held_out.positions])
    train, test = np.split(histograms_of(pixels, rows, bins), [len(held_out.train_positions)])
    baseline = ColourHistogram(train, words_at)
    for task in held_out.tasks:
        scores = baseline.scores(task.texts, test)
        bonus = told.bonus(task.texts, held_out.rows)
        evaluation.add_scores("colour_histogram", task, scores + bonus)
        evaluation.add_scores(f"colour_histogram{UNTYPED}", task, scores)

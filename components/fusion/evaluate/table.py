"""Fusion's table on one held-out split: metrics, slices, conditions and paired tests of every row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.encoder.model.features.held_out import Task
from components.fusion.evaluate.params import FusionEvaluationParams
from components.fusion.model.sources.bm25 import Scores
from components.fusion.model.towers.towers import Flags, Items
from components.retrieval.metrics import Qrels, judge, ndcg_at, recall_at, reciprocal_rank
from components.retrieval.ranking import top_k
from components.retrieval.significance import bootstrap_interval, paired_bootstrap

Floats = npt.NDArray[np.float64]
DEPTH = 100
Scorer = Callable[[Items], Scores]
MAIN = "moe_bilinear"  # the network that all claims are about
LEXICAL = ("bm25", "hybrid", "hybrid_image", "hybrid_image_type")
BASELINES = ("text_only", "average", "fixed_weights", "concat_mlp", *LEXICAL)
# (baseline, metric): what the main network is tested against
TESTED = [
    *((baseline, metric) for baseline in BASELINES for metric in ("ndcg_at_10", "desirability_ndcg_at_10")),
    *((baseline, "textual_ndcg_at_10") for baseline in ("text_only", *LEXICAL)),
    ("text_only", "visual_ndcg_at_10"),
    ("hybrid_image", "visual_ndcg_at_10"),
    ("hybrid_image_type", "visual_ndcg_at_10"),
    ("text_only", "sparse_text_ndcg_at_10"),
    ("text_only", "picture_missing_ndcg_at_10"),
    ("text_only", "text_degraded_ndcg_at_10"),
    ("image_only", "ndcg_at_10"),
    (f"{MAIN}_vectors", "ndcg_at_10"),
    # of a study: the same network trained without pictures, and its gate without BM25
    (f"{MAIN}_no_pictures", "ndcg_at_10"),
    (f"{MAIN}_no_pictures", "visual_ndcg_at_10"),
    (f"{MAIN}_no_lexical", "ndcg_at_10"),
    (f"{MAIN}_no_lexical", "textual_ndcg_at_10"),
]
# What a study asks of every seed: metric -> claim about the main network and text_only.
CLAIMS = {
    "ndcg_at_10": "moe_bilinear > text_only",
    "textual_ndcg_at_10": "moe_bilinear is not below text_only on textual queries",
}
ALL_SEEDS = "all_seeds"


@dataclass(frozen=True)
class QuerySet:
    """The split's queries with both label sets."""

    task: Task
    desirability: Qrels
    known: Flags  # queries whose text taught something: train queries', and validation's for the gate


@dataclass
class Table:
    """Per-query values of every variant and metric; NaN where a query does not count."""

    params: FusionEvaluationParams
    question: QuerySet
    values: dict[str, dict[str, Floats]] = field(default_factory=dict)
    seeds: list[str] = field(default_factory=list)  # whose rows end in their name, besides the blocks' own
    _rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, variant: str, items: Items, score: Scorer, few_words: Flags) -> None:
        """Metrics of a variant on all queries, on textual and visual ones, and among sparse products."""
        scores = score(items)
        own = self.values.setdefault(variant, {})
        ranking = top_k(scores, min(DEPTH, scores.shape[1]))
        measured = self._metrics(ranking)
        own |= measured
        kinds = np.array(self.question.task.kinds)
        for kind in sorted(set(kinds)) if len(set(kinds)) > 1 else []:
            for name in ("ndcg_at_1", "ndcg_at_10", "desirability_ndcg_at_10", "mrr"):
                own[f"{kind}_{name}"] = np.where(kinds == kind, own[name], np.nan)
        for group, chosen in (("known_text", self.question.known), ("new_text", ~self.question.known)):
            for name in ("ndcg_at_10", "mrr"):
                own[f"{group}_{name}"] = np.where(chosen, own[name], np.nan)
        own["sparse_text_ndcg_at_10"] = self._among(scores, few_words)
        self._keep(variant, items, ranking, measured)

    def add_condition(self, variant: str, name: str, items: Items, score: Scorer) -> None:
        """nDCG@10 on both label sets under a condition."""
        scores = score(items)
        found = self._metrics(top_k(scores, min(DEPTH, scores.shape[1])))
        for metric in ("ndcg_at_10", "desirability_ndcg_at_10"):
            self.values[variant][f"{name}_{metric}"] = found[metric]

    def _metrics(self, ranking: npt.NDArray[np.int64]) -> dict[str, Floats]:
        judged = judge(ranking, self.question.task.qrels)
        wanted = judge(ranking, self.question.desirability)
        level = self.params.relevant_grade
        return {
            "ndcg_at_1": ndcg_at(judged, 1),
            "ndcg_at_10": ndcg_at(judged, 10),
            "recall_at_100": recall_at(judged, DEPTH, level),
            "mrr": reciprocal_rank(judged, level),
            "desirability_ndcg_at_1": ndcg_at(wanted, 1),
            "desirability_ndcg_at_10": ndcg_at(wanted, 10),
        }

    def _among(self, scores: Scores, chosen: Flags) -> Floats:
        """nDCG@10 in a smaller shop that holds the chosen products alone; NaN where none is relevant."""
        qrels = self.question.task.qrels
        place = np.full(qrels.products + 1, -1)
        place[:-1][chosen] = np.arange(int(chosen.sum()))
        kept = place[qrels.product] >= 0
        few = Qrels.from_arrays(
            qrels.query[kept], place[qrels.product[kept]], qrels.grade[kept], qrels.queries, int(chosen.sum())
        )
        return ndcg_at(judge(top_k(scores[:, chosen], 10), few), 10)

    def _keep(
        self, variant: str, items: Items, ranking: npt.NDArray[np.int64], measured: dict[str, Floats]
    ) -> None:
        ids, task = items.product_ids, self.question.task
        for i, query_id in enumerate(task.query_ids):
            row: dict[str, Any] = {"variant": variant, "task": "queries", "query_id": query_id}
            row["kind"] = task.kinds[i]
            row |= {name: float(values[i]) for name, values in measured.items()}
            self._rows.append(row | {"text": task.texts[i], "top": [ids[p] for p in ranking[i, :10]]})

    def add_means(self) -> None:
        """``VARIANT_all_seeds`` of what every seed has: each query's mean; n stays the number of queries."""
        for variant in [name for name in self.values if self.seeds]:
            names = (variant, *(f"{variant}_{seed}" for seed in self.seeds))
            if all(name in self.values for name in names):
                rows = [self.values[name] for name in names]
                means = {metric: np.mean([row[metric] for row in rows], axis=0) for metric in rows[0]}
                self.values[f"{variant}_{ALL_SEEDS}"] = means

    def per_query(self) -> pa.Table:
        """One row per variant and query, in the layout of the other systems' files."""
        return pa.Table.from_pylist(self._rows)

    def metrics(self) -> dict[str, Any]:
        """variant -> metric -> {value, low, high, n}, and the paired tests under ``_tests``."""
        seed, samples = self.params.seed, self.params.bootstrap_samples
        out: dict[str, Any] = {
            variant: {
                name: bootstrap_interval(values, seed, samples).model_dump()
                for name, values in metrics.items()
                if not np.isnan(values).all()
            }
            for variant, metrics in self.values.items()
        }
        return out | {"_tests": self._tests()}

    def _tests(self) -> list[dict[str, Any]]:
        found = []
        for baseline, metric in TESTED:
            found += self._test(MAIN, baseline, metric, {})
        for seed in (*self.seeds, ALL_SEEDS) if self.seeds else ():
            for metric, claim in CLAIMS.items():
                more = {"claim": claim, "seed": "pooled" if seed == ALL_SEEDS else seed}
                found += self._test(f"{MAIN}_{seed}", f"text_only_{seed}", metric, more)
        return found

    def _test(self, ours: str, baseline: str, metric: str, more: dict[str, str]) -> list[dict[str, Any]]:
        """A paired bootstrap, if both rows have the metric; a study marks what belongs to a claim."""
        a, b = (self.values.get(name, {}).get(metric) for name in (ours, baseline))
        if a is None or b is None or np.isnan(a - b).all():
            return []
        if self.seeds and (ours, baseline) == (MAIN, "text_only") and metric in CLAIMS:
            more = {"claim": CLAIMS[metric], "seed": "own"}
        test = paired_bootstrap(a, b, self.params.seed, self.params.bootstrap_samples)
        return [{"metric": metric, "a": ours, "b": baseline, **test.model_dump(), **more}]

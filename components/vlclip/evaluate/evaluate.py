"""What each variant of VL-CLIP can do on held-out products, all asked the same questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.catalog.format.attributes import Value, of_pairs
from components.encoder.evaluate.attribute_values import ATTRIBUTES, attribute_answers
from components.encoder.evaluate.figures import (
    DEPTH,
    HeldOutFigures,
    VariantFigures,
    prefix_of,
    task_metrics,
    tested_figures,
)
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.held_out import HeldOut, Task
from components.retrieval.metrics import Qrels, judge
from components.retrieval.ranking import top_k
from components.retrieval.significance import bootstrap_ratio
from components.stage.record import Interval
from components.vlclip.model.params import VlclipEvaluationParams
from components.vlclip.model.variants import UNSEEN

BLOCK = 2048  # products ranked at once
SCENES = ("cluttered", "plain")
ALONE = "plain_alone"  # plain pictures as the only candidates: how they are read, whatever else is found
SLICED = ("hits_at_1", "hits_at_5", "hits_at_10", "mrr")  # nDCG would need the ideal without other scenes
TESTED = (
    *("hits_at_5", "mrr", "mrr_cluttered", "mrr_plain", "titles_mrr", "titles_mrr_cluttered"),
    *("pooled_mrr_cluttered", "pooled_mrr_plain", f"pooled_mrr_{ALONE}"),
    *("similar_precision", "attribute_accuracy"),
    *("unseen_types_mrr", "unseen_types_titles_mrr", "unseen_types_pooled_mrr_cluttered"),
)
ADOPTED = ("hits_at_5", "mrr", "titles_mrr", *(f"pooled_mrr_{scene}" for scene in SCENES))
SIMILAR = pa.schema([("variant", pa.string()), ("product_id", pa.string()), ("precision", pa.float64())])
RETRIEVAL = (
    *("hits_at_1", "hits_at_5", "hits_at_10", "mrr", "ndcg_at_1", "ndcg_at_10", "recall_at_100"),
    *(f"mrr_{scene}" for scene in SCENES),
)
PER_QUERY = pa.schema(
    [
        *((name, pa.string()) for name in ("variant", "task", "query_id", "kind")),
        *((name, pa.float64()) for name in RETRIEVAL),
        *(("text", pa.string()), ("top", pa.list_(pa.string()))),
    ]
)
# What has to be shown in every seed and over all of them.
CLAIMS = {
    "pooled_mrr_cluttered": "full > raw on cluttered pictures",
    "pooled_mrr_plain": "full is not below raw on plain pictures",
    "mrr": "full > raw over all queries",
}
ALL_SEEDS = "_all_seeds"
WAY = "share_of_true_box_cluttered"  # of the way from raw to true_box in pooled_mrr_cluttered that full goes


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


@dataclass(frozen=True)
class SimilarItems:
    """What counts as similar on one split.

    Two products are similar if they have the same product type and agree in each of ``attributes`` that is
    known of the asking product (by truth where there is truth, else by the seller's record). Products of the
    same group are neither asked for nor counted: finding a variant of the same thing is no recommendation.
    """

    kinds: npt.NDArray[np.int64]  # [N], equal where products are similar
    groups: npt.NDArray[np.int64]  # [N]
    relevant: npt.NDArray[np.int64]  # [N], how many products could be found

    @property
    def asked(self) -> npt.NDArray[np.int64]:
        """Products that have a similar one at all."""
        return np.flatnonzero(self.relevant > 0)


def _numbers(values: Sequence[object]) -> npt.NDArray[np.int64]:
    places: dict[object, int] = {}
    return np.array([places.setdefault(v, len(places)) for v in values], dtype=np.int64)


def likeness(held_out: HeldOut, attributes: Sequence[str]) -> SimilarItems:
    """Which products of the split are similar."""
    kinds: list[tuple[Value, ...]] = []
    for row in held_out.rows:
        source = held_out.truth.get(row["product_id"], {}).get("attributes") or row["attributes"]
        values = of_pairs(source)
        kinds.append((row["product_type"], *(values.get(name, "") for name in attributes)))
    numbers, groups = _numbers(kinds), _numbers([r["group_id"] for r in held_out.rows])
    same_kind = np.bincount(numbers)[numbers]
    both = _numbers(list(zip(numbers.tolist(), groups.tolist(), strict=True)))
    return SimilarItems(numbers, groups, same_kind - np.bincount(both)[both])


def precision_at(vectors: npt.NDArray[np.float32], like: SimilarItems, k: int) -> npt.NDArray[np.float64]:
    """For each asked product, the share of similar ones among its ``k`` nearest of other groups.

    The share is of ``min(k, how many similar ones there are)``, so that 1 can always be reached.
    """
    asked, found = like.asked, []
    for start in range(0, len(asked), BLOCK):
        part = asked[start : start + BLOCK]
        scores = vectors[part] @ vectors.T
        scores[like.groups[part][:, None] == like.groups[None, :]] = -2.0
        nearest = top_k(scores, k)
        # Where other groups run out, members of the own group follow at -2: never hits.
        hits = (like.kinds[nearest] == like.kinds[part][:, None]) & (
            like.groups[nearest] != like.groups[part][:, None]
        )
        found.append(hits.sum(axis=1) / np.minimum(k, like.relevant[part]))
    return np.concatenate(found) if found else np.zeros(0)


def chance(like: SimilarItems, k: int) -> npt.NDArray[np.float64]:
    """Expected value of :func:`precision_at` for a random order, per asked product."""
    sizes = np.bincount(like.groups)[like.groups]
    others = (len(like.kinds) - sizes)[like.asked]
    relevant = like.relevant[like.asked]
    return np.minimum(k, others) * (relevant / np.maximum(others, 1)) / np.minimum(k, relevant)


def seeds_of(variant: str, rows: Sequence[str]) -> dict[str, str]:
    """Seed to row of a variant's trainings; the block's own seed is ``own``."""
    named = {v.removeprefix(f"{variant}_"): v for v in rows if v.startswith(f"{variant}_")}
    seeds = {seed: row for seed, row in named.items() if seed.isdecimal()}
    return ({"own": variant} if variant in rows else {}) | seeds


def compared(rows: Sequence[str]) -> list[tuple[str, str]]:
    """Which rows are held against which: full against each, halves against raw, full and raw by seed."""
    fulls, raws = seeds_of("full", rows), seeds_of("raw", rows)
    by_seed = [(fulls[seed], raws[seed]) for seed in fulls if seed in raws]
    others = {*fulls.values(), *raws.values(), "chance", *(f"{v}{ALL_SEEDS}" for v in ("full", "raw"))}
    single = [row for row in rows if row not in others]
    pairs = by_seed[:1] + [("full", row) for row in single] + [("raw", "untrained")] + by_seed[1:]
    pairs += [(row, "raw") for row in single if row != "untrained"]
    pairs.append((f"full_{UNSEEN}", f"raw_{UNSEEN}"))
    return [*pairs, (f"full{ALL_SEEDS}", f"raw{ALL_SEEDS}")]


def claimed(test: dict[str, Any], rows: Sequence[str]) -> dict[str, Any]:
    """A paired test, marked with the claim it belongs to and with its seed (``pooled`` for all of them)."""
    fulls, raws = seeds_of("full", rows), seeds_of("raw", rows)
    pairs = {(fulls[seed], raws[seed]): seed for seed in fulls if seed in raws}
    pairs[f"full{ALL_SEEDS}", f"raw{ALL_SEEDS}"] = "pooled"
    seed = pairs.get((test["a"], test["b"]))
    if seed is None or test["metric"] not in CLAIMS or f"full{ALL_SEEDS}" not in rows:
        return test
    return test | {"claim": CLAIMS[test["metric"]], "seed": seed}


class VlclipEvaluation(HeldOutFigures):
    """VL-CLIP's table: every figure by scene too, and similar items."""

    def __init__(self, held_out: HeldOut, params: VlclipEvaluationParams) -> None:
        super().__init__(held_out, params)
        self._similar_k, self._per_item = params.similar_k, list[dict[str, Any]]()
        scenes = [held_out.truth.get(i, {}).get("scene", "unknown") for i in held_out.product_ids]
        self._slices = {
            task.name: [
                *(scene_slice(task, scenes, s, params.relevant_grade) for s in SCENES),
                scene_slice(task, scenes, "plain", params.relevant_grade, alone=True),
            ]
            for task in held_out.tasks
        }
        self._like = likeness(held_out, params.similar_attributes)

    def add(self, variant: str, encoder: BatchEncoder, images: npt.NDArray[np.float32]) -> None:
        """Every figure of one variant; ``images [products, D]`` are its vectors of its own pictures."""
        for task in self.held_out.tasks:
            scores = encoder.texts(task.texts) @ images.T
            _, rows = self.add_task(variant, task, scores)
            for part in self._slices[task.name]:
                for i, value in self._add_slice(variant, task, part, scores).items():
                    rows[i][f"mrr_{part.scene}"] = value
        for scene in (*SCENES, ALONE):
            self._add_pooled(variant, scene)
        precision = precision_at(images, self._like, self._similar_k)
        self._add_similar(variant, precision)
        ids = self.held_out.product_ids
        for at, value in zip(self._like.asked, precision.tolist(), strict=True):
            self._per_item.append({"variant": variant, "product_id": ids[at], "precision": value})
        prompt = self.params.attribute_prompt
        self.add_answers(variant, attribute_answers(encoder, images, self.held_out, prompt))

    def _add_slice(
        self, variant: str, task: Task, part: SceneSlice, scores: npt.NDArray[np.float32]
    ) -> dict[int, float]:
        """Metrics of one scene; the reciprocal rank by the query's position in its task."""
        if not len(part.queries):
            return {}
        ranking = top_k(part.scores(scores), min(DEPTH, scores.shape[1]))
        metrics = task_metrics(judge(ranking, part.qrels), self.params.relevant_grade)
        clusters = [task.clusters[q] for q in part.queries] if task.clusters is not None else None
        for name in SLICED:
            self.of(variant).add(f"{prefix_of(task)}{name}_{part.scene}", metrics[name], clusters)
        return dict(zip(part.queries.tolist(), metrics["mrr"].tolist(), strict=True))

    def _add_pooled(self, variant: str, scene: str) -> None:
        """MRR of one scene over queries and titles together; a title's unit is its product's group."""
        measured = self.of(variant)
        values: list[npt.NDArray[np.float64]] = []
        clusters: list[object] = []
        for prefix in ("", "titles_"):
            name = f"{prefix}mrr_{scene}"
            part = measured.values.get(name, np.zeros(0))
            values.append(part)
            clusters += [(prefix, c) for c in measured.clusters.get(name) or range(len(part))]
        measured.add(f"pooled_mrr_{scene}", np.concatenate(values), clusters)

    def _add_similar(self, variant: str, values: npt.NDArray[np.float64]) -> None:
        groups = self._like.groups[self._like.asked].tolist()
        self.of(variant).add("similar_precision", values, groups)

    def add_chance(self) -> None:
        """What a random order of similar items would score."""
        self._add_similar("chance", chance(self._like, self._similar_k))

    def add_seeds(self) -> None:
        """Rows ``full_all_seeds`` and ``raw_all_seeds``: each question's mean over a variant's seeds."""
        for variant in ("full", "raw"):
            rows = [self.measured[row] for row in seeds_of(variant, list(self.measured)).values()]
            for name in rows[0].values if len(rows) > 1 else ():
                mean = np.mean([row.values[name] for row in rows], axis=0)
                self.of(f"{variant}{ALL_SEEDS}").add(name, mean, rows[0].clusters[name])

    def adopt(self, other: VlclipEvaluation, prefix: str) -> None:
        """Keep the retrieval figures of an evaluation on a part of the split, under names with ``prefix``."""
        for variant, measured in other.measured.items():
            for name in (n for n in ADOPTED if n in measured.values):
                self.of(variant).add(f"{prefix}{name}", measured.values[name], measured.clusters[name])

    def metrics(self) -> dict[str, Any]:
        """variant -> metric -> {value, low, high, n}, and the paired tests under ``_tests``."""
        rows = list(self.measured)
        table = tested_figures(self.measured, compared(rows), TESTED, self.params)
        table["_tests"] = [claimed(test, rows) for test in table["_tests"]]
        if (share := self._share_of_the_way()) is not None:
            table["full"][WAY] = share.model_dump()
        return table

    def _share_of_the_way(self) -> Interval | None:
        """How far ``full`` goes from ``raw`` to ``true_box``; None where one of them was not measured."""
        metric = "pooled_mrr_cluttered"
        ladder = [self.measured.get(row, VariantFigures()) for row in ("raw", "full", "true_box")]
        if any(metric not in row.values for row in ladder):
            return None
        raw, full, ceiling = (row.values[metric] for row in ladder)
        clusters, params = ladder[0].clusters[metric], self.params
        return bootstrap_ratio(full - raw, ceiling - raw, params.seed, params.bootstrap_samples, clusters)

    def tables(self) -> Mapping[str, pa.Table]:
        """Per-query, per-attribute and per-item results, by file name."""
        return {
            "vlclip.parquet": pa.Table.from_pylist(self.per_query, schema=PER_QUERY),
            "attributes.parquet": pa.Table.from_pylist(self.per_attribute, schema=ATTRIBUTES),
            "similar.parquet": pa.Table.from_pylist(self._per_item, schema=SIMILAR),
        }

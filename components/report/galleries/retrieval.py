"""Searches shown as examples: a query, the first products found, hits marked, failures first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from components.catalog.format.records import Product
from components.report.catalogue import CheckedCatalogue, drawn, read_grades
from components.report.errors import ReportInputError
from components.report.figures.figures import metric_label, number
from components.report.galleries.per_query import read_results
from components.report.params import RetrievalGalleryParams, SearchGalleryOf

GRADES = {3: "exact", 2: "close", 1: "related"}
KEYS = ("variant", "task", "query_id", "kind", "top")


@dataclass(frozen=True)
class Found:
    """One product of the ranking; ``mark`` says in words how it answers the query."""

    rank: int
    product_id: str
    hit: bool
    mark: str


@dataclass(frozen=True)
class Search:
    """One query and what was found for it."""

    query_id: str
    text: str | None  # None: the query is the product `query_id` itself, its title is shown
    success: bool
    scores: str
    found: tuple[Found, ...]
    sought: str | None  # a product that should have been found, when no hit is among the first

    @property
    def hits(self) -> int:
        """Marked products among those shown."""
        return sum(found.hit for found in self.found)

    def products(self) -> set[str]:
        """Every product that is shown."""
        others = {self.query_id} if self.text is None else set()
        return others | {found.product_id for found in self.found} | ({self.sought} if self.sought else set())


@dataclass(frozen=True)
class SearchGroup:
    """Searches of one task and kind of query, failures first."""

    task: str
    kind: str
    total: int
    failed: int
    searches: tuple[Search, ...]


@dataclass(frozen=True)
class RetrievalGallery:
    """What is shown of one system's searches."""

    system: str
    variant: str
    success: SearchGalleryOf
    groups: tuple[SearchGroup, ...]
    disagreeing: int  # searches whose marks and metric disagree

    def products(self) -> set[str]:
        """Every product that is shown."""
        return {p for group in self.groups for search in group.searches for p in search.products()}


class Searches(NamedTuple):
    """Per-query results of one variant of a system, ordered by task, kind and query."""

    system: str
    variant: str
    rows: list[dict[str, Any]]


def read_searches(path: Path, variant: str, metric: str) -> Searches:
    """The rows of ``variant`` in ``SYSTEM.parquet`` that hold a ranking and a value of ``metric``.

    Raises:
        ReportInputError: the file or a column is missing, or no row of the variant holds a ranking.
    """
    rows = [
        row
        for row in read_results(path, [*KEYS, metric])
        if row["variant"] == variant and row["top"] and _defined(row[metric])
    ]
    if not rows:
        raise ReportInputError(
            f"{path} has no row of variant '{variant}' with a ranking and {metric}; run the evaluation again."
        )
    ordered = sorted(rows, key=lambda row: (row["task"] or "", row["kind"] or "", row["query_id"]))
    return Searches(path.stem, variant, ordered)


def _defined(value: object) -> bool:
    return isinstance(value, float) and not math.isnan(value)


def retrieval_gallery(
    found: Searches, params: RetrievalGalleryParams, seed: int, checked: CheckedCatalogue
) -> RetrievalGallery:
    """Draw searches per task and kind, and mark their hits by the catalogue's judgements.

    Raises:
        ReportInputError: a ranking names a query or product that the checked catalogue does not hold.
    """
    success = params.systems[found.system]
    grouped: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in found.rows:
        grouped.setdefault((row["task"] or "", row["kind"] or ""), {})[row["query_id"]] = row
    groups = []
    for (task, kind), group in grouped.items():
        failed = [each for each, row in group.items() if not _succeeded(row, success)]
        passed = [each for each, row in group.items() if _succeeded(row, success)]
        ids = drawn(failed, params.failures, seed) + drawn(passed, params.successes, seed)
        grades = read_grades(checked.reader, ids)
        searches = tuple(_search(group[each], params, success, checked, grades[each]) for each in ids)
        groups.append(SearchGroup(task, kind, len(group), len(failed), searches))
    shown = [search for group_ in groups for search in group_.searches]
    disagreeing = sum((search.hits > 0) != search.success for search in shown)
    return RetrievalGallery(found.system, found.variant, success, tuple(groups), disagreeing)


def failure_in_words(success: SearchGalleryOf) -> str:
    """When a search counts as failed: in plain words where the limit is a rank, else as a limit."""
    metric, limit = success.metric, success.success_from
    first = int(metric.rpartition("_")[2]) if metric.startswith("hits_at_") and limit == 1 else 0
    if metric == "mrr" and (1 / limit).is_integer():
        first = round(1 / limit)
    if first:
        return f"A search fails when none of the first {first} products is relevant."
    return f"A search fails when its {metric_label(metric)} is below {limit:g}."


def _succeeded(row: dict[str, Any], success: SearchGalleryOf) -> bool:
    return bool(row[success.metric] >= success.success_from)


def _search(
    row: dict[str, Any],
    params: RetrievalGalleryParams,
    success: SearchGalleryOf,
    checked: CheckedCatalogue,
    grades: dict[str, int],
) -> Search:
    query_id, top = row["query_id"], row["top"][: params.top]
    query = checked.queries.get(query_id)
    unknown = [each for each in top if each not in checked.types]
    if unknown or (query is None and query_id not in checked.types):
        what = f"product '{unknown[0]}'" if unknown else f"query '{query_id}'"
        raise ReportInputError(
            f"The per-query results name {what}, which data/checked lacks; run the evaluation again."
        )
    if query is None:
        found = [_same(rank, each, query_id, checked) for rank, each in enumerate(top, start=1)]
        best: str | None = query_id
    else:
        found = [_graded(rank, each, grades, params.relevant_from) for rank, each in enumerate(top, start=1)]
        best = min(grades, key=lambda each: (-grades[each], each), default=None)
    if best not in checked.types:  # a judgement of a product that the gate has put into quarantine
        best = None
    values = {name: row[name] for name in [success.metric, *params.scores] if _defined(row.get(name))}
    return Search(
        query_id=query_id,
        text=None if query is None else query.text,
        success=_succeeded(row, success),
        scores=" · ".join(f"{metric_label(name)} {number(value, 2)}" for name, value in values.items()),
        found=tuple(found),
        sought=None if any(each.hit for each in found) else best,
    )


def _graded(rank: int, product_id: str, grades: dict[str, int], relevant_from: int) -> Found:
    grade = grades.get(product_id, 0)
    return Found(rank, product_id, grade >= relevant_from, GRADES.get(grade, ""))


def _same(rank: int, product_id: str, query_id: str, checked: CheckedCatalogue) -> Found:
    if product_id == query_id:
        return Found(rank, product_id, True, "this product")
    for what, held in (("group", checked.groups), ("title", checked.titles)):
        if held[query_id] and held[product_id] == held[query_id]:
            return Found(rank, product_id, True, f"same {what}")
    return Found(rank, product_id, False, "")


def query_text(search: Search, listed: dict[str, Product]) -> str:
    """What was searched for: the query's text, or the title of the product that stands for the query."""
    if search.text is not None:
        return search.text
    listing = listed[search.query_id]
    return listing.title or f"(no title; {listing.product_type})"

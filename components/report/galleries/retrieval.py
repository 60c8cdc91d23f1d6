"""Searches shown as examples: what a system and its baseline found for a query, lost ones first."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from components.catalog.format.records import Product
from components.report.catalogue import CheckedCatalogue, drawn, read_grades
from components.report.errors import ReportInputError
from components.report.figures.figures import metric_label, number
from components.report.galleries.per_query import read_results
from components.report.params import RetrievalGalleryParams, SearchGalleryOf

GRADES = {3: "exact", 2: "close", 1: "related"}
KEYS = ("variant", "task", "query_id", "kind", "top")
Outcome = Literal["lost", "neither", "won", "both", "failed", "found"]  # the last two: without a baseline
Rows = dict[str, dict[str, Any]]  # query_id -> its row


@dataclass(frozen=True)
class RankedHit:
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
    outcome: Outcome
    scores: str
    found: tuple[RankedHit, ...]
    other: tuple[RankedHit, ...]  # what the baseline found; empty without one
    sought: str | None  # a product that should have been found, when no hit is among those shown

    @property
    def success(self) -> bool:
        """Whether the system found what was searched for."""
        return self.outcome in ("won", "both", "found")

    @property
    def hits(self) -> int:
        """Marked products among those that the system found and that are shown."""
        return sum(found.hit for found in self.found)

    def products(self) -> set[str]:
        """Every product that is shown."""
        others = {self.query_id} if self.text is None else set()
        shown = {found.product_id for found in (*self.found, *self.other)}
        return others | shown | ({self.sought} if self.sought else set())


FAILURES: tuple[Outcome, ...] = ("lost", "neither", "failed")


@dataclass(frozen=True)
class SearchGroup:
    """Searches of one task and kind of query, failures first, and how many there are of each outcome."""

    task: str
    kind: str
    total: int
    counts: dict[Outcome, int]
    searches: tuple[Search, ...]

    @property
    def failed(self) -> int:
        """Searches in which the system did not find what was searched for."""
        return sum(self.counts.get(name, 0) for name in FAILURES)


@dataclass(frozen=True)
class RetrievalGallery:
    """What is shown of one system's searches."""

    system: str
    variant: str
    baseline: str | None
    success: SearchGalleryOf
    groups: tuple[SearchGroup, ...]
    disagreeing: int  # searches whose marks and metric disagree

    def products(self) -> set[str]:
        """Every product that is shown."""
        return {p for group in self.groups for search in group.searches for p in search.products()}


class Searches(NamedTuple):
    """Per-query results of one variant of a system, ordered by task, kind and query, and of its baseline."""

    system: str
    variant: str
    rows: list[dict[str, Any]]
    baseline: str | None = None
    others: Sequence[dict[str, Any]] = ()


def read_searches(path: Path, variant: str, metric: str, baseline: str | None = None) -> Searches:
    """The rows of ``variant`` in ``SYSTEM.parquet`` that hold a ranking and a value of ``metric``.

    Without rows of ``baseline`` there is none.

    Raises:
        ReportInputError: the file or a column is missing, or no row of the variant holds a ranking.
    """
    held = [
        row
        for row in read_results(path, [*KEYS, metric])
        if row["variant"] in (variant, baseline) and row["top"] and _defined(row[metric])
    ]
    rows = [row for row in held if row["variant"] == variant]
    if not rows:
        raise ReportInputError(
            f"{path} has no row of variant '{variant}' with a ranking and {metric}; run the evaluation again."
        )
    ordered = sorted(rows, key=lambda row: (row["task"] or "", row["kind"] or "", row["query_id"]))
    others = [row for row in held if row["variant"] == baseline]
    return Searches(path.stem, variant, ordered, baseline if others else None, others)


def _defined(value: object) -> bool:
    return isinstance(value, float) and not math.isnan(value)


def retrieval_gallery(
    found: Searches, params: RetrievalGalleryParams, seed: int, checked: CheckedCatalogue
) -> RetrievalGallery:
    """Draw searches per task and kind, and mark their hits by the catalogue's judgements.

    Of the failures half are searches that the baseline did better, of the successes half those that it
    did not find; where there are too few of these, more of the others.

    Raises:
        ReportInputError: a ranking names a query or product that the checked catalogue does not hold.
    """
    success = params.systems[found.system]
    grouped, others = _by_kind(found.rows), _by_kind(found.others)
    groups = []
    for (task, kind), group in grouped.items():
        other = others.get((task, kind), {})
        outcomes = {each: _outcome(row, other.get(each), success) for each, row in group.items()}
        ids = _shown(outcomes, params, seed)
        grades = read_grades(checked.reader, ids)
        searches = tuple(
            _search(group[each], other.get(each), outcomes[each], params, (success, checked, grades[each]))
            for each in ids
        )
        groups.append(SearchGroup(task, kind, len(group), Counter(outcomes.values()), searches))
    shown = [search for group_ in groups for search in group_.searches]
    disagreeing = sum((search.hits > 0) != search.success for search in shown)
    return RetrievalGallery(found.system, found.variant, found.baseline, success, tuple(groups), disagreeing)


def _by_kind(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str], Rows]:
    grouped: dict[tuple[str, str], Rows] = {}
    for row in rows:
        grouped.setdefault((row["task"] or "", row["kind"] or ""), {})[row["query_id"]] = row
    return grouped


def _outcome(row: dict[str, Any], other: dict[str, Any] | None, success: SearchGalleryOf) -> Outcome:
    ours = _succeeded(row, success)
    if other is None:
        return "found" if ours else "failed"
    theirs = _succeeded(other, success)
    return ("both" if theirs else "won") if ours else ("lost" if theirs else "neither")


def _shown(outcomes: dict[str, Outcome], params: RetrievalGalleryParams, seed: int) -> list[str]:
    """Query ids: lost, found by neither, won, found by both."""

    def _of(*wanted: Outcome) -> list[str]:
        return [each for each, outcome in outcomes.items() if outcome in wanted]

    ids: list[str] = []
    for first, rest, most in (
        (_of("lost", "failed"), _of("neither"), params.failures),
        (_of("won", "found"), _of("both"), params.successes),
    ):
        head = drawn(first, max(most - most // 2, most - len(rest)), seed)
        ids += head + drawn(rest, most - len(head), seed)
    return ids


def outcomes_in_words(group: SearchGroup) -> str:
    """How the searches of a group ended, in numbers: ``1,000 searches: 12 lost to the baseline, …``."""
    said: dict[Outcome, str] = {
        "lost": "lost to the baseline",
        "won": "won against it",
        "neither": "found by neither",
        "both": "found by both",
        "failed": "failed",
        "found": "found",
    }
    counts = [f"{group.counts[name]:,} {words}" for name, words in said.items() if group.counts.get(name)]
    return f"{group.total:,} searches: {', '.join(counts)}"


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
    other: dict[str, Any] | None,
    outcome: Outcome,
    params: RetrievalGalleryParams,
    known: tuple[SearchGalleryOf, CheckedCatalogue, dict[str, int]],
) -> Search:
    success, checked, grades = known
    query_id = row["query_id"]
    query = checked.queries.get(query_id)
    found, others = (
        _marked(query_id, each["top"][: params.top] if each else [], grades, params, checked)
        for each in (row, other)
    )
    best = query_id if query is None else min(grades, key=lambda each: (-grades[each], each), default=None)
    if best not in checked.types:  # a judgement of a product that the gate has put into quarantine
        best = None
    values = {name: row[name] for name in [success.metric, *params.scores] if _defined(row.get(name))}
    return Search(
        query_id=query_id,
        text=None if query is None else query.text,
        outcome=outcome,
        scores=" · ".join(f"{metric_label(name)} {number(value, 2)}" for name, value in values.items()),
        found=found,
        other=others,
        sought=None if any(each.hit for each in (*found, *others)) else best,
    )


def _marked(
    query_id: str,
    top: list[str],
    grades: dict[str, int],
    params: RetrievalGalleryParams,
    checked: CheckedCatalogue,
) -> tuple[RankedHit, ...]:
    """The first products of one ranking, each with how it answers the query."""
    unknown = [each for each in top if each not in checked.types]
    if unknown or (query_id not in checked.queries and query_id not in checked.types):
        what = f"product '{unknown[0]}'" if unknown else f"query '{query_id}'"
        raise ReportInputError(
            f"The per-query results name {what}, which data/checked lacks; run the evaluation again."
        )
    if query_id in checked.queries:
        return tuple(_graded(rank, each, grades, params.relevant_from) for rank, each in enumerate(top, 1))
    return tuple(_same(rank, each, query_id, checked) for rank, each in enumerate(top, 1))


def _graded(rank: int, product_id: str, grades: dict[str, int], relevant_from: int) -> RankedHit:
    grade = grades.get(product_id, 0)
    return RankedHit(rank, product_id, grade >= relevant_from, GRADES.get(grade, ""))


def _same(rank: int, product_id: str, query_id: str, checked: CheckedCatalogue) -> RankedHit:
    if product_id == query_id:
        return RankedHit(rank, product_id, True, "this product")
    for what, held in (("group", checked.groups), ("title", checked.titles)):
        if held[query_id] and held[product_id] == held[query_id]:
            return RankedHit(rank, product_id, True, f"same {what}")
    return RankedHit(rank, product_id, False, "")


def query_text(search: Search, listed: dict[str, Product]) -> str:
    """What was searched for: the query's text, or the title of the product that stands for the query."""
    if search.text is not None:
        return search.text
    listing = listed[search.query_id]
    return listing.title or f"(no title; {listing.product_type})"

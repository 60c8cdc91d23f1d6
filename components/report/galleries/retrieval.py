"""Searches shown as examples: what a system and its baseline found for a query, lost ones first."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from components.catalog.format.records import Product
from components.report.catalogue import CheckedCatalogue, drawn, read_grades, read_results
from components.report.errors import ReportInputError
from components.report.figures.figures import metric_label, number
from components.report.params import ReportParams, RetrievalGalleryParams, SearchGalleryOf

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


@dataclass(frozen=True)
class SearchGroup:
    """Searches of one task and kind of query, failures first, and how many there are of each outcome."""

    task: str
    kind: str
    total: int
    counts: dict[Outcome, int]
    searches: tuple[Search, ...]


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


def _defined(value: object) -> bool:
    return isinstance(value, float) and not math.isnan(value)


def retrieval_gallery(
    path: Path, baseline: str | None, params: ReportParams, checked: CheckedCatalogue
) -> RetrievalGallery:
    """Draw searches of ``SYSTEM.parquet`` per task and kind; mark their hits by the catalogue's judgements.

    Of the failures half are searches that the baseline did better, of the successes half those that it
    did not find; where there are too few of these, more of the others. Without rows of ``baseline`` there is
    none.

    Raises:
        ReportInputError: the file or a column is missing, no row of the system's main variant holds a ranking
            and its metric, or a ranking names a query or product that the checked catalogue does not hold.
    """
    system, wanted = path.stem, params.retrieval
    variant, success = params.systems[system], wanted.systems[system]
    rows = read_results(path, [*KEYS, success.metric])
    held = [row for row in rows if row["top"] and _defined(row[success.metric])]
    grouped, others = _by_kind(held, variant), _by_kind(held, baseline)
    if not grouped:
        raise ReportInputError(
            f"{path} has no row of variant '{variant}' with a ranking and {success.metric}; "
            "run the evaluation again."
        )
    groups = []
    for (task, kind), group in sorted(grouped.items()):
        other = others.get((task, kind), {})
        outcomes = {each: _outcome(row, other.get(each), success) for each, row in group.items()}
        ids = _shown(outcomes, wanted, params.seed)
        grades = read_grades(checked.reader, ids)
        searches = tuple(
            _search(group[each], other.get(each), outcomes[each], wanted, (success, checked, grades[each]))
            for each in ids
        )
        groups.append(SearchGroup(task, kind, len(group), Counter(outcomes.values()), searches))
    shown = [search for group_ in groups for search in group_.searches]
    disagreeing = sum((search.hits > 0) != search.success for search in shown)
    return RetrievalGallery(
        system, variant, baseline if others else None, success, tuple(groups), disagreeing
    )


def _by_kind(rows: list[dict[str, Any]], variant: str | None) -> dict[tuple[str, str], Rows]:
    """Task and kind of query -> the rows of ``variant``."""
    grouped: dict[tuple[str, str], Rows] = {}
    for row in rows:
        if row["variant"] == variant:
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
    hits = []
    for rank, each in enumerate(top, 1):
        if query_id in checked.queries:
            grade = grades.get(each, 0)
            hit, mark = grade >= params.relevant_from, GRADES.get(grade, "")
        else:
            mark = _sameness(each, query_id, checked)
            hit = bool(mark)
        hits.append(RankedHit(rank, each, hit, mark))
    return tuple(hits)


def _sameness(product_id: str, query_id: str, checked: CheckedCatalogue) -> str:
    """How a product answers one that was searched for: the same, or of its group or title; "" for neither."""
    if product_id == query_id:
        return "this product"
    for what, held in (("group", checked.groups), ("title", checked.titles)):
        if held[query_id] and held[product_id] == held[query_id]:
            return f"same {what}"
    return ""


def query_text(search: Search, listed: dict[str, Product]) -> str:
    """What was searched for: the query's text, or the title of the product that stands for the query."""
    if search.text is not None:
        return search.text
    listing = listed[search.query_id]
    return listing.title or f"(no title; {listing.product_type})"

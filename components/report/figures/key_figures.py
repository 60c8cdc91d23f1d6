"""The figures that stand first for a system, each beside a baseline; and its slices, the worst first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from components.report.figures.claims import JudgedClaim
from components.report.figures.figures import Figures, PairedTest, Verdict, paired, verdict
from components.stage.record import Interval, lower_is_better

MOST = 3  # figures that a reader keeps in mind
FEW = 10  # an interval over fewer cases than this marks no part: that of a single case has no width at all
# These words in a longer name make another measure of it, and no part of its cases.
OTHER_MEASURES = frozenset({"above", "constrained", "desirability", "mean"})


@dataclass(frozen=True)
class Compared:
    """One figure of ``ours`` beside that of ``baseline``, with the paired test between them, if any.

    ``verdict`` is of ``ours``; ``below`` says whether its whole interval is worse than ``whole``, the figure
    over all cases; of fewer than ten cases it never is.
    """

    system: str
    metric: str
    ours: str
    cell: Interval
    baseline: str | None = None
    baseline_cell: Interval | None = None
    test: PairedTest | None = None
    verdict: Verdict | None = None
    below: bool = False


def key_figures(
    wanted: Iterable[str],
    all_figures: Mapping[str, Figures],
    subjects: Mapping[str, str],
    claims: Iterable[JudgedClaim],
) -> list[Compared]:
    """The first three of ``wanted`` (``system.metric``) that this run measured.

    Each stands beside what a claim about it names, else beside the best of what the main variant
    (``subjects``) was tested against.
    """
    found: list[Compared] = []
    claims = list(claims)
    for name in wanted:
        system, metric = name.split(".", 1)
        if system not in all_figures:
            continue
        ours, baseline = _sides(all_figures[system], metric, subjects[system], claims)
        if metric in all_figures[system].variants.get(ours, {}):
            found.append(compared(all_figures[system], metric, ours, baseline))
    return found[:MOST]


def first_baseline(system: str, subject: str, claims: Iterable[JudgedClaim]) -> str | None:
    """What the first claim about a system's main variant compares it with."""
    named = (row.claim for row in claims if row.claim.system == system and row.claim.ours == subject)
    return next((claim.baseline for claim in named), None)


def _sides(figures: Figures, metric: str, subject: str, claims: list[JudgedClaim]) -> tuple[str, str | None]:
    for row in claims:
        if (row.claim.system, row.claim.metric) == (figures.system, metric):
            return row.claim.ours, row.claim.baseline
    return subject, best_baseline(figures, metric, subject)


def best_baseline(figures: Figures, metric: str, ours: str) -> str | None:
    """The best on ``metric`` of those that ``ours`` was tested against."""
    sides = [{test.a, test.b} for test in figures.tests if test.metric == metric]
    others = [name for names in sides if ours in names for name in names - {ours}]
    known = {
        name: figures.variants[name][metric].value for name in others if metric in figures.variants[name]
    }
    return (min if lower_is_better(metric) else max)(known, key=lambda name: known[name], default=None)


def compared(figures: Figures, metric: str, ours: str, baseline: str | None) -> Compared:
    """A figure that ``ours`` has, beside the one of ``baseline`` if it has one."""
    cell = figures.variants[ours][metric]
    other = figures.variants.get(baseline or "", {}).get(metric)
    if baseline is None or other is None:
        return Compared(figures.system, metric, ours, cell)
    test = paired(figures, metric, ours, baseline)
    said = verdict(figures, ours, baseline, metric)
    return Compared(figures.system, metric, ours, cell, baseline, other, test, said)


def slices(figures: Figures, metric: str, ours: str, baseline: str | None) -> list[Compared]:
    """``metric`` of ``ours`` over parts of the test cases, the worst part first.

    Parts are measures whose names add words to that of ``metric``: ``visual_ndcg_at_10``, ``mrr_cluttered``.
    """
    row = figures.variants.get(ours, {})
    whole = row.get(metric)
    found = []
    for name, cell in row.items():
        if whole is None or not part(name, metric):
            continue
        if (cell.value, cell.n) == (whole.value, whole.n):  # a part of all cases tells nothing
            continue
        below = _worse(cell, whole, lower_is_better(metric))
        found.append(replace(compared(figures, name, ours, baseline), below=below))
    sign = 1 if lower_is_better(metric) else -1
    return sorted(found, key=lambda each: (-sign * each.cell.value, each.metric))


def part(name: str, metric: str) -> str:
    """What ``name`` adds to ``metric``; empty where it is no part of it."""
    added = ""
    if name.startswith(f"{metric}_"):
        added = name[len(metric) + 1 :]
    elif name.endswith(f"_{metric}"):
        added = name[: -len(metric) - 1]
    return "" if OTHER_MEASURES & set(added.split("_")) else added


def part_in_words(name: str, metric: str) -> str:
    """A part of ``metric`` as a row is headed: ``attribute_f1_category_toys`` → Category: toys."""
    words = part(name, metric).replace("_", " ").replace(".", ": ").strip().capitalize()
    return re.sub(r"^(Category|Noise) ", r"\1: ", words)


def _worse(cell: Interval, whole: Interval, less_is_better: bool) -> bool:
    if cell.low is None or cell.high is None or cell.n < FEW:
        return False
    return cell.low > whole.value if less_is_better else cell.high < whole.value

"""What each system's page shows of its figures: tables, tests, slices, readings and training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.report.errors import ReportParamsError
from components.report.figures import curves as chart
from components.report.figures import figures as fig
from components.report.figures.claims import JudgedClaim
from components.report.figures.key_figures import Compared, best_baseline, first_baseline, slices
from components.report.params import ReportParams
from components.report.text import glossary
from components.report.text.groups import SystemGroup, groups_of
from components.report.text.reading import honest_reading
from components.report.text.takeaway import Takeaway, takeaway
from components.stage.paths import Paths
from components.stage.record import Interval

HOME = "vlclip"  # whose page shows boxes that no reported system found


@dataclass(frozen=True)
class Result:
    """One system's table, tests and reading."""

    figures: fig.Figures
    takeaway: Takeaway
    reading: list[str]


@dataclass(frozen=True)
class Slices:
    """The parts of one figure, worst first."""

    system: str
    metric: str
    ours: str
    baseline: str | None
    whole: Interval
    parts: list[Compared]


def system_parts(
    params: ReportParams,
    all_figures: Mapping[str, fig.Figures],
    claims: list[JudgedClaim],
    drawn: list[chart.StageCharts],
    doubt: list[chart.Chart],
) -> dict[str, dict[str, Any]]:
    """Key of a page -> results, slices, the curves of ``drawn`` that are its own, and charts of ``doubt``.

    Raises:
        ReportParamsError: a main variant is none of its system's.
    """
    parts = {}
    for group in groups_of(params.systems):
        systems = [name for name in group.systems if name in params.systems]
        parts[group.key] = {
            "results": [_result(params, all_figures[name], claims) for name in systems],
            "sliced": [
                found for name in group.slices if (found := _sliced(name, params, all_figures, claims))
            ],
            "curves": [each for each in drawn if group.curves and each.stage.startswith(group.curves)],
            "doubt": doubt if "listing" in systems else [],
        }
    return parts


def _result(params: ReportParams, figures: fig.Figures, claims: list[JudgedClaim]) -> Result:
    subject = params.systems[figures.system]
    if subject not in figures.variants:
        known = ", ".join(figures.variants)
        raise ReportParamsError(
            f"report.systems.{figures.system}: there is no variant '{subject}' (known: {known})."
        )
    figures = glossary.in_order(figures, subject)
    taken = takeaway(figures, subject, claims, params.pretrained)
    return Result(figures, taken, honest_reading(figures, subject))


def _sliced(
    name: str, params: ReportParams, all_figures: Mapping[str, fig.Figures], claims: list[JudgedClaim]
) -> Slices | None:
    system, metric = name.split(".", 1)
    if system not in params.systems:
        return None
    ours = params.systems[system]
    figures = all_figures[system]
    whole = figures.variants.get(ours, {}).get(metric)
    baseline = first_baseline(system, ours, claims)
    if metric not in figures.variants.get(baseline or "", {}):
        baseline = best_baseline(figures, metric, ours)
    found = slices(figures, metric, ours, baseline)
    return Slices(system, metric, ours, baseline, whole, found) if whole and found else None


def read_curves(paths: Paths, params: ReportParams) -> list[chart.StageCharts]:
    """The charts of every stage that ``report.curves`` names."""
    found = []
    for stage in params.curves:
        drawn = chart.charts(chart.read_curves(paths.plots / f"{stage}.csv"), params.curve_points)
        in_order = sorted(drawn, key=lambda each: each.title != "Loss")
        found.append(chart.StageCharts(stage, tuple(in_order)))
    return found


def owner(groups: Sequence[SystemGroup], system: str) -> SystemGroup | None:
    """On whose page a system's gallery stands: its own, else that of boxes, else the first."""
    own = (group for group in groups if system in group.systems)
    return next(own, next((group for group in groups if group.key == HOME), groups[0] if groups else None))

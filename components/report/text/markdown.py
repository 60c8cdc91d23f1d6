"""The same tables as Markdown, for docs: ``python -m components.report tables [FOLDER|FILE [METRIC...]]``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from components.report.figures.figures import TESTS_KEY, Figures, PairedTest, read_figures, read_json
from components.stage.record import Interval

NO_FIGURES = ("headline", "run")  # numbers without intervals, and what a profile's run was made from
STUDY = "study_"  # of a folder, these are left to be asked for by file


def cell(figure: Interval | None) -> str:
    """``0.412 [0.390, 0.434]``, or a dash where there is no such figure."""
    if figure is None:
        return "–"
    value = f"{figure.value:.3f}"
    if figure.low is None or figure.high is None:
        return value
    return f"{value} [{figure.low:.3f}, {figure.high:.3f}]"


def count(figures: Figures, metric: str) -> str:
    """The number of cases behind a metric, as a range where variants differ."""
    counts = sorted({row[metric].n for row in figures.variants.values() if metric in row})
    return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,}–{counts[-1]:,}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head, *lines = [f"| {' | '.join(row)} |" for row in (heads, *rows)]
    return "\n".join([head, "|---" * len(heads) + "|", *lines])


def results_table(figures: Figures, metrics: Sequence[str]) -> str:
    """A row per metric, a column per variant."""
    rows = [
        [f"`{m}`", *(cell(row.get(m)) for row in figures.variants.values()), count(figures, m)]
        for m in metrics
    ]
    return _table(["metric", *figures.variants, "n"], rows)


def rows_table(figures: Figures, metrics: Sequence[str]) -> str:
    """A row per variant, a column per metric: for studies, which have many rows."""
    rows = [[name, *(cell(row.get(m)) for m in metrics)] for name, row in figures.variants.items()]
    counts = ["n", *(count(figures, m) for m in metrics)]
    return _table(["row", *(f"`{m}`" for m in metrics)], [*rows, counts])


def tests_table(tests: Sequence[PairedTest]) -> str:
    """A row per paired test: the difference, its 95% interval, p and n."""
    rows = []
    for test in tests:
        p = "< 0.001" if test.p < 0.001 else f"{test.p:.3f}"
        difference = f"{test.difference:+.3f} [{test.low:+.3f}, {test.high:+.3f}]"
        rows.append([f"`{test.metric}`: {test.a} − {test.b}", difference, p, f"{test.n:,}"])
    return _table(["paired test", "difference", "p", "n"], rows)


def claims_table(path: Path) -> str:
    """A row per claim, metric and seed of a study's file; ``""`` where it tests none."""
    rows = []
    for test in read_json(path).get(TESTS_KEY, []):
        if "claim" in test:
            difference = f"{test['difference']:+.3f} [{test['low']:+.3f}, {test['high']:+.3f}]"
            named = [test["claim"], f"`{test['metric']}`", str(test["seed"])]
            rows.append([*named, difference, f"{test['n']:,}"])
    return _table(["claim", "metric", "seed", "difference", "n"], rows) if rows else ""


def tables(place: Path, chosen: Sequence[str] = ()) -> str:
    """Every system's tables, from ``place/*.json`` (variant -> metric -> interval) or from one such file.

    ``chosen`` metrics only, where any are named. A study's file adds its claims, in every seed and pooled.

    Raises:
        ReportInputError: a file is not of that shape.
    """
    parts = []
    files = [p for p in sorted(place.glob("*.json")) if not p.stem.startswith(STUDY)]
    for path in [place] if place.is_file() else files:
        if path.stem in NO_FIGURES:
            continue
        figures = read_figures(path, path.stem)
        metrics = [name for name in figures.metrics if not chosen or name in chosen]
        claims = claims_table(path)
        tests = [] if claims else [t for t in figures.tests if not chosen or t.metric in chosen]
        if metrics:
            shape = rows_table if claims else results_table
            parts.append(f"## {path.stem}\n\n{shape(figures, metrics)}\n")
        if claims:
            parts.append(f"{claims}\n")
        if tests:
            parts.append(f"{tests_table(tests)}\n")
    return "\n".join(parts)

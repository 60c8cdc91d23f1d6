"""Results on the terminal: claims with what their paired tests say, and a table per system."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.report.params import CLAIM_N, Claim, ReportParams
from components.stage.errors import VitrineError
from components.stage.files.printable import printable
from components.stage.left_out import reason_in
from components.stage.params import load_params

COLUMNS = 3  # metrics of a system that are shown
METRIC_WIDTH = 23  # characters of a column: a figure with its interval, and the space beside it
LONGEST_METRIC = 22  # characters of a metric's name on one line
FLAT = "headline.json"  # numbers without intervals, for `dvc metrics`
MARKS = {"shown": "[green]✓[/]", "open": "○", "opposite": "[red]✗[/]"}
SIGNS = {"above": ">", "below": "<", "not_below": "≥", "not_above": "≤"}  # the claim, before its baseline
LEGEND = "✓ shown by a paired test (95%)  ○ not shown  ✗ contradicted  – not tested"
FEW = f"* few cases (n < {CLAIM_N:,}): an indication"

Metrics = Mapping[str, Mapping[str, Mapping[str, Any]]]


def read_metrics(root: Path) -> dict[str, Metrics]:
    """Every ``metrics/*.json`` of the shape variant -> metric -> {value, low, high, n}; no others."""
    found: dict[str, Metrics] = {}
    for name, loaded in _metrics_files(root).items():
        variants = {k: v for k, v in loaded.items() if not k.startswith("_") and _is_row(v)}
        if variants:
            found[name] = variants
    return found


def read_tests(root: Path) -> dict[str, list[Mapping[str, Any]]]:
    """The paired tests of every metrics file that has some."""
    tests = {name: loaded.get("_tests") for name, loaded in _metrics_files(root).items()}
    return {
        name: [test for test in found if isinstance(test, dict) and {"a", "b", "low", "high"} <= test.keys()]
        for name, found in tests.items()
        if isinstance(found, list)
    }


def _metrics_files(root: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted((root / "metrics").glob("*.json")):
        if path.name == FLAT:
            continue
        try:
            loaded = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(loaded, dict):
            found[path.stem] = loaded
    return found


def report_params(root: Path) -> ReportParams | None:
    """What the page is asked to show; None where nobody says, and then the terminal shows everything."""
    try:
        return load_params("report", ReportParams, root / "params.yaml")
    except VitrineError:
        return None


def shown_metrics(params: ReportParams, system: str) -> list[str]:
    """Metrics of a system in its table: those that claims rest on, then those of the headline."""
    claimed = [claim.metric for claim in params.claims if claim.system == system]
    sources = [source.split(".", 2) for source in params.headline.values()]
    return list(dict.fromkeys([*claimed, *(metric for name, _, metric in sources if name == system)]))[
        :COLUMNS
    ]


def shown_variants(params: ReportParams, system: str) -> set[str]:
    """Rows of a system's table: its main variant, both sides of its claims, and those of the headline."""
    claims = [claim for claim in params.claims if claim.system == system]
    sources = [source.split(".", 2) for source in params.headline.values()]
    found = {side for claim in claims for side in (claim.ours, claim.baseline)} | {params.systems[system]}
    return found | {variant for name, variant, _ in sources if name == system}


def headline_table(
    params: ReportParams, metrics: Mapping[str, Metrics], tests: Mapping[str, list[Mapping[str, Any]]]
) -> Table | None:
    """Two lines per claim whose figures are there, in the parameters' order; None where there are none.

    What is claimed, our figure and the difference; below them the metric and the baseline's figure.
    """
    table = Table(
        title="Headline",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),  # four columns have to fit eighty characters
        pad_edge=False,
    )
    table.add_column("system", overflow="fold")
    table.add_column("claim\n[dim]on[/]", overflow="fold")
    table.add_column("ours\n[dim]baseline[/]", justify="right", no_wrap=True)
    table.add_column("difference", justify="right", no_wrap=True)
    before = ""
    for claim in params.claims:
        row, other = (metrics.get(claim.system, {}).get(side, {}) for side in (claim.ours, claim.baseline))
        if claim.metric not in row or claim.metric not in other:
            continue
        system = claim.system if claim.system != before else ""
        before = claim.system
        table.add_row(
            system,
            f"{claim.ours} {SIGNS[claim.relation]} {claim.baseline}\n[dim]{claim.metric}[/]",
            f"{figure(row[claim.metric])}\n[dim]{figure(other[claim.metric])}[/]",
            _difference(claim, params.claim_margin, tests.get(claim.system, [])),
        )
    table.caption, table.caption_justify, table.caption_style = f"{LEGEND}\n{FEW}", "left", "dim"
    return table if table.row_count else None


def _folded(metric: str) -> str:
    """A metric's name, on two lines where it is long: rich would cut it anywhere."""
    if len(metric) <= LONGEST_METRIC:
        return metric
    space = metric.rfind("_", 0, LONGEST_METRIC)
    return f"{metric[: space + 1]}\n{metric[space + 1 :]}" if space > 0 else metric


def _difference(claim: Claim, margin: float, tests: Iterable[Mapping[str, Any]]) -> str:
    """``+0.021 ✓``: ours − baseline, and what the paired test says of the claim."""
    for test in tests:
        if test.get("metric") != claim.metric or {test["a"], test["b"]} != {claim.ours, claim.baseline}:
            continue
        sign = 1.0 if test["a"] == claim.ours else -1.0
        low, high = sorted((sign * test["low"], sign * test["high"]))
        value = f"{sign * test['difference']:+.3f}".replace("-", "−")
        few = "*" if test.get("n", CLAIM_N) < CLAIM_N else " "
        return f"{value} {MARKS[claim.standing(low, high, margin)]}{few}"
    return "–"


def _is_row(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(v, dict) and "value" in v for v in value.values())


def figure(cell: Mapping[str, Any] | None) -> str:
    """``0.412 [0.390, 0.434]``, or a dash where there is no such figure."""
    if cell is None or cell["value"] is None:
        return "–"
    value = _number(cell["value"])
    if cell.get("low") is None or cell.get("high") is None:
        return value
    return f"{value} [{_number(cell['low'])}, {_number(cell['high'])}]"


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def results_tables(name: str, metrics: Metrics, chosen: Sequence[str] = (), width: int = 100) -> list[Table]:
    """One table per as many metrics as fit ``width`` characters: a row per variant; n is in the heading.

    ``chosen`` metrics are shown, in that order; without any of them, all are.
    """
    every = list(dict.fromkeys(metric for row in metrics.values() for metric in row))
    names = [metric for metric in chosen if metric in every] or every
    room = width - max(map(len, metrics), default=0) - 4
    beside = min(COLUMNS, max(1, room // METRIC_WIDTH))
    tables = []
    for start in range(0, len(names), beside):
        part = names[start : start + beside]
        title = f"{name}, value and 95% interval" if start == 0 else None
        table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE, padding=(0, 1))
        table.add_column("", no_wrap=True)
        for metric in part:
            table.add_column(_heading(metric, metrics), justify="right")
        for variant, row in metrics.items():
            if any(metric in row for metric in part):
                table.add_row(variant, *(figure(row.get(metric)) for metric in part))
        tables.append(table)
    return tables


def _tables(params: ReportParams | None, name: str, metrics: Metrics, width: int) -> list[Table]:
    """Everything of a system where nobody chose; else few metrics, of the variants that they compare."""
    if params is None:
        return results_tables(name, metrics, width=width)
    chosen = shown_metrics(params, name)
    wanted = shown_variants(params, name) if name in params.systems else set()
    rows = {
        variant: row
        for variant, row in metrics.items()
        if variant in wanted and any(metric in row for metric in chosen)
    }
    return results_tables(name, rows, chosen, width) if rows else []


def _in_order(params: ReportParams | None, found: Iterable[str]) -> list[str]:
    """Systems as the page orders them, then the others by name."""
    order = list(params.systems) if params is not None else []
    return sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name))


def _heading(metric: str, metrics: Metrics) -> str:
    counts = sorted({int(row[metric].get("n") or 0) for row in metrics.values() if metric in row})
    shown = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,}–{counts[-1]:,}"
    return f"{_folded(metric)}\n[dim]n = {shown}[/]"


def print_results(console: Console, root: Path, made: Collection[str] | None = None) -> None:
    """Print claims and tables of the workspace at ``root``; with ``made``, of these metrics files only."""
    params, found = report_params(root), read_metrics(root)
    found = {name: rows for name, rows in found.items() if made is None or name in made}
    if params is not None and (headline := headline_table(params, found, read_tests(root))) is not None:
        console.print(headline)
    for name in _in_order(params, found):
        for table in _tables(params, name, found[name], console.width):
            console.print(table)
    for reason, names in _left_out(root, made).items():
        console.print(Text(f"Left out, {', '.join(names)}: {printable(reason)}"), soft_wrap=True)


def _left_out(root: Path, made: Collection[str] | None) -> dict[str, list[str]]:
    """Why systems were not measured -> their names."""
    found: dict[str, list[str]] = {}
    for name in _metrics_files(root):
        if (reason := reason_in(root / f"metrics/{name}.json")) and (made is None or name in made):
            found.setdefault(reason, []).append(name)
    return found

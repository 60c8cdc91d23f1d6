"""Results on the terminal: claims with what their paired tests say, and a table per system."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.report.errors import ReportInputError
from components.report.figures.claims import JudgedClaim, judged_claims
from components.report.figures.figures import Figures, bounds, number, read_figures
from components.report.params import CLAIM_N, Claim, ReportParams
from components.report.text.markdown import count
from components.stage.errors import VitrineError
from components.stage.files.printable import printable
from components.stage.left_out import reason_in
from components.stage.params import load_params
from components.stage.record import Interval

COLUMNS = 3  # metrics of a system that are shown
METRIC_WIDTH = 23  # characters of a column: a figure with its interval, and the space beside it
LONGEST_METRIC = 22  # characters of a metric's name on one line
MARKS = {"shown": "[green]✓[/]", "open": "○", "level": "=", "opposite": "[red]✗[/]"}
SIGNS = {"above": ">", "below": "<", "not_below": "≥", "not_above": "≤"}  # the claim, before its baseline
LEGEND = (
    "✓ shown by a paired test (95%)  ○ not shown  ✗ contradicted  – not tested\n"
    "= level: both at the best possible value"
)
FEW = f"* few cases (n < {CLAIM_N:,}): an indication"


def read_metrics(root: Path) -> dict[str, Figures]:
    """Figures of every ``metrics/*.json`` that states some with intervals; no others."""
    found = {}
    for path in sorted((root / "metrics").glob("*.json")):
        with suppress(ReportInputError):
            found[path.stem] = read_figures(path, path.stem)
    return found


def _chosen(params: ReportParams, system: str) -> tuple[list[str], set[str]]:
    """Metrics and rows of a system's table: what its claims rest on, its main variant, and the headline."""
    claims = [claim for claim in params.claims if claim.system == system]
    sources = [source.split(".", 2) for source in params.headline.values()]
    headline = [(variant, metric) for name, variant, metric in sources if name == system]
    metrics = dict.fromkeys([claim.metric for claim in claims] + [metric for _, metric in headline])
    rows = {side for claim in claims for side in (claim.ours, claim.baseline)}
    return list(metrics)[:COLUMNS], rows | {params.systems[system]} | {variant for variant, _ in headline}


def headline_table(params: ReportParams, found: Mapping[str, Figures]) -> Table | None:
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
    claims = [claim for claim in params.claims if _measured(claim, found)]
    for row in judged_claims(found, claims, params.claim_margin):
        claim = row.claim
        table.add_row(
            claim.system if claim.system != before else "",
            f"{claim.ours} {SIGNS[claim.relation]} {claim.baseline}\n[dim]{claim.metric}[/]",
            f"{figure(row.ours)}\n[dim]{figure(row.baseline)}[/]",
            _difference(row),
        )
        before = claim.system
    table.caption, table.caption_justify, table.caption_style = f"{LEGEND}\n{FEW}", "left", "dim"
    return table if table.row_count else None


def figure(found: Interval | None) -> str:
    """As on the pages: ``0.512 [0.490, 0.534]``, ``45.0 [41.2, 48.8]``, or a dash where there is none."""
    return "–" if found is None else f"{number(found.value)} {bounds(found, found.value)}".rstrip()


def _folded(metric: str) -> str:
    """A metric's name, on two lines where it is long: rich would cut it anywhere."""
    if len(metric) <= LONGEST_METRIC:
        return metric
    space = metric.rfind("_", 0, LONGEST_METRIC)
    return f"{metric[: space + 1]}\n{metric[space + 1 :]}" if space > 0 else metric


def _measured(claim: Claim, found: Mapping[str, Figures]) -> bool:
    """Whether both sides of a claim have its figure."""
    variants = found[claim.system].variants if claim.system in found else {}
    return all(claim.metric in variants.get(side, {}) for side in (claim.ours, claim.baseline))


def _difference(row: JudgedClaim) -> str:
    """``+0.021 ✓``: ours − baseline, and what the paired test says of the claim."""
    if row.test is None:
        return "–"
    mark = MARKS[row.standing or "open"]
    return f"{number(row.test.difference, signed=True)} {mark}{'*' if row.few else ' '}"


def _tables(params: ReportParams | None, figures: Figures, width: int) -> list[Table]:
    """One table per as many metrics as fit ``width`` characters: a row per variant; n is in the heading.

    Everything of a system where nobody chose; else few metrics, of the variants that they compare.
    """
    rows, chosen = list(figures.variants), list[str]()
    if params is not None:
        if figures.system not in params.systems:
            return []
        chosen, wanted = _chosen(params, figures.system)
        rows = [v for v, row in figures.variants.items() if v in wanted and any(m in row for m in chosen)]
    every = [m for m in figures.metrics if any(m in figures.variants[name] for name in rows)]
    names = [metric for metric in chosen if metric in every] or every
    room = width - max(map(len, rows), default=0) - 4
    beside = min(COLUMNS, max(1, room // METRIC_WIDTH))
    tables = []
    for start in range(0, len(names), beside):
        part = names[start : start + beside]
        title = f"{figures.system}, value and 95% interval" if start == 0 else None
        table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE, padding=(0, 1))
        table.add_column("", no_wrap=True)
        for metric in part:
            table.add_column(f"{_folded(metric)}\n[dim]n = {count(figures, metric)}[/]", justify="right")
        for name in rows:
            if any(metric in figures.variants[name] for metric in part):
                table.add_row(name, *(figure(figures.variants[name].get(metric)) for metric in part))
        tables.append(table)
    return tables


def print_results(console: Console, root: Path, made: Collection[str] | None = None) -> None:
    """Print claims and tables of the workspace at ``root``; with ``made``, of these metrics files only."""
    params: ReportParams | None = None  # where nobody says what the page shows, everything is shown
    with suppress(VitrineError):
        params = load_params("report", ReportParams, root / "params.yaml")
    order = list(params.systems) if params else []
    found = {name: rows for name, rows in read_metrics(root).items() if made is None or name in made}
    if params is not None and (headline := headline_table(params, found)) is not None:
        console.print(headline)
    for name in sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name)):
        for table in _tables(params, found[name], console.width):
            console.print(table)
    for reason, names in _left_out(root, made).items():
        console.print(Text(f"Left out, {', '.join(names)}: {printable(reason)}"), soft_wrap=True)


def _left_out(root: Path, made: Collection[str] | None) -> dict[str, list[str]]:
    """Why systems were not measured -> their names."""
    found: dict[str, list[str]] = {}
    for path in sorted((root / "metrics").glob("*.json")):
        if (reason := reason_in(path)) and (made is None or path.stem in made):
            found.setdefault(reason, []).append(path.stem)
    return found

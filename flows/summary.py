"""What a run prints at its end: results, the budget, and where the report is; and before it, the plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from components.report.terminal import print_results
from components.stage.record import STATE
from flows.display import SHOWN, duration, memory, title
from flows.graph import Graph
from flows.stages import StageResult, newest_record


def budget_table(root: Path, results: Iterable[StageResult]) -> Table:
    """Stage, what happened, seconds, peak memory; for a cached stage, what it cost when it last ran here.

    The total is the seconds of all stages, some of which ran side by side, and the memory of those.
    """
    table = Table(title="Budget", title_justify="left", title_style="bold", box=box.SIMPLE, padding=(0, 1))
    table.add_column("stage", no_wrap=True)
    table.add_column("")
    for heading in ("time", "peak\nmemory", "when\ncomputed", "peak\nmemory"):
        table.add_column(heading, justify="right", no_wrap=True)
    results = list(results)
    total, peak = sum(result.seconds for result in results), memory_at_once(results)
    for result in results:
        then_s, then_bytes = last_cost(root, result.stage)
        earlier = (
            ("", "")
            if result.state in ("ran", "failed") or not then_s
            else (duration(then_s), memory(then_bytes))
        )
        now = "" if result.state == "cached" else duration(result.seconds)
        table.add_row(
            title(result.stage), SHOWN[result.state], now, memory(result.peak_memory_bytes), *earlier
        )
    table.add_section()
    table.add_row("[bold]total", "", f"[bold]{duration(total)}", f"[bold]{memory(peak)}", "", "")
    return table


def memory_at_once(results: Sequence[StageResult]) -> int:
    """Bytes that stages at work at the same time took at most, each counted with its own peak."""
    return max(
        (
            sum(r.peak_memory_bytes for r in results if r.started <= one.started <= r.started + r.seconds)
            for one in results
        ),
        default=0,
    )


def last_cost(root: Path, stage: str) -> tuple[float, int]:
    """Seconds and peak memory (bytes) of the newest successful execution of a stage in this workspace."""
    paths = sorted(
        (root / STATE / "records" / stage).glob("*.json"), key=lambda p: p.stat().st_mtime, reverse=True
    )
    for path in paths[:20]:
        record, _ = newest_record({path})
        if record is not None and record.status == "finished":
            return record.seconds, record.peak_memory_bytes
    return 0.0, 0


def print_summary(
    console: Console, root: Path, results: Iterable[StageResult], wall_s: float, graph: Graph | None = None
) -> None:
    """Print results, budget and the place of the report.

    With a graph, only what the run's stages make: an experiment with one system must not show figures of the
    others, which belong to the commit it started from.
    """
    console.print()
    results = list(results)
    made = None
    if graph is not None:
        made = {name for r in results if r.stage in graph.stages for name in graph.stages[r.stage].metrics}
    print_results(console, root, made)
    console.print(budget_table(root, results))
    console.print(f"wall time {duration(wall_s)}", style="dim", highlight=False)
    report = root / "reports" / "index.html"
    if report.exists() and (graph is None or any(r.stage == "report" for r in results)):
        console.print("All figures, paired tests and pictures are in the report.", style="dim")
        console.print(f"Report: {report}", highlight=False, soft_wrap=True)


def print_plan(console: Console, graph: Graph, stages: Iterable[str], work: Iterable[str]) -> None:
    """What a run would do, and why."""
    work = set(work)
    table = Table(box=box.SIMPLE, padding=(0, 1))
    for heading in ("stage", "", "why", "where"):
        table.add_column(heading, no_wrap=heading == "stage")
    for name in stages:
        reasons = "; ".join(graph.why(name)[:4]) if name in work else ""
        runs = name in graph.reasons
        state = (
            "[cyan]cached"
            if name not in work
            else "[yellow]runs"
            if runs
            else "[yellow]runs if its inputs change"
        )
        table.add_row(title(name), state, reasons, graph.stages[name].meta.pool)
    console.print(table)

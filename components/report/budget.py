"""What the stages of a run cost, and what a run would do, as tables on the terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.report.terminal import print_results
from components.stage.record import StageResult, last_finished

SHOWN = {"ran": "[green]done", "restored": "[cyan]from cache", "unchanged": "[cyan]unchanged",
         "cached": "[cyan]cached", "failed": "[red]failed"}  # fmt: skip


def shown_state(result: StageResult) -> str:
    """How a stage ended, in a word; one that found nothing to work on was left out."""
    return "[yellow]left out" if (result.record or {}).get("left_out") else SHOWN[result.state]


def duration(seconds: float) -> str:
    """Seconds for people: ``0.8 s``, ``42 s``, ``3 min 07 s``, ``2 h 05 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def memory(size: int) -> str:
    """Bytes for people; nothing for nothing."""
    if not size:
        return ""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def title(stage: str) -> str:
    """A stage's name without the file DVC puts before it."""
    return stage.rpartition(":")[2]


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
    for result in results:
        then = last_finished(root, result.stage) if result.cached else None
        earlier = (duration(then.seconds), memory(then.peak_memory_bytes)) if then else ("", "")
        now = "" if result.state == "cached" else duration(result.seconds)
        table.add_row(
            title(result.stage), shown_state(result), now, memory(result.peak_memory_bytes), *earlier
        )
    total, peak = sum(result.seconds for result in results), memory_at_once(results)
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


def plan_table(rows: Iterable[tuple[str, bool | None, str, str]]) -> Table:
    """A row for each stage: name, whether it runs (None: if its inputs change), why, and where."""
    table = Table(box=box.SIMPLE, padding=(0, 1))
    for heading in ("stage", "", "why", "where"):
        table.add_column(heading, no_wrap=heading == "stage")
    words = {False: "[cyan]cached", True: "[yellow]runs", None: "[yellow]runs if its inputs change"}
    for name, runs, why, where in rows:
        table.add_row(Text(title(name)), words[runs], Text(why), Text(where))
    return table


def print_summary(
    console: Console, root: Path, results: Sequence[StageResult], made: Collection[str], wall_s: float
) -> None:
    """Print results, budget and the place of the report at the end of a run that took ``wall_s`` seconds.

    Only the files of metrics in ``made``: an experiment with one system must not show figures of the others,
    which belong to the commit it started from.
    """
    console.print()
    print_results(console, root, made)
    console.print(budget_table(root, results))
    console.print(f"wall time {duration(wall_s)}", style="dim", highlight=False)
    report = root / "reports" / "index.html"
    if report.exists() and any(r.stage == "report" for r in results):
        console.print("All figures, paired tests and pictures are in the report.", style="dim")
        console.print(f"Report: {report}", highlight=False, soft_wrap=True)

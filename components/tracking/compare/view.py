"""A comparison on the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from components.stage.record import Interval
from components.tracking.compare.compare import Change, Comparison, MetricRow, PairedTest

SURE = 0.05
HASH_SHOWN = 10
LONGEST_VALUE = 80  # characters; of a longer one, such as a list of claims, only where it differs is shown
BEFORE_DIFFERENCE = 20


def show(comparison: Comparison, console: Console) -> None:
    """Print parameters, data, metrics and tests; what does not differ is said in one line."""
    a, b = comparison.a, comparison.b
    parts: list[Table | Text] = [
        _changes("Parameters", comparison.parameters, a, b, shorten=False),
        _changes("Data", comparison.data, a, b, shorten=True),
    ]
    if comparison.metrics:
        parts.append(_metrics(comparison.metrics, a, b))
    if comparison.tests:
        parts.append(_tests(comparison.tests, a, b))
    parts += [Text(f"Note: {note}", style="yellow") for note in comparison.notes]
    console.print(Group(*parts))


def _changes(title: str, changes: Iterable[Change], a: str, b: str, shorten: bool) -> Table | Text:
    rows = list(changes)
    if not rows:
        return Text(f"{title}: no difference.\n", style="dim")
    table = Table(title=f"{title} that differ", title_justify="left", title_style="bold")
    table.add_column("name", overflow="fold")
    table.add_column(Text(a), overflow="fold")
    table.add_column(Text(b), overflow="fold")
    for row in rows:
        whole = (row.a, row.b)
        shown = [v and v[:HASH_SHOWN] for v in whole] if shorten else around_difference(*whole)
        table.add_row(
            Text(row.name), *(Text(v, style="") if v is not None else Text("–", style="dim") for v in shown)
        )
    return table


def around_difference(a: str | None, b: str | None) -> list[str | None]:
    """Both values; long ones cut to where they first differ, with ``…`` for what is left out."""
    if max(len(a or ""), len(b or "")) <= LONGEST_VALUE:
        return [a, b]
    pairs = enumerate(zip(a or "", b or "", strict=False))
    same = next((i for i, (x, y) in pairs if x != y), min(len(a or ""), len(b or "")))
    start = max(0, same - BEFORE_DIFFERENCE)
    return [None if v is None else _cut(v, start) for v in (a, b)]


def _cut(value: str, start: int) -> str:
    end = start + LONGEST_VALUE
    return f"{'…' if start else ''}{value[start:end]}{'…' if end < len(value) else ''}"


def _metrics(rows: list[MetricRow], a: str, b: str) -> Table | Text:
    """Figures that differ; a run has hundreds that do not."""
    different = [row for row in rows if row.a != row.b]
    equal = len(rows) - len(different)
    if not different:
        return Text(f"Metrics: no difference in {equal:,} figures.\n", style="dim")
    # Narrow enough for 80 columns, as where no terminal says how wide it is.
    table = Table(title="Metrics that differ, with 95% intervals", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.title_justify, table.title_style = "left", "bold"
    for name in ("results", "metric"):
        table.add_column(name, overflow="fold")
    for side in (a, b):
        table.add_column(Text(side), justify="right", no_wrap=True)
    table.add_column("a − b", justify="right", no_wrap=True)
    for row in different:
        gap = f"{row.a.value - row.b.value:+.4f}" if row.a is not None and row.b is not None else ""
        sides = (interval(side).replace(" [", "\n[").replace(" n=", "\nn=") for side in (row.a, row.b))
        table.add_row(Text(f"{row.table}\n{row.variant}"), Text(row.metric), *map(Text, sides), gap)
    if equal:
        table.caption, table.caption_justify, table.caption_style = (
            f"{equal:,} others are equal",
            "left",
            "dim",
        )
    return table


def interval(figure: Interval | None) -> str:
    """``0.512 [0.490, 0.534] n=1,050``, or a dash."""
    if figure is None:
        return "–"
    limits = "" if figure.low is None or figure.high is None else f" [{figure.low:.3f}, {figure.high:.3f}]"
    return f"{figure.value:.3f}{limits} n={figure.n:,}"


def _tests(tests: list[PairedTest], a: str, b: str) -> Table:
    title = "Paired bootstrap over the same queries"
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in ("results", "variant", "task", "metric"):
        table.add_column(name)
    for name in ("a − b", "95% interval", "p", "n"):
        table.add_column(name, justify="right")
    table.add_column("reading")
    for t in tests:
        limits = f"[{t.low:+.4f}, {t.high:+.4f}]"
        figures = (f"{t.difference:+.4f}", limits, f"{t.p:.4f}", f"{t.n:,}")
        names = (Text(name) for name in (t.table, t.variant, t.task, t.metric))
        table.add_row(*names, *figures, reading(t, a, b))
    return table


def reading(test: PairedTest, a: str, b: str) -> Text:
    """Which side is higher, if the interval of the difference leaves zero out."""
    if test.low > 0 and test.p < SURE:
        return Text(f"{a} is higher", style="green")
    if test.high < 0 and test.p < SURE:
        return Text(f"{b} is higher", style="green")
    return Text("no difference shown", style="dim")

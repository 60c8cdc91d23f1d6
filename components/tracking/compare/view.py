"""A comparison on the terminal, in at most 60 lines: the page has the rest."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from components.stage.files.printable import escaped
from components.stage.record import Interval, lower_is_better
from components.tracking.compare.compare import Change, Comparison, FigureRow

MOST_LINES = 60
WIDE = 110  # columns, from which figures show their intervals beside a test's
HASH_SHOWN = 10
LONGEST_VALUE = 80  # characters; of a longer one, such as a list of claims, only where it differs is shown
BEFORE_DIFFERENCE = 20
INPUTS = ("data/",)  # what differs of these is told first; the rest follows from them
FEWEST = 4  # lines of a section that is cut
MOST_NOTES, MOST_EXAMPLES = 5, 3
MARK = {"better": ("better", "green"), "worse": ("worse", "red"), "unclear": ("·", "dim")}
TWO_SIDES, WIDE_SIDES, A_SIDE = 50, 82, 16  # columns that the numbers of a line take


def show(found: Comparison, console: Console, page: str = "") -> None:
    """Print sides, parameters, data, code, figures, queries and notes; what does not differ is one line."""
    width, notes = console.width, found.notes
    inputs = [
        Change(one.name, tuple(v and v[:HASH_SHOWN] for v in one.values))
        for one in found.data
        if one.name.startswith(INPUTS)
    ]
    parts: list[RenderableType] = [
        *_sides(found),
        *_changes("Parameters", found.parameters, 9, width),
        *_changes("Data", inputs, 5, width, others=len(found.data)),
        *_changes("Code", found.code, 6, width),
    ]
    rest: list[RenderableType] = [
        *_examples(found),
        *(_line(f"Note: {n}", "yellow") for n in notes[:MOST_NOTES]),
    ]
    if len(notes) > MOST_NOTES:
        rest.append(_line(f"… and {len(notes) - MOST_NOTES} further notes", "dim"))
    options = console.options.update(no_wrap=True, overflow="ellipsis")
    used = sum(len(console.render_lines(part, options)) for part in parts) + len(rest)
    parts += _figures(found, max(FEWEST, MOST_LINES - 5 - used), width)
    for part in [*parts, *rest]:
        console.print(part, overflow="ellipsis", no_wrap=True, crop=True)
    if page:
        console.print(Text(f"Page: {page}"), soft_wrap=True)


def _line(text: object, style: str = "") -> Text:
    return Text(escaped(str(text)), style=style)


def _sides(found: Comparison) -> list[Text]:
    lines = []
    for letter, group, commit in zip(found.letters, found.groups, found.commits, strict=True):
        about = f"  {group.first.kind} of {group.first.catalogue or 'an unknown catalogue'}, {commit}"
        lines.append(_line(f"{letter}  ").append(escaped(group.name), "bold").append(escaped(about), "dim"))
    forced = _line("DIFFERENT CATALOGUES, compared because of --force.", "bold red")
    return [*lines, forced] if found.forced else lines


def _changes(
    title: str, rows: Sequence[Change], most: int, width: int, others: int = 0
) -> list[RenderableType]:
    """A section: names with the value of every side, cut to the line."""
    further = f"; {others - len(rows)} made files differ" if others > len(rows) else ""
    if not rows:
        return [_line(f"{title}: no difference{further}", "dim")]
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold", max_width=max(24, width // 3))
    for _ in rows[0].values:
        cell = max(8, (width - 34) // len(rows[0].values) - 2)
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=cell)
    shown = rows if len(rows) <= most else rows[: most - 1]
    for row in shown:
        values = around_difference(row.values)
        table.add_row(_line(row.name), *(_line("–", "dim") if v is None else _line(v) for v in values))
    more = [_line(f"… and {len(rows) - len(shown)} more on the page", "dim")] if len(rows) > most else []
    return [_line(f"{title}, what differs: {len(rows)}{further}", "bold"), table, *more]


def around_difference(values: Sequence[str | None]) -> list[str | None]:
    """The values; long ones cut to where they first differ, with ``…`` for what is left out."""
    texts = [value for value in values if value is not None]
    if max(map(len, texts), default=0) <= LONGEST_VALUE:
        return list(values)
    least = min(map(len, texts))
    same = next((i for i in range(least) if len({text[i] for text in texts}) > 1), least)
    start = max(0, same - BEFORE_DIFFERENCE)
    end = start + LONGEST_VALUE
    return [
        v if v is None else f"{'…' if start else ''}{v[start:end]}{'…' if end < len(v) else ''}"
        for v in values
    ]


def _figures(found: Comparison, most: int, width: int) -> list[RenderableType]:
    """Figures that differ, as many as fit into ``most`` lines; a name is folded, for cut it is of no use."""
    differ = sum(row.differs for row in found.rows)
    if not differ:
        return [_line(f"Figures: no difference in {len(found.rows):,}.", "dim")]
    same, tested = found.unchanged()
    told = f"{tested - same} of {tested} tested systems answer differently" if tested else "none tested"
    two = len(found.groups) == 2
    numbers = (WIDE_SIDES if width >= WIDE else TWO_SIDES) if two else A_SIDE * len(found.groups)
    widest = max(16, width - numbers)
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold", max_width=widest)
    for _ in range(len(found.groups) + two):
        table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True)
    table.add_row(*(_line(title, "dim") for title in ["", *found.letters, *(["B − A, 95%"] if two else [])]))
    rows, shown, lines = found.telling(), 0, 0
    for row in rows:
        name = " ".join(filter(None, (row.table, row.variant, row.metric)))
        name += " (less)" if lower_is_better(row.metric) else ""
        lines += len(textwrap.wrap(name, widest))
        if lines > most:
            break
        shown += 1
        table.add_row(_line(name), *(_two_sides(row, width) if two else _many_sides(row)))
    more = [_line(f"… and {len(rows) - shown:,} more on the page", "dim")] if shown < len(rows) else []
    head = _line(f"Figures that differ: {differ:,} of {len(found.rows):,}; {told}", "bold")
    return [head, table, *more]


def _two_sides(row: FigureRow, width: int) -> list[Text]:
    (a, b), test = row.figures, row.tests[0]
    figures = [_line(interval(one, width >= WIDE)) for one in (a, b)]
    if test:
        gap = f"{test.difference:+.3f} [{test.low:+.3f}, {test.high:+.3f}]"
        return [*figures, _line(gap), _line(*MARK[test.verdict])]
    return [*figures, _line(f"{b.value - a.value:+.3f}" if a and b else ""), _line("")]


def _many_sides(row: FigureRow) -> list[Text]:
    cells = [_line(interval(row.figures[0], False))]
    for figure, test in zip(row.figures[1:], row.tests, strict=True):
        word, style = MARK[test.verdict] if test else ("", "")
        cells.append(_line(f"{interval(figure, False)} {word}".strip(), style))
    return cells


def interval(figure: Interval | None, whole: bool = True) -> str:
    """``0.512 [0.490, 0.534]``, or a dash; without its bounds where not ``whole``."""
    if figure is None:
        return "–"
    bounded = whole and figure.low is not None and figure.high is not None
    return f"{figure.value:.3f}" + (f" [{figure.low:.3f}, {figure.high:.3f}]" if bounded else "")


def _examples(found: Comparison) -> list[Text]:
    """A few queries that were won and lost, of the system that differs most."""
    if not found.galleries:
        return []
    one = found.galleries[0]
    system = " ".join(filter(None, (one.table, one.variant, one.task)))
    lines = [_line(f"Won and lost by {one.side}: {system}, {one.metric}", "bold")]
    for word, style, examples in (("won ", "green", one.won), ("lost", "red", one.lost)):
        for example in examples[:MOST_EXAMPLES]:
            values = " → ".join(f"{answer.value:.2f}" for answer in example.answers)
            lines.append(Text.assemble((word, style), f"  {values}  ", escaped(example.asked)))
    return lines

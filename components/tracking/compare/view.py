"""A comparison on the terminal, in at most 60 lines: the page has the rest."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.stage.files.printable import escaped
from components.stage.record import Interval, lower_is_better
from components.tracking.compare.compare import STUDY, Change, Comparison, FigureRow, unchanged

MOST_LINES = 60
WIDE = 110  # columns, from which figures show their intervals beside a test's
HASH_SHOWN = 10
LONGEST_VALUE = 80  # characters; of a longer one, such as a list of claims, only where it differs is shown
BEFORE_DIFFERENCE = 20
INPUTS = ("data/",)  # what differs of these is told first; the rest follows from them
FEWEST = 4  # lines of a section that is cut
MARK = {"better": ("better", "green"), "worse": ("worse", "red"), "unclear": ("·", "dim")}
TWO_SIDES, WIDE_SIDES, A_SIDE = 50, 82, 16  # columns that the numbers of a line take


def show(found: Comparison, console: Console, page: str = "") -> None:
    """Print sides, parameters, data, code, figures, queries and notes; what does not differ is one line."""
    width = console.width
    blocks: list[list[Text | Table]] = [_sides(found)]
    rest = MOST_LINES - len(found.groups) - 3 - bool(page)
    notes = found.notes
    most_notes = min(len(notes), 5)
    parts = [
        _changes("Parameters", found.parameters, 9, width),
        _changes("Data", _inputs(found.data), 5, width, others=len(found.data)),
        _changes("Code", found.code, 6, width),
    ]
    examples = _examples(found, 3)
    used = (
        sum(lines for lines, _ in parts) + most_notes + (1 if len(notes) > most_notes else 0) + len(examples)
    )
    blocks += [block for _, block in parts]
    blocks.append(_figures(found, max(FEWEST, rest - used - 3), width))
    blocks.append(list(examples))
    blocks.append([_line(f"Note: {note}", "yellow") for note in notes[:most_notes]])
    if len(notes) > most_notes:
        blocks[-1].append(_line(f"… and {len(notes) - most_notes} further notes", "dim"))
    for block in blocks:
        for item in block:
            console.print(item, overflow="ellipsis", no_wrap=True, crop=True)
    if page:
        console.print(Text(f"Page: {page}"), soft_wrap=True)


def _line(text: object, style: str = "") -> Text:
    return Text(escaped(str(text)), style=style)


def _sides(found: Comparison) -> list[Text | Table]:
    lines: list[Text | Table] = []
    for letter, group, commit in zip(letters(found), found.groups, found.commits, strict=True):
        about = f"  {group.first.kind} of {group.first.catalogue or 'an unknown catalogue'}, "
        lines.append(
            _line(f"{letter}  ").append(escaped(group.name), "bold").append(escaped(about + commit), "dim")
        )
    if found.forced:
        lines.append(_line("DIFFERENT CATALOGUES, compared because of --force.", "bold red"))
    return lines


def letters(found: Comparison) -> list[str]:
    """What the sides are called in heads of columns: A for the reference, B, C."""
    return [chr(ord("A") + i) if i < 26 else str(i + 1) for i in range(len(found.groups))]


def _inputs(data: Sequence[Change]) -> list[Change]:
    """Changed inputs, with the beginnings of their hashes."""
    inputs = (change for change in data if change.name.startswith(INPUTS))
    return [Change(c.name, tuple(v and v[:HASH_SHOWN] for v in c.values)) for c in inputs]


def _changes(
    title: str, rows: Sequence[Change], most: int, width: int, others: int = 0
) -> tuple[int, list[Text | Table]]:
    """Lines used, and the section: names with the value of every side, cut to the line."""
    further = f"; {others - len(rows)} made files differ" if others > len(rows) else ""
    if not rows:
        return 1, [_line(f"{title}: no difference{further}", "dim")]
    head = _line(f"{title}, what differs: {len(rows)}{further}", "bold")
    table = Table.grid(padding=(0, 2))
    cell = max(8, (width - 34) // len(rows[0].values) - 2)
    table.add_column(overflow="fold", max_width=max(24, width // 3))
    for _ in rows[0].values:
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=cell)
    shown = list(rows) if len(rows) <= most else list(rows[: most - 1])
    for row in shown:
        table.add_row(_line(row.name), *map(_value, around_difference(row.values)))
    lines: list[Text | Table] = [head, table]
    if len(rows) > len(shown):
        lines.append(_line(f"… and {len(rows) - len(shown)} more on the page", "dim"))
    name_lines = sum(len(textwrap.wrap(row.name, max(24, width // 3))) for row in shown)
    return 1 + name_lines + (len(rows) > len(shown)), lines


def _value(value: str | None) -> Text:
    return _line("–", "dim") if value is None else _line(value)


def around_difference(values: Sequence[str | None]) -> list[str | None]:
    """The values; long ones cut to where they first differ, with ``…`` for what is left out."""
    texts = [value for value in values if value is not None]
    if max(map(len, texts), default=0) <= LONGEST_VALUE:
        return list(values)
    least = min(map(len, texts))
    same = next((i for i in range(least) if len({text[i] for text in texts}) > 1), least)
    start = max(0, same - BEFORE_DIFFERENCE)
    return [None if value is None else _cut(value, start) for value in values]


def _cut(value: str, start: int) -> str:
    end = start + LONGEST_VALUE
    return f"{'…' if start else ''}{value[start:end]}{'…' if end < len(value) else ''}"


def telling(found: Comparison) -> list[FigureRow]:
    """Rows that differ, studies apart: those with a test, surest and largest first, then the others.

    Of the others the headline of each evaluation comes first.
    """
    different = [row for row in found.rows if row.differs and not row.table.startswith(STUDY)]

    def _sure(row: FigureRow) -> tuple[bool, float]:
        sure = any(test is not None and test.verdict != "unclear" for test in row.tests)
        gaps = [abs(test.difference) for test in row.tests if test is not None]
        return not sure, -max(gaps, default=0.0)

    def _headline(row: FigureRow) -> tuple[bool, int]:
        shown = found.headline.get(row.table)
        if shown is None or row.metric not in shown.metrics:
            return True, 0
        return row.variant != shown.variant, shown.metrics.index(row.metric)

    tested = [row for row in different if any(row.tests)]
    return sorted(tested, key=_sure) + sorted((row for row in different if not any(row.tests)), key=_headline)


def _figures(found: Comparison, most: int, width: int) -> list[Text | Table]:
    rows, equal = telling(found), sum(not row.differs for row in found.rows)
    if not any(row.differs for row in found.rows):
        return [_line(f"Figures: no difference in {equal:,}.", "dim")]
    differ = len(found.rows) - equal
    head = _line(f"Figures that differ: {differ:,} of {len(found.rows):,}{_summary(found)}", "bold")
    two = len(found.groups) == 2
    table = Table.grid(padding=(0, 2))
    numbers = (WIDE_SIDES if width >= WIDE else TWO_SIDES) if two else A_SIDE * len(found.groups)
    widest = max(16, width - numbers)
    table.add_column(overflow="fold", max_width=widest)  # a name that is cut cannot be looked up
    for _ in range(len(found.groups) + two):
        table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True)
    titles = [*letters(found), *(["B − A, 95%"] if two else [])]
    table.add_row(*(_line(title, "dim") for title in ["", *titles]))
    rows, left = _fitting(rows, most, widest)
    for row in rows:
        table.add_row(*(_two_sides(row, width) if two else _many_sides(row)))
    lines: list[Text | Table] = [head, table]
    if left:
        lines.append(_line(f"… and {left:,} more on the page", "dim"))
    return lines


def _fitting(rows: Sequence[FigureRow], most: int, width: int) -> tuple[list[FigureRow], int]:
    """The first rows, names folded to ``width``, that take at most ``most`` lines; and how many are left."""
    fitting, lines = list[FigureRow](), 0
    for row in rows:
        lines += len(textwrap.wrap(_name(row).plain, width))
        if lines > most:
            break
        fitting.append(row)
    return fitting, len(rows) - len(fitting)


def _summary(found: Comparison) -> str:
    same, tested = unchanged(found)
    return f"; {tested - same} of {tested} tested systems answer differently" if tested else "; none tested"


def _name(row: FigureRow) -> Text:
    arrow = " (less)" if lower_is_better(row.metric) else ""
    return _line(" ".join(filter(None, (row.table, row.variant, row.metric))) + arrow)


def _two_sides(row: FigureRow, width: int) -> list[Text]:
    test = row.tests[0]
    whole = width >= WIDE
    a, b = row.figures
    figures = [_line(interval(one) if whole else _number(one)) for one in (a, b)]
    if test is not None:
        gap = f"{test.difference:+.3f} [{test.low:+.3f}, {test.high:+.3f}]"
        word, style = MARK[test.verdict]
        return [_name(row), *figures, _line(gap), _line(word, style)]
    gap = f"{b.value - a.value:+.3f}" if a is not None and b is not None else ""
    return [_name(row), *figures, _line(gap), _line("")]


def _many_sides(row: FigureRow) -> list[Text]:
    cells = [_line(_number(row.figures[0]))]
    for figure, test in zip(row.figures[1:], row.tests, strict=True):
        word, style = MARK[test.verdict] if test else ("", "")
        cells.append(_line(f"{_number(figure)} {word}".strip(), style))
    return [_name(row), *cells]


def _number(figure: Interval | None) -> str:
    return "–" if figure is None else f"{figure.value:.3f}"


def interval(figure: Interval | None) -> str:
    """``0.512 [0.490, 0.534]``, or a dash."""
    if figure is None:
        return "–"
    limits = "" if figure.low is None or figure.high is None else f" [{figure.low:.3f}, {figure.high:.3f}]"
    return f"{figure.value:.3f}{limits}"


def _examples(found: Comparison, most: int) -> list[Text]:
    """A few queries that were won and lost, of the system that differs most."""
    if not found.galleries:
        return []
    one = found.galleries[0]
    system = " ".join(filter(None, (one.table, one.variant, one.task)))
    lines = [_line(f"Won and lost by {one.side}: {system}, {one.metric}", "bold")]
    for word, style, examples in (("won ", "green", one.won), ("lost", "red", one.lost)):
        for example in examples[:most]:
            values = " → ".join(f"{answer.value:.2f}" for answer in example.answers)
            lines.append(Text.assemble((word, style), f"  {values}  ", escaped(example.asked)))
    return lines

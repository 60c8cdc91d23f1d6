"""Training curves as small line charts: the numbers are computed here, the page draws them as SVG."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from components.report.errors import ReportInputError
from components.report.figures.figures import metric_label

Point = tuple[float, float]
Curves = dict[str, list[Point]]
WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 30
FEW_POINTS = 8
PARTS = ("train", "validation", "valid", "val", "test")  # the same quantity on two splits shares one chart


@dataclass(frozen=True)
class Line:
    """One curve: SVG points in chart coordinates, and its last value."""

    name: str
    points: str
    last: str
    dots: tuple[Point, ...]  # where the points lie, when so few that a line alone would hide how many


@dataclass(frozen=True)
class Chart:
    """One small chart; ticks are (position, label)."""

    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    averaged: int  # every drawn point is the mean of up to this many
    x: str  # what runs to the right


@dataclass(frozen=True)
class StageCharts:
    """The charts of one stage, the loss that it minimised first where there is one."""

    stage: str
    charts: tuple[Chart, ...]

    @property
    def averaged(self) -> int:
        """The most neighbouring steps that a drawn point is the mean of."""
        return max((each.averaged for each in self.charts), default=1)


def read_curves(path: Path) -> Curves:
    """Read ``plots/STAGE.csv``: a column ``step`` and a column per curve; empty or non-finite cells are gaps.

    Raises:
        ReportInputError: no such file, no column ``step``, no other column, or a cell that is not a number.
    """
    if not path.is_file():
        raise ReportInputError(
            f"{path} does not exist; run the stage that writes it, or remove it from report.curves."
        )
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle)
        names = [name for name in reader.fieldnames or [] if name != "step"]
        if not names or "step" not in (reader.fieldnames or []):
            raise ReportInputError(
                f"{path} must have a column 'step' and at least one curve; it has {reader.fieldnames}."
            )
        curves: Curves = {name: [] for name in names}
        for row in reader:
            step = _cell(path, reader.line_num, "step", row["step"])
            for name in names:
                value = _cell(path, reader.line_num, name, row[name])
                if math.isfinite(step) and math.isfinite(value):
                    curves[name].append((step, value))
    return {name: sorted(points) for name, points in curves.items()}


def _cell(path: Path, line: int, column: str, text: str | None) -> float:
    """A CSV cell as a number; an empty one is NaN."""
    try:
        return float(text) if text else math.nan
    except ValueError:
        raise ReportInputError(f"{path}, line {line}, column '{column}': '{text}' is not a number.") from None


def quantity(name: str) -> str:
    """What a curve measures, without the split it was measured on: ``train_loss`` → loss."""
    words = [word for word in name.replace("/", "_").replace(".", "_").split("_") if word]
    return "_".join(word for word in words if word not in PARTS) or name


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that lie within [low, high], a step of 1, 2 or 5 times a power of ten apart."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def thinned(points: list[Point], most: int) -> tuple[list[Point], int]:
    """At most ``most`` points, each the mean of a run of neighbours, and the length of a run."""
    run = max(1, math.ceil(len(points) / most))
    runs = [points[start : start + run] for start in range(0, len(points), run)]
    return [(sum(x for x, _ in r) / len(r), sum(y for _, y in r) / len(r)) for r in runs], run


def label(value: float) -> str:
    """A short tick label: ``1.2k``, ``0.25``, ``1e-04``."""
    if value and (abs(value) >= 1e6 or abs(value) < 1e-4):
        return f"{value:.1e}".replace(".0e", "e").replace("-", "−")
    text = f"{value / 1000:.4g}k" if abs(value) >= 10_000 else f"{value:.4g}"
    return text.replace("-", "−")


def charts(curves: Curves, most: int) -> list[Chart]:
    """One chart per quantity that has any point, at most ``most`` points per line."""
    grouped: dict[str, Curves] = {}
    for name, points in curves.items():
        if points:
            grouped.setdefault(quantity(name), {})[name] = points
    return [_chart(metric_label(title), group, most) for title, group in grouped.items()]


# File of plots/ -> title, and what runs to the right: what becomes of listings that leave out what they doubt
DOUBT = {
    "listing_risk": ("Share of stated values that are wrong", "fields filled, %"),
    "listing_reliability": ("Share of values that are right", "confidence, %"),
}
MOST_LINES = 4  # that can be told apart; of rows, the last ones of a table are the strongest


def doubt_charts(plots: Path, most: int, absent: Callable[[Path], str] = lambda file: "") -> list[Chart]:
    """Risk and reliability of the rows of listings, each file one chart.

    Args:
        most: points of a line. absent: why a file is left out, or is of an earlier run.
    """
    found = []
    for name, (title, x) in DOUBT.items():
        file = plots / f"{name}.csv"
        if not file.is_file() or absent(file):
            continue
        curves = read_curves(file)
        drawn = {row: points for row, points in list(curves.items())[-MOST_LINES:] if points}
        if drawn:
            found.append(_chart(title, drawn, most, x))
    return found


def _chart(title: str, curves: Curves, most: int, x_label: str = "step") -> Chart:
    drawn = {name: thinned(points, most) for name, points in curves.items()}
    xs = [x for points in curves.values() for x, _ in points]
    ys = [y for points, _ in drawn.values() for _, y in points]
    x_low, x_high, y_low, y_high = min(xs), max(xs), min(ys), max(ys)
    # Room above and below: a flat line belongs in the middle, not on the frame.
    margin = (y_high - y_low) * 0.06 or abs(y_high) * 0.1 or 1.0
    y_low, y_high = y_low - margin, y_high + margin

    def _place_x(x: float) -> float:
        share = (x - x_low) / (x_high - x_low) if x_high > x_low else 0.5
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def _place_y(y: float) -> float:
        return round(TOP + (y_high - y) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM), 1)

    lines = []
    for name, (points, _) in drawn.items():
        places = [(_place_x(x), _place_y(y)) for x, y in points]
        lines.append(
            Line(
                name=name,
                points=" ".join(f"{x:g},{y:g}" for x, y in places),
                last=label(curves[name][-1][1]),
                dots=tuple(places) if len(places) <= FEW_POINTS else (),
            )
        )
    return Chart(
        title=title,
        lines=tuple(lines),
        x_ticks=tuple((_place_x(x), label(x)) for x in nice_ticks(x_low, x_high)),
        y_ticks=tuple((_place_y(y), label(y)) for y in nice_ticks(y_low, y_high)),
        averaged=max(run for _, run in drawn.values()),
        x=x_label,
    )

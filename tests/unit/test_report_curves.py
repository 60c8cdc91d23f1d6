"""Curves: read from CSV, thinned without moving their mean, drawn inside the frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.report.errors import ReportInputError
from components.report.figures.curves import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    charts,
    doubt_charts,
    nice_ticks,
    read_curves,
    thinned,
)

number = st.floats(-1e5, 1e5, allow_nan=False)
points = st.lists(st.tuples(st.integers(0, 10_000).map(float), number), min_size=1, max_size=200)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_empty_and_non_finite_cells_are_gaps(tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", "step,train_loss,lr\n0,2.5,\n1,nan,0.1\n2,inf,\n3,1.5,0.2\n")
    assert read_curves(path) == {"train_loss": [(0, 2.5), (3, 1.5)], "lr": [(1, 0.1), (3, 0.2)]}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epoch,loss\n1,2\n", "column 'step'"),
        ("step\n1\n", "at least one curve"),
        ("", "column 'step'"),
        ("step,loss\n1,2\n2,low\n", "line 3, column 'loss': 'low'"),
    ],
)
def test_a_broken_file_is_refused_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ReportInputError, match=says):
        read_curves(write(tmp_path / "c.csv", text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportInputError, match=r"gone\.csv does not exist"):
        read_curves(tmp_path / "gone.csv")


@given(number, st.floats(1e-6, 1e5))
def test_ticks_are_round_even_and_inside(low: float, width: float) -> None:
    high = low + width
    ticks = nice_ticks(low, high)
    if not high > low:
        return
    slack = 1e-6 * max(abs(low), abs(high), width)
    assert 1 <= len(ticks) <= 6
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    if len(ticks) > 2:
        assert np.allclose(np.diff(ticks), ticks[1] - ticks[0], atol=slack)
    if len(ticks) > 1 and width > 1e-3 * abs(low):
        mantissa = float(f"{ticks[1] - ticks[0]:.6e}".split("e")[0])
        assert min(abs(mantissa - m) for m in (1, 2, 5, 10)) < 1e-3


@given(points, st.integers(10, 50))
def test_thinning_keeps_the_mean(curve: list[tuple[float, float]], most: int) -> None:
    drawn, run = thinned(curve, most)
    assert len(drawn) <= most
    sizes = [len(curve[start : start + run]) for start in range(0, len(curve), run)]
    assert np.allclose(np.average(drawn, axis=0, weights=sizes), np.mean(curve, axis=0), rtol=1e-6, atol=1e-4)


@given(points, points)
def test_lines_stay_inside_the_frame_and_run_to_the_right(
    one: list[tuple[float, float]], two: list[tuple[float, float]]
) -> None:
    (chart,) = charts({"train_loss": sorted(one), "validation_loss": sorted(two)}, most=20)
    assert [line.name for line in chart.lines] == ["train_loss", "validation_loss"]
    for line in chart.lines:
        places = [tuple(map(float, pair.split(","))) for pair in line.points.split()]
        assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in places)
        assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert all(LEFT <= x <= WIDTH - RIGHT for x, _ in chart.x_ticks)
    assert all(TOP <= y <= HEIGHT - BOTTOM for y, _ in chart.y_ticks)


def test_a_falling_curve_falls_on_the_page() -> None:
    (chart,) = charts({"loss": [(0.0, 4.0), (10.0, 1.0)]}, most=20)
    (_, first), (_, last) = (map(float, pair.split(",")) for pair in chart.lines[0].points.split())
    assert last > first  # SVG counts y downwards


def test_the_same_quantity_shares_a_chart_and_empty_curves_have_none() -> None:
    drawn = charts(
        {"train_loss": [(1, 1)], "lr": [(1, 1)], "validation_loss": [(1, 2)], "hits_at_5": []}, most=20
    )
    assert [(chart.title, len(chart.lines)) for chart in drawn] == [("Loss", 2), ("Lr", 1)]
    assert len(drawn[1].lines[0].dots) == 1


def test_doubt_is_one_chart_a_file_and_none_of_an_earlier_run(tmp_path: Path) -> None:
    assert doubt_charts(tmp_path, 50) == []
    (tmp_path / "listing_risk.csv").write_text("step,a,dpo\n10,0.1,\n50,0.2,0.1\n90,,0.3\n")
    (chart,) = doubt_charts(tmp_path, 50)
    assert [line.name for line in chart.lines] == ["a", "dpo"] and chart.x == "fields filled, %"
    assert [line.last for line in chart.lines] == ["0.2", "0.3"]

"""Progress where no terminal is: a line now and then, and one at the end, with count, unit and note."""

from __future__ import annotations

import pytest

from components.stage import progress
from components.stage.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that ``time.perf_counter`` says; tests set them."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def test_a_line_every_few_seconds_and_one_at_the_end(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    told = Progress("training", 1_000, "pairs")
    for step in range(1, 101):
        clock[0] = step * 0.2  # 20 s in all
        told.advance(10, f"loss {1 / step:.2f}")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4, "at 5, 10 and 15 s, and at the end"
    assert lines[0] == "training: 250/1,000 pairs, 50/s, 15 s left loss 0.04"
    assert lines[-1] == "training: 1,000/1,000 pairs, 50/s, 0 s left loss 0.01"


def test_progress_of_resumed_work_counts_from_where_it_was(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    told = Progress("training", 100)
    told.done = 90
    clock[0] = 2.0
    told.advance(10)
    assert capsys.readouterr().err.startswith("training: 100/100 items, ")

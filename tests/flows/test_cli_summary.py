"""What is printed at the end of a run fits 100 columns and says what the files say."""

from __future__ import annotations

import errno
import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from components.stage.record import Record, save_record
from flows.cli import guarded
from flows.display import Display, duration, memory
from flows.errors import StageFailedError
from flows.stages import StageResult
from flows.summary import budget_table, figure, print_summary, read_metrics


def printed(root: Path, results: list[StageResult]) -> str:
    out = StringIO()
    print_summary(Console(file=out, width=100), root, results, 12.3)
    return out.getvalue()


def test_results_budget_and_report(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    names = ["hits_at_1", "hits_at_5", "mrr", "ndcg_at_10", "recall_at_100", "pointing"]
    row = {name: {"value": 0.41234, "low": 0.4, "high": 0.42, "n": 1500} for name in names}
    cut = {name: {**row[name], "n": 879} for name in names[:2]}
    encoder = {"untrained": cut, "fine_tuned": row, "_tests": [{"metric": "mrr"}]}
    (tmp_path / "metrics" / "encoder.json").write_text(json.dumps(encoder))
    (tmp_path / "metrics" / "headline.json").write_text('{"encoder.mrr": 0.4}')
    (tmp_path / "metrics" / "broken.json").write_text("{")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "index.html").write_text("")
    record = Record(stage="a", status="finished", seconds=75.0, peak_memory_bytes=3 * 2**30)
    save_record(record, tmp_path / ".vitrine")
    text = printed(
        tmp_path, [StageResult("a", "cached"), StageResult("b", "ran", seconds=4, peak_memory_bytes=2**20)]
    )
    assert list(read_metrics(tmp_path)) == ["encoder"]
    assert all(len(line) <= 100 for line in text.splitlines())
    assert text.count("0.412 [0.400, 0.420]") == 8
    assert "n = 879–1,500" in text and "n = 1,500" in text and "–" in text
    assert "1 min 15 s" in text and "3.0 GiB" in text and "_tests" not in text
    assert str(tmp_path / "reports" / "index.html") in text.replace("\n", "")


def test_figures_without_interval_or_value() -> None:
    assert figure(None) == "–" and figure({"value": None}) == "–"
    assert figure({"value": 0.5, "low": None, "high": None}) == "0.500"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (59.7, "1 min 00 s"), (187, "3 min 07 s"), (7500, "2 h 05 min")],
)
def test_duration(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_memory() -> None:
    assert [memory(n) for n in (0, 5 * 2**20, 3 * 2**29)] == ["", "5 MiB", "1.5 GiB"]


def test_total_is_the_sum_of_this_run(tmp_path: Path) -> None:
    table = budget_table(
        tmp_path, [StageResult("a", "ran", seconds=2.0), StageResult("b", "failed", seconds=3.0)]
    )
    out = StringIO()
    Console(file=out, width=100).print(table)
    assert "5.0 s" in out.getvalue().splitlines()[-2]


def test_without_a_terminal_lines_are_plain() -> None:
    out = StringIO()
    display = Display(Console(file=out, width=100), ("a", "b"))
    with display:
        display.follow("a", 0.1, "train: [1/2]")
        display.ended(StageResult("a", "ran", seconds=3.0, peak_memory_bytes=2**20))
        display.ended(StageResult("b", "cached"))
    assert out.getvalue().splitlines() == ["a: running", "a: done  3.0 s  1 MiB", "b: cached"]


def test_exit_codes_and_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(error: BaseException) -> int:
        def command() -> None:
            raise error

        return guarded(command)

    assert fail(StageFailedError("s", "bad rows.", 3, Path("s.log"))) == 3
    assert capsys.readouterr().err == "error: Stage 's' failed: bad rows. (log: s.log)\n"
    assert fail(OSError(errno.ENOSPC, "No space left on device")) == 1
    assert "the disk is full" in capsys.readouterr().err
    assert fail(KeyboardInterrupt()) == 130 and fail(SystemExit(130)) == 130  # typer turns one into the other
    assert capsys.readouterr().err.count("error: interrupted; finished stages are kept") == 2
    assert fail(SystemExit(2)) == 2 and guarded(lambda: None) == 0

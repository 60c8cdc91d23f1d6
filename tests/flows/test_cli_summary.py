"""What is printed at the end of a run fits 100 columns and says what the files say."""

from __future__ import annotations

import errno
import json
from io import StringIO
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from components.report.budget import budget_table, duration, memory, memory_at_once, print_summary
from components.report.display import Display
from components.report.terminal import figure, read_metrics
from components.stage.left_out import write_note
from components.stage.record import Interval, Record, StageResult, save_record
from flows.cli import guarded
from flows.errors import StageFailedError


def printed(root: Path, results: list[StageResult], width: int = 100) -> str:
    """The end of a run whose stages make every file of metrics."""
    out, made = StringIO(), [path.stem for path in (root / "metrics").glob("*.json")]
    print_summary(Console(file=out, width=width), root, results, made, 12.3)
    return out.getvalue()


def test_a_summary_shows_results_budget_and_the_path_of_the_report(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    names = ["hits_at_1", "hits_at_5", "mrr", "ndcg_at_10", "recall_at_100", "pointing"]
    row = {name: {"value": 0.41234, "low": 0.4, "high": 0.42, "n": 1500} for name in names}
    cut = {name: {**row[name], "n": 879} for name in names[:2]}
    encoder = {"untrained": cut, "fine_tuned": row, "_tests": []}
    (tmp_path / "metrics" / "encoder.json").write_text(json.dumps(encoder))
    (tmp_path / "metrics" / "headline.json").write_text('{"encoder.mrr": 0.4}')
    (tmp_path / "metrics" / "broken.json").write_text("{")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "index.html").write_text("")
    record = Record(stage="a", status="finished", seconds=75.0, peak_memory_bytes=3 * 2**30)
    save_record(record, tmp_path / ".vitrine")
    ran = StageResult("report", "ran", seconds=4, peak_memory_bytes=2**20)
    text = printed(tmp_path, [StageResult("a", "cached"), ran])
    assert list(read_metrics(tmp_path)) == ["encoder"]
    assert all(len(line) <= 100 for line in text.splitlines())
    assert text.count("0.412 [0.400, 0.420]") == 8
    assert "n = 879–1,500" in text and "n = 1,500" in text and "–" in text
    assert "1 min 15 s" in text and "3.0 GiB" in text and "_tests" not in text
    assert str(tmp_path / "reports" / "index.html") in text.replace("\n", "")


def shop_of_two(root: Path) -> str:
    """A workspace with claims on two systems, one of them not measured yet; what its end prints."""

    def row(value: float, *names: str) -> dict[str, object]:
        return {
            name: {"value": value, "low": value - 0.02, "high": value + 0.02, "n": 1500} for name in names
        }

    def paired(metric: str, a: str, b: str, low: float, high: float) -> dict[str, object]:
        found = {"metric": metric, "a": a, "b": b, "difference": (low + high) / 2, "low": low, "high": high}
        return found | {"p": 0.5, "n": 1500}

    report: dict[str, object] = {}
    report["systems"] = {"listing": "dpo", "fusion": "moe_bilinear", "vlclip": "full"}
    report["headline"] = {"listing.completion": "listing.dpo.completion_rate"}
    report["retrieval"] = {"systems": {}}
    sentences = [
        ("listing", "dpo", "hallucination_rate", "below", "sft_refined"),
        ("listing", "dpo", "completion_rate", "not_below", "sft_refined"),
        ("listing", "sft_refined", "attribute_macro_f1", "above", "nearest_neighbour"),
        ("listing", "sft_refined", "attribute_macro_f1", "above", "sft_raw"),
        ("listing", "sft_refined", "constrained_attribute_macro_f1", "above", "nearest_neighbour"),
        ("fusion", "moe_bilinear", "ndcg_at_10", "above", "text_only"),
        ("vlclip", "full", "mrr", "above", "raw"),
    ]
    keys = ("system", "ours", "metric", "relation", "baseline")
    report["claims"] = [dict(zip(keys, each, strict=True)) for each in sentences]
    (root / "params.yaml").write_text(yaml.safe_dump({"report": report}))
    (root / "metrics").mkdir()
    long = "constrained_attribute_macro_f1"
    names = ("attribute_macro_f1", long, "hallucination_rate", "completion_rate", "title_bleu")
    variants = ("nearest_neighbour", "zero_shot", "sft_raw", "sft_refined", "dpo")
    listing: dict[str, object] = {variant: row(0.4, *names) for variant in variants}
    listing["_tests"] = [
        paired("hallucination_rate", "sft_refined", "dpo", 0.02, 0.06) | {"n": 999},
        paired("completion_rate", "dpo", "sft_refined", -0.03, -0.02),
        paired("attribute_macro_f1", "sft_refined", "nearest_neighbour", -0.01, 0.03),
    ]
    (root / "metrics" / "listing.json").write_text(json.dumps(listing))
    fusion = {variant: row(0.7, "ndcg_at_10") for variant in ("moe_bilinear", "text_only", "bm25")}
    fusion["_tests"] = [paired("ndcg_at_10", "moe_bilinear", "text_only", 0.01, 0.03)]  # type: ignore[assignment]
    (root / "metrics" / "fusion.json").write_text(json.dumps(fusion))
    (root / "metrics" / "fusion_study.json").write_text(json.dumps({"moe": row(0.7, "ndcg_at_10")}))
    return printed(root, [StageResult("a", "ran", seconds=1)])


def test_the_headline_says_of_each_claim_whether_it_holds(tmp_path: Path) -> None:
    text = shop_of_two(tmp_path)
    assert all(len(line) <= 100 for line in text.splitlines())
    table = text[text.index("Headline") : text.index("shown by a paired test")]
    lines = table.splitlines()
    found = [line.split() for line in lines if "0.4" in line or "0.7" in line]
    claims, below = found[::2], found[1::2]
    assert [words[-2:] for words in claims] == [
        ["−0.040", "✓*"],  # tested the other way round, and less is what was claimed
        ["−0.025", "✗"],
        ["+0.010", "○"],
        ["0.420]", "–"],
        ["0.420]", "–"],
        ["+0.020", "✓"],
    ]
    assert claims[0][:4] == ["listing", "dpo", "<", "sft_refined"]
    assert below[0] == ["hallucination_rate", "0.400", "[0.380,", "0.420]"]  # the baseline's figure
    assert below[4][0] == "constrained_attribute_macro_f1"
    assert "dpo ≥ sft_refined" in table and "moe_bilinear > text_only" in table
    assert text.index("Headline") < text.index("fusion, value and 95% interval")


def test_eighty_columns_hold_every_table_without_cutting_a_figure_or_a_name(tmp_path: Path) -> None:
    wide = shop_of_two(tmp_path)
    text = printed(tmp_path, [StageResult("a", "ran", seconds=281)], width=80)
    assert all(len(line.rstrip()) <= 80 for line in text.splitlines())
    assert "…" not in text and "sft_refined > nearest_neighbour" in text and "4 min 41 s" in text
    assert text.count("0.400 [0.380, 0.420]") == wide.count("0.400 [0.380, 0.420]")


def test_a_systems_table_keeps_to_what_the_headline_speaks_of(tmp_path: Path) -> None:
    text = shop_of_two(tmp_path)
    assert "title_bleu" not in text and "zero_shot" not in text and "bm25" not in text
    assert "fusion_study" not in text and "vlclip" not in text
    tables = text[text.index("value and 95% interval") : text.index("Budget")]
    assert {line.split()[0] for line in tables.splitlines() if "0.4" in line or "0.7" in line} == {
        *("dpo", "sft_refined", "sft_raw", "nearest_neighbour"),
        *("moe_bilinear", "text_only"),
    }


def test_a_figure_without_interval_is_a_number_and_none_a_dash() -> None:
    assert figure(None) == "–" and figure(Interval(value=0.5, n=4)) == "0.500"
    assert figure(Interval(value=1234.56, low=1200, high=1300, n=4)) == "1,234.6 [1,200.0, 1,300.0]"
    assert figure(Interval(value=10.2, low=9.8, high=11, n=4)) == "10.2 [9.8, 11.0]", (
        "alike, on both sides of 10"
    )


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (59.7, "1 min 00 s"), (187, "3 min 07 s"), (7500, "2 h 05 min")],
)
def test_durations_are_shown_in_seconds_minutes_or_hours(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_memory_is_shown_in_mib_or_gib() -> None:
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


def test_an_error_is_one_sentence_and_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
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


def test_memory_of_stages_at_work_together_is_added() -> None:
    gib = 2**30
    results = [
        StageResult("a", "ran", seconds=10, peak_memory_bytes=2 * gib, started=100),
        StageResult("b", "ran", seconds=5, peak_memory_bytes=gib, started=104),
        StageResult("c", "ran", seconds=5, peak_memory_bytes=2 * gib, started=111),
    ]
    assert memory_at_once(results) == 3 * gib
    assert memory_at_once([StageResult("a", "cached")]) == memory_at_once([]) == 0


def test_a_run_of_one_system_shows_no_figures_of_the_others(tmp_path: Path) -> None:
    shop_of_two(tmp_path)
    out = StringIO()
    print_summary(Console(file=out, width=100), tmp_path, [StageResult("x", "cached")], ["fusion"], 12.3)
    assert "moe_bilinear" in out.getvalue() and "sft_refined" not in out.getvalue()


def test_systems_that_were_left_out_are_named_with_the_reason(tmp_path: Path) -> None:
    for name in ("fusion", "listing"):
        write_note(tmp_path / f"metrics/{name}.json", "no [queries] \x1b[2J here.")
    skipped = StageResult("fuse", "ran", record={"left_out": "no queries here."})
    text = printed(tmp_path, [skipped])
    assert "Left out, fusion, listing: no [queries] \N{REPLACEMENT CHARACTER}[2J here." in text
    assert "left out" in text[text.index("fuse") :]
    out = StringIO()
    with Display(Console(file=out, width=100), ("fuse",)) as display:
        display.ended(skipped)
    assert "fuse: left out" in out.getvalue()

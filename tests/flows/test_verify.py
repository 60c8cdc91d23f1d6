"""``vitrine verify``: bit-identical, within the committed intervals, or not the same; and which figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from components.stage.errors import ConfigurationError, InvalidDataError
from components.tracking.compare.committed import verdict_of, verify
from flows.cli import app, guarded
from tests.flows.toy_workspace import command

FIGURE = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 100}
BARE = {"value": 3.0, "low": None, "high": None, "n": 7}
METRICS: dict[str, Any] = {"ours": {"mrr": FIGURE, "count": BARE}, "_tests": [{"a": "ours", "b": "theirs"}]}
STAGE = {
    "cmd": "train",
    "deps": [{"path": "data", "md5": "1"}],
    "params": {"params.yaml": {"rate": 1}},
    "outs": [{"path": "model", "md5": "2"}],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace with one committed figure that has an interval, and one that has none."""
    (tmp_path / "metrics").mkdir()
    write(tmp_path, METRICS, STAGE)
    (tmp_path / "metrics" / "headline.json").write_text('{"mrr": 0.5}')
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / ".dvc").mkdir()
    command(tmp_path, "git", "init", "-q", "-b", "main")
    command(tmp_path, "git", "add", "-A")
    command(tmp_path, "git", "commit", "-q", "-m", "figures")
    return tmp_path


def write(root: Path, metrics: dict[str, Any], stage: dict[str, Any]) -> None:
    (root / "metrics" / "toy.json").write_text(json.dumps(metrics))
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"train": stage}}))


def with_figures(**cells: Any) -> dict[str, Any]:
    return {**METRICS, "ours": {**METRICS["ours"], **cells}}


def vitrine(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str]:
    monkeypatch.chdir(root)
    code = guarded(lambda: app(["verify", *arguments]))
    return code, capfd.readouterr().out


def test_the_same_bytes_are_bit_identical(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code, said = vitrine(root, monkeypatch, capfd)
    assert code == 0 and said.startswith("Bit-identical") and len(said.splitlines()) == 1


def test_a_figure_within_its_interval_passes_and_the_stage_is_named(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write(
        root,
        with_figures(mrr={**FIGURE, "value": 0.55}),
        {**STAGE, "outs": [{"path": "model", "md5": "3"}]},
    )
    code, said = vitrine(root, monkeypatch, capfd)
    assert code == 0
    assert "train: outputs differ: model" in said and "inputs" not in said
    assert "toy.ours.mrr: 0.5000 [0.4000, 0.6000] -> 0.5500 (+5.00e-02): within" in said
    assert "1 figures differ, none lies outside" in said
    code, said = vitrine(root, monkeypatch, capfd, "--json")
    found = json.loads(said)
    assert (code, found["identical"], found["within"]) == (0, False, True)
    assert found["figures"][0]["change"] == pytest.approx(0.05) and found["outputs"] == {"train": ["model"]}


@pytest.mark.parametrize(
    "metrics",
    [
        with_figures(mrr={**FIGURE, "value": 0.61, "high": 0.9}),  # its own interval does not help it
        with_figures(mrr={**FIGURE, "value": None}),
        {"ours": {"count": BARE}},
        {"theirs": METRICS["ours"]},
    ],
)
def test_a_figure_outside_or_gone_is_exit_code_1(
    root: Path,
    metrics: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    write(root, metrics, STAGE)
    code, said = vitrine(root, monkeypatch, capfd)
    assert code == 1 and "NOT the same" in said and "toy.ours.mrr" in said


def test_a_missing_file_of_metrics_is_exit_code_1(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (root / "metrics" / "toy.json").unlink()
    assert vitrine(root, monkeypatch, capfd)[0] == 1


def test_a_figure_without_an_interval_is_told_and_not_judged(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write(root, with_figures(count={**BARE, "value": 4.0}), STAGE)
    code, said = vitrine(root, monkeypatch, capfd)
    assert code == 0 and "1 more differ and have no interval" in said


def test_other_inputs_are_named_beside_the_outputs_and_another_commit_can_be_asked(root: Path) -> None:
    write(root, METRICS, {**STAGE, "cmd": "train more", "params": {"params.yaml": {"rate": 2}}})
    command(root, "git", "commit", "-qam", "another rate")
    assert verify(root).identical and not verify(root).inputs
    found = verify(root, "HEAD~1")
    assert found.inputs == {"train": ("command", "params.yaml: rate")} and not found.outputs


def test_what_cannot_be_compared_is_said(root: Path) -> None:
    with pytest.raises(ConfigurationError, match="'nowhere' is no commit"):
        verify(root, "nowhere")
    (root / "metrics" / "toy.json").write_text("{")
    with pytest.raises(InvalidDataError, match=r"toy\.json is not valid JSON"):
        verify(root)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_figure_is_within_exactly_between_its_bounds(low: float, high: float, value: float) -> None:
    verdict = verdict_of(value, min(low, high), max(low, high))
    assert (verdict == "within") == (sorted([low, high, value])[1] == value)

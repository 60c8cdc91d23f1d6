"""``vitrine`` as a command: exit codes, what is refused, what is shown before anything runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components.tracking.__main__ import main as tracker
from flows.cli import app, guarded
from flows.errors import StageFailedError
from flows.run.locks import held
from tests.flows.toy_workspace import RUNNER, environment, make_workspace, rows, settings
from tests.in_process import Done, run_command


def vitrine(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=root, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip


def told(root: Path, *arguments: str) -> Done:
    """The same in this process, of commands that begin no run: without seconds of imports."""
    return run_command(root, lambda words: guarded(lambda: app(list(words))), *arguments)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("cli") / "toy")


@pytest.mark.slow
def test_a_failed_gate_ends_the_run_with_its_code_and_its_log_once_the_others_are_done(
    tmp_path: Path,
) -> None:
    root = make_workspace(tmp_path / "toy")
    settings(root, fail="gate")
    (root / "params.yaml").write_text(RUNNER.replace("at_once: 2", "at_once: 1"))  # so that note comes last
    failed = vitrine(root, "run")
    assert failed.returncode == 3, failed.stderr
    assert "error: Stage 'scale' failed: too many bad rows in out/make.json" in failed.stderr
    assert "Traceback" not in failed.stdout + failed.stderr
    log = Path(failed.stderr.partition("(log: ")[2].partition(")")[0])
    assert log.name == "scale.log" and "too many bad rows" in log.read_text()
    assert len(list((root / ".vitrine" / "records" / "scale").glob("*.json"))) == 1, (
        "a gate is not tried again"
    )
    assert (root / "out/note.txt").exists(), "what does not read from it goes on"
    assert not (root / "metrics/toy.json").exists()


def test_dry_run_says_what_and_why_and_runs_nothing(root: Path) -> None:
    settings(root, start=2, factor=7)
    before = sorted((root / ".vitrine" / "records").rglob("*.json"))
    shown = told(root, "run", "--dry-run", "--until", "sum")
    assert shown.returncode == 0, shown.stderr
    assert "toy.start modified" in rows(shown.stdout, "why")["make"] or "not computed yet" in shown.stdout
    assert "here" in rows(shown.stdout, "why")["sum"] and "gpu" not in shown.stdout
    assert "runs" in rows(shown.stdout, "why")["sum"] and "note" not in rows(shown.stdout, "why")
    assert sorted((root / ".vitrine" / "records").rglob("*.json")) == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "fusion"], "No stage of dvc.yaml belongs to system 'fusion'"),
        (["run", "scale"], "'scale' is a stage, not a system; run it with: vitrine run --until scale"),
        (["run", "[/x]"], "belongs to system '[/x]'"),
        (["run", "--set", "[/x]=1"], "--set [/x]: unknown key"),
        (["run", "--[/x]"], "No such option: --[/x]"),
        (["run", "opal", "--from", "scale"], "'scale' is no stage of system 'opal'; known: make."),
        (["run", "al"], "belongs to system 'al'; did you mean all?"),
        (["run", "--profile", "nowhere"], "There is no profile 'nowhere' (profiles: small)"),
        (["run", "--set", "runner.gpu.timeout=3"], "did you mean timeout_s?"),
        (["search"], "Nothing to search for"),
        (["similar", "p1", "--profile", "small"], "Profile 'small' has not run here"),
        (["run", "--frm"], "No such option"),
    ],
)
def test_impossible_arguments_are_configuration_errors(
    root: Path, arguments: list[str], sentence: str
) -> None:
    refused = told(root, *arguments)
    assert refused.returncode == 2 and sentence in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "module", "handed_on"),
    [
        (
            ["search", "red", "mug", "--where", "colour=navy", "--where", "price<50", "--k", "3", "--json"],
            "components.search",
            ["--k=3", "--where=colour=navy", "--where=price<50", "--json", "--", "red mug"],
        ),
        (
            ["search", "--image", "toy.yaml", "--system", "encoder"],
            "components.search",
            ["--k=10", "--image={root}/toy.yaml", "--system=encoder", "--"],
        ),
        (["similar", "P1"], "components.search", ["--like=P1", "--k=10"]),
        (
            ["describe", "toy.yaml", "--category", "kitchen", "--precision", "0"],
            "components.opal.describe",
            ["--category=kitchen", "--precision=0.0", "--", "{root}/toy.yaml"],
        ),
    ],
)
def test_what_is_asked_reaches_the_component_that_answers(
    root: Path, arguments: list[str], module: str, handed_on: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr("flows.importing.passed_on", lambda _, command: started.append(command))
    monkeypatch.chdir(root)
    assert guarded(lambda: app(arguments)) == 0
    assert started == [[sys.executable, "-m", module, *(word.format(root=root) for word in handed_on)]]


def test_help_of_search_lists_all_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(lambda: app(["search", "--help"])) == 0
    told = capsys.readouterr().out
    for option in ("--where", "--weights", "--system", "--image", "--json"):
        assert option in told


@pytest.mark.parametrize(
    ("words", "lock", "sentence"),
    [
        (["--until", "sacle"], "workspace", "'sacle' is no stage; did you mean scale?"),
        (["encodr"], "workspace", "belongs to system 'encodr'; did you mean encoder?"),
        (["--profile", "smal"], "smal", "There is no profile 'smal'"),
    ],
)
def test_what_is_misspelt_is_told_without_waiting_for_another_run(
    root: Path, words: list[str], lock: str, sentence: str
) -> None:
    with held(root / f".vitrine/locks/run-{lock}", "a run", 0, print):
        refused = told(root, "run", *words, "--lock-timeout", "0")
    assert refused.returncode == 2 and sentence in refused.stderr


def test_a_profile_that_has_not_run_names_those_that_have(root: Path) -> None:
    (root / ".vitrine/work/shop").mkdir(parents=True)
    (root / ".vitrine/work/shop/dvc.yaml").touch()
    try:
        assert "'shpo' has not run here (shop did)" in told(root, "similar", "p1", "--profile", "shpo").stderr
        assert "ask with --profile shop" in told(root, "search", "red mug").stderr
    finally:
        shutil.rmtree(root / ".vitrine/work/shop")


def test_the_tracker_tells_the_usage_of_the_command_that_was_typed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        tracker(["compare", "a"])
    told = capsys.readouterr().err
    assert "usage: vitrine compare" in told and "components" not in told


def test_a_wrong_parameter_file_stops_before_anything_runs(root: Path) -> None:
    (root / "params.yaml").write_text(RUNNER + "catalogue: {}\n")
    try:
        done = told(root, "run")
    finally:
        (root / "params.yaml").write_text(RUNNER)
    assert done.returncode == 2 and "unknown block 'catalogue', did you mean catalog?" in done.stderr


def test_a_run_outside_a_workspace_git_or_dvc_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = told(tmp_path, "run")
    assert nowhere.returncode == 2 and "no dvc.yaml upwards" in nowhere.stderr
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    no_git = told(tmp_path, "run")
    assert no_git.returncode == 2 and "is no git repository" in no_git.stderr
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    no_dvc = told(tmp_path, "run")
    assert no_dvc.returncode == 2 and "is no DVC workspace" in no_dvc.stderr and "dvc init" in no_dvc.stderr


def test_a_workspace_in_use_names_the_process(root: Path) -> None:
    with held(root / ".vitrine" / "locks" / "run-workspace", "w", 0.0, print):
        done = told(root, "run", "--lock-timeout", "0")
    assert done.returncode == 1 and "is in use by process" in done.stderr


def test_only_a_crash_is_worth_another_try() -> None:
    from prefect.states import Failed

    from flows.run.pipeline import worth_another_try

    for exit_code, again in ((1, True), (2, False), (3, False), (4, False)):
        failed = Failed(data=StageFailedError("scale", "x.", exit_code))
        assert worth_another_try(None, None, failed) is again

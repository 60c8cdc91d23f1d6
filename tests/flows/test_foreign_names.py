"""Names from outside (a command line, Prefect) never become a path or an option they should not be."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from components.parameters.profiles import checked_name
from components.stage.errors import ConfigurationError
from components.stage.record import StageResult
from flows.errors import RunnerError, WorkspaceError
from flows.importing import ImportRequest, import_source
from flows.options import RunRequest
from flows.profiles import run_lock, worktree_path
from flows.remote.gpu_stage import execute
from flows.remote.handover import Handover, check_out
from flows.remote.runner import _keep
from flows.run.command import run
from flows.run.stages import StageJob

BAD_NAMES = ("../x", "..", ".", "", "/tmp/x", "a/b", "small\n", "-x", "a b")


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_profiles_name_is_a_plain_one(tmp_path: Path, name: str) -> None:
    for call in (checked_name, lambda n: worktree_path(tmp_path, n), lambda n: run_lock(tmp_path, n)):
        with pytest.raises(ConfigurationError, match="is no profile name"):
            call(name)


def test_nothing_is_written_for_a_profile_that_cannot_be(tmp_path: Path) -> None:
    root = tmp_path / "a/b/c"
    root.mkdir(parents=True)
    (tmp_path / "m.yaml").write_text("")
    for name in ("x/../../../../../../evil", "../evil"):
        with pytest.raises(ConfigurationError):
            run(root, RunRequest(profile=name), Console(quiet=True))
        with pytest.raises(ConfigurationError):
            import_source(root, ImportRequest(tmp_path, tmp_path / "m.yaml"), name, Console(quiet=True))
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "b", "c", "m.yaml"]


@pytest.mark.parametrize("run_id", ["../../../x", "/tmp/x", "", "..", "a/b"])
def test_a_runs_id_is_one_folder_of_the_logs(tmp_path: Path, run_id: str) -> None:
    assert StageJob(tmp_path, "make", run_id).log.parents[1] == tmp_path / ".vitrine/logs"
    assert StageJob(tmp_path, "make", "0-ab").log == tmp_path / ".vitrine/logs/0-ab/make.log"


@pytest.mark.parametrize("commit", ["--output=evil", "HEAD", "", "a" * 39, "A" * 40, "a" * 40 + "\n"])
def test_a_runner_takes_commits_alone(tmp_path: Path, commit: str) -> None:
    with pytest.raises(WorkspaceError, match="is no commit"):
        check_out(tmp_path, commit)


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/../../b"])
def test_a_runner_takes_no_stage_outside_the_clone(tmp_path: Path, name: str) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    with pytest.raises(WorkspaceError, match="is no stage"):
        execute(Handover(name, "a" * 40, {}, ["x"]), StageJob(clone, name, "run"))
    assert not list(clone.rglob("*"))


@pytest.mark.parametrize("name", ["../x", "a'b", "", "A" * 32])
def test_a_runners_record_goes_under_its_own_id(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunnerError, match="has the id"):
        _keep(StageJob(tmp_path, "make", "run"), StageResult("make", "ran", record={"id": name}))
    _keep(StageJob(tmp_path, "make", "run"), StageResult("make", "ran", record={"id": "0" * 32}))
    assert [p.stem for p in (tmp_path / ".vitrine/records/make").iterdir()] == ["0" * 32]


def test_a_warning_of_the_tracker_is_printed_literally(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.run import command

    told: Any = SimpleNamespace(warnings=["MLflow said [/red] and [link=x]"])
    monkeypatch.setattr("components.tracking.publish.publish.link_cached", lambda *_: None)
    monkeypatch.setattr("components.tracking.publish.publish.pending", lambda _: True)
    monkeypatch.setattr("components.tracking.publish.publish.publish", lambda _: told)
    console = Console(width=200, record=True, quiet=False)
    command.record(tmp_path, "id", [], console)
    assert "MLflow said [/red] and [link=x]" in console.export_text()

"""What is handed to a runner's clone: the working tree as a commit, the fingerprint."""

from __future__ import annotations

import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.repo import Repo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from components.parameters.runner import RunnerParams
from components.stage.errors import ConfigurationError
from components.stage.params import validate
from flows.errors import RunnerInputError, WorkspaceError
from flows.garbage import Cleaning, collect
from flows.remote.handover import check_out, current_fingerprint, differences, prepare, withdraw
from flows.remote.pipeline_run import newest_commit

GRAPH: dict[str, Any] = {
    "stages": {
        "prepare": {"cmd": "cp source.txt prepared.txt", "deps": ["source.txt"], "outs": ["prepared.txt"]},
        "train": {
            "cmd": "cp prepared.txt model.txt",
            "deps": ["prepared.txt", "code"],
            "params": ["rate"],
            "outs": ["model.txt"],
        },
        "sweep": {
            "matrix": {"size": ["small", "large"]},
            "cmd": "cp prepared.txt ${item.size}.txt",
            "deps": ["prepared.txt"],
            "outs": ["${item.size}.txt"],
        },
        "uncached": {
            "cmd": "true",
            "deps": ["source.txt"],
            "outs": [{"metrics.json": {"cache": False}}],
        },
        "persistent": {"cmd": "true", "deps": ["source.txt"], "outs": [{"state": {"persist": True}}]},
        "no_inputs": {"cmd": "true", "outs": ["random.txt"]},
        "local": {"cmd": "true", "deps": ["ignored.txt"], "outs": ["local.txt"]},
    }
}


def call(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def commit(root: Path) -> str:
    call("git", "add", "--all", cwd=root)
    call("git", "-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "-qm", "A change", cwd=root)
    return call("git", "rev-parse", "HEAD", cwd=root).strip()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "toy"
    root.mkdir()
    call("git", "init", "-q", "-b", "main", cwd=root)
    Repo.init(str(root)).close()
    (root / "code").mkdir()
    (root / "code" / "train.py").write_text("print(1)\n")
    (root / "source.txt").write_text("source\n")
    (root / "ignored.txt").write_text("only here\n")
    (root / "params.yaml").write_text("rate: 1\nother: 1\n")
    (root / "dvc.yaml").write_text(yaml.safe_dump(GRAPH))
    (root / ".gitignore").write_text("ignored.txt\n*.pyc\n/prepared.txt\n")
    call(sys.executable, "-m", "dvc", "repro", "-q", "prepare", cwd=root)
    commit(root)
    return root


@pytest.fixture
def workspace(made: Path, tmp_path: Path) -> Path:
    """A workspace that no git remote knows."""
    call("cp", "-r", str(made), str(tmp_path / "workspace"), cwd=tmp_path)
    return tmp_path / "workspace"


@pytest.fixture
def clone(workspace: Path, tmp_path: Path) -> Path:
    call("git", "clone", "-q", str(workspace), str(tmp_path / "clone"), cwd=tmp_path)
    return tmp_path / "clone"


def files(root: Path) -> dict[str, bytes]:
    names = call("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=root).split("\0")
    return {name: (root / name).read_bytes() for name in names if name and (root / name).exists()}


def test_a_clone_becomes_the_working_tree_and_what_the_last_one_brought_is_gone(
    workspace: Path, clone: Path
) -> None:
    staged = call("git", "status", "--porcelain", cwd=workspace)
    (workspace / "params.yaml").write_text("rate: 2\nother: 1\n")
    (workspace / "code" / "new.py").write_text("untracked, but an input\n")
    (workspace / "code" / "picture.bin").write_bytes(bytes(range(256)))
    (workspace / "notes.txt").write_text("untracked, and no input\n")
    first = prepare("train", workspace)
    assert first.pushed == ["prepared.txt"] and call("git", "diff", "--cached", cwd=workspace) == "" == staged
    check_out(clone, first.commit)
    assert files(clone) == {name: data for name, data in files(workspace).items() if name != "notes.txt"}

    (workspace / "code" / "new.py").unlink()
    (workspace / "code" / "train.py").unlink()
    (workspace / "code" / "other.py").write_text("x = 1\n")
    (clone / "params.yaml").write_text("somebody edited the clone\n")
    second = prepare("train", workspace)
    check_out(clone, second.commit)
    assert files(clone) == {name: data for name, data in files(workspace).items() if name != "notes.txt"}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.binary(max_size=80), min_size=1, max_size=3))
def test_any_contents_arrive_byte_for_byte(workspace: Path, clone: Path, texts: list[bytes]) -> None:
    for old in (workspace / "code").glob("wild-*"):
        old.unlink()
    for number, text in enumerate(texts):
        (workspace / "code" / f"wild-{number} ü.txt").write_bytes(text)
    handover = prepare("train", workspace)
    check_out(clone, handover.commit)
    found = {path.name: path.read_bytes() for path in (clone / "code").iterdir()}
    assert found == {path.name: path.read_bytes() for path in (workspace / "code").iterdir()}


def test_what_nobody_pushed_arrives_through_a_hidden_ref_that_is_taken_back(
    made: Path, tmp_path: Path
) -> None:
    origin = tmp_path / "origin.git"
    call("git", "clone", "-q", "--bare", str(made), str(origin), cwd=tmp_path)
    call("git", "clone", "-q", str(origin), str(tmp_path / "workspace"), cwd=tmp_path)
    call("git", "clone", "-q", str(origin), str(tmp_path / "clone"), cwd=tmp_path)
    workspace, clone = tmp_path / "workspace", tmp_path / "clone"
    (workspace / "prepared.txt").write_text("source\n")
    (workspace / "code" / "train.py").write_text("committed, not pushed\n")
    head = commit(workspace)
    (workspace / "params.yaml").write_text("rate: 9\nother: 1\n")
    branches = call("git", "branch", "--all", cwd=workspace)
    handover = prepare("train", workspace)
    check_out(clone, handover.commit)
    assert (clone / "code" / "train.py").read_text() == "committed, not pushed\n"
    assert (clone / "params.yaml").read_text() == "rate: 9\nother: 1\n"
    assert call("git", "branch", "--all", cwd=workspace) == branches
    assert call("git", "rev-parse", "HEAD", cwd=workspace).strip() == head
    for root in (workspace, origin):
        assert call("git", "for-each-ref", "refs/vitrine", cwd=root)
    withdraw(workspace, handover.commit)
    for root in (workspace, origin):
        assert not call("git", "for-each-ref", "refs/vitrine", cwd=root)


def test_gc_takes_back_what_a_killed_run_left_for_a_runner(made: Path, tmp_path: Path) -> None:
    origin, workspace = tmp_path / "origin.git", tmp_path / "workspace"
    call("git", "clone", "-q", "--bare", str(made), str(origin), cwd=tmp_path)
    call("git", "clone", "-q", str(origin), str(workspace), cwd=tmp_path)
    (workspace / "prepared.txt").write_text("source\n")
    other = prepare("train", workspace).commit  # of another clone, as far as this one knows
    call("git", "update-ref", "-d", f"refs/vitrine/{other}", cwd=workspace)
    (workspace / "params.yaml").write_text("rate: 9\nother: 1\n")
    left = prepare("train", workspace).commit
    out = StringIO()
    collect(workspace, Cleaning(dry_run=True), Console(file=out, width=200))
    assert f"would delete a working tree for a runner (commit {left[:10]})" in out.getvalue()
    origin.rename(tmp_path / "away.git")
    collect(workspace, Cleaning(), Console(file=out, width=200))
    assert f"Commit {left[:10]} stays" in out.getvalue()
    assert left in call("git", "for-each-ref", "refs/vitrine", cwd=workspace)
    (tmp_path / "away.git").rename(origin)
    collect(workspace, Cleaning(), Console(quiet=True))
    assert not call("git", "for-each-ref", "refs/vitrine", cwd=workspace)
    assert call("git", "for-each-ref", "--format=%(objectname)", "refs/vitrine", cwd=origin).split() == [
        other
    ]


def test_a_remote_that_takes_no_commit_is_said(workspace: Path, clone: Path, tmp_path: Path) -> None:
    call("git", "remote", "set-url", "origin", str(tmp_path / "gone"), cwd=clone)
    (clone / "prepared.txt").write_text("source\n")
    with pytest.raises(WorkspaceError, match="cannot be pushed to a hidden ref"):
        prepare("train", clone)


def test_the_fingerprint_names_what_differs(workspace: Path) -> None:
    before = prepare("train", workspace).fingerprint
    (workspace / "params.yaml").write_text("rate: 1\nother: 2\n")
    assert current_fingerprint("train", workspace) == before, "a parameter the stage does not read"
    (workspace / "params.yaml").write_text("rate: 2\nother: 2\n")
    (workspace / "code" / "train.py").write_text("print(2)\n")
    after = current_fingerprint("train", workspace)
    assert differences(before, after) == ["input code", "parameter rate of params.yaml"]


def test_the_fingerprint_does_not_depend_on_the_folder_one_stands_in(workspace: Path, clone: Path) -> None:
    handover = prepare("sweep@small", workspace)
    check_out(clone, handover.commit)
    (clone / "prepared.txt").write_text("source\n")
    assert Path.cwd() not in (clone, workspace)
    assert current_fingerprint("sweep@small", clone) == handover.fingerprint


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("uncached", "metrics.json with `cache: false`"),
        ("persistent", "state of stage 'persistent' is persistent"),
        ("no_inputs", "declares no inputs"),
        ("local", "neither in git nor in DVC"),
        ("nonesuch", "no stage 'nonesuch'"),
        ("sweep", "no stage 'sweep'"),
    ],
)
def test_a_stage_that_cannot_run_elsewhere_is_refused(workspace: Path, stage: str, said: str) -> None:
    with pytest.raises(WorkspaceError, match=said) as refused:
        prepare(stage, workspace)
    assert refused.value.exit_code == 2


def test_a_missing_input_is_named(workspace: Path) -> None:
    (workspace / "prepared.txt").unlink()
    with pytest.raises(RunnerInputError, match=r"prepared\.txt") as missing:
        prepare("train", workspace)
    assert missing.value.exit_code == 4


def test_a_commit_that_nobody_has_is_said(workspace: Path, clone: Path) -> None:
    with pytest.raises(WorkspaceError, match="same git remote"):
        check_out(clone, "1" * 40)


def test_a_pipeline_runs_at_the_newest_commit_of_a_branch_of_the_origin(workspace: Path, clone: Path) -> None:
    before = newest_commit(clone, "HEAD")
    (workspace / "source.txt").write_text("newer\n")
    newer = commit(workspace)
    assert newest_commit(clone, "main") == newest_commit(clone, "HEAD") == newer != before
    assert newest_commit(clone, before) == before
    with pytest.raises(WorkspaceError):
        newest_commit(clone, "--output=evil")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"work_pool": "gpu"}, "both"),
        ({"deployment": "gpu-stage/gpu"}, "both"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"worker_timeout_s": -1}, "worker_timeout_s"),
        ({"workpool": "gpu"}, "workpool"),
    ],
)
def test_wrong_runner_parameters_are_refused(changes: dict[str, Any], said: str) -> None:
    values = {"work_pool": None, "deployment": None, "timeout_s": 1.0, "worker_timeout_s": 1.0}
    assert validate(RunnerParams, {"stages_at_once": 1, "gpu": values}, "runner").gpu.deployment is None
    with pytest.raises(ConfigurationError, match=said):
        validate(RunnerParams, {"stages_at_once": 1, "gpu": {**values, **changes}}, "runner")

"""``vitrine gc`` takes what is old and can be had again, says so before, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from components.parameters.profiles import OVERRIDE, overrides_name
from flows.garbage import Cleaning, collect, make_plan, old_state
from flows.overrides import is_override, overrides
from flows.profiles import commit_worktree, worktree_path
from flows.workspace import git
from tests.flows.toy_workspace import command, make_workspace

NOW, DAY = 1_700_000_000.0, 86_400.0
OLD = "set-0123abcd"  # as --set names a worktree
HASHES = {
    name: f"{number:a>32x}" for number, name in enumerate(("ours", "old", "lost", "remote", "source"), 16)
}


def put(path: Path, days_old: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    os.utime(path, (NOW - days_old * DAY,) * 2)
    os.utime(path.parent, (NOW - 30 * DAY,) * 2)
    return path


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A workspace with state of today and of a month ago, and two worktrees."""
    state = tmp_path / ".vitrine"
    put(state / "logs/old.log", 30)
    put(state / "logs/new.log", 1)
    put(state / "resume/encoder/old-key/state.pt", 30)
    put(state / "resume/encoder/new-key/settings.json", 30)
    put(state / "resume/encoder/new-key/state.pt", 1)
    put(state / "records/encoder/run.json", 30)
    put(state / "cache/vectors", 1)
    for name in ("fashion", OLD):
        put(state / "work" / name / ".git", 30)
    put(state / f"work/{OLD}/.vitrine/logs/old.log", 30)
    (state / "work/no-worktree").mkdir()
    return tmp_path


def names(root: Path, paths: list[Path]) -> list[str]:
    return sorted(str(path.relative_to(root / ".vitrine")) for path in paths)


def test_old_logs_and_dead_resume_state_go_and_a_run_under_way_keeps_its_own(state: Path) -> None:
    found = names(state, list(old_state(state, NOW - 7 * DAY, caches=False)))
    assert found == ["logs/old.log", "resume/encoder/old-key", f"work/{OLD}/.vitrine/logs/old.log"]


def test_state_of_a_worktree_that_goes_is_not_counted_twice(state: Path) -> None:
    found = names(
        state,
        list(
            old_state(state, NOW - 7 * DAY, caches=False, without=list((state / ".vitrine/work").glob("*")))
        ),
    )
    assert found == ["logs/old.log", "resume/encoder/old-key"]


def test_caches_are_deleted_only_when_asked_for_and_records_never(state: Path) -> None:
    with_caches = names(state, list(old_state(state, NOW - 7 * DAY, caches=True)))
    assert "cache/vectors" in with_caches
    assert not any(name.startswith("records") for name in with_caches)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the profiles small, dataset-v2, asset-x and one that is called as an override is."""
    root = make_workspace(tmp_path_factory.mktemp("garbage") / "toy")
    for name in ("dataset-v2", "asset-x", "set-20240101"):
        shutil.copy(root / "conf/small.yaml", root / f"conf/{name}.yaml")
    command(root, "git", "add", "-A")
    command(root, "git", "commit", "-q", "-m", "more profiles")
    return root


@pytest.fixture
def root(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(
        "flows.garbage.cache_folder", lambda root: root / ".dvc/cache"
    )  # DVC says so too, in 1 s
    return Path(shutil.copytree(toy, tmp_path / "toy", symlinks=True))


def worktree(root: Path, name: str, results: str = "", committed: bool = True) -> Path:
    """A worktree as a run leaves it, with a dvc.lock that names ``results``, last used long ago."""
    work = worktree_path(root, name)
    git(root, "worktree", "add", "-q", "-b", f"profile/{name}", str(work))
    with (work / "params.yaml").open("a") as params:
        params.write("# changed\n")
    lock(work, results)
    if committed:
        commit_worktree(work, f"Results of profile {name}")
    os.utime(work / "dvc.lock", (NOW, NOW))
    return work


def lock(root: Path, *hashes: str) -> None:
    outs = "".join(f"\n    - path: out/{one}\n      hash: md5\n      md5: {one}" for one in hashes if one)
    (root / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n  make:\n    cmd: x\n    outs:{outs or ' []'}\n")


def cached(root: Path, *hashes: str) -> list[Path]:
    files = [root / ".dvc/cache/files/md5" / one[:2] / one[2:] for one in hashes]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    return files


def run(root: Path, **options: bool) -> str:
    out = StringIO()
    collect(root, Cleaning(days=0.0, **options), Console(file=out, width=200))
    return out.getvalue()


def test_only_names_that_set_makes_are_names_of_overrides() -> None:
    made = overrides_name(["a.b=1"])
    assert OVERRIDE.fullmatch(made) and OVERRIDE.fullmatch(f"small-{made}")
    for name in ("dataset-v2", "asset-x", "set-1", "dataset-0123abcd", "set-0123abcd-x", "set-0123ABCD"):
        assert not OVERRIDE.fullmatch(name)


def test_profiles_are_no_overrides_whatever_they_are_called(root: Path) -> None:
    for name in ("small", "dataset-v2", "asset-x", "set-20240101"):
        worktree(root, name)
    git(root, "branch", "set-0123abce")  # not under profile/
    assert overrides(root) == []
    before = git(root, "worktree", "list"), git(root, "branch")
    run(root)
    run(root, force=True)
    assert (git(root, "worktree", "list"), git(root, "branch")) == before
    # Its file may be on its own branch alone.
    git(root, "rm", "-q", "conf/set-20240101.yaml")
    shutil.rmtree(root / ".vitrine/work/set-20240101")
    assert not is_override(root, "set-20240101")


def test_a_dry_run_tells_exactly_what_a_run_then_does(root: Path) -> None:
    worktree(root, "dataset-v2", HASHES["ours"])
    work = worktree(root, OLD, HASHES["old"])
    files = cached(root, HASHES["ours"], HASHES["old"], HASHES["lost"])
    told = run(root, dry_run=True)
    assert work.exists() and all(file.exists() for file in files)
    assert f"would delete {work} " in told and "would delete cache objects that a commit" in told
    assert run(root) == told.replace("would delete", "delete")
    assert not work.exists() and [file.exists() for file in files] == [True, False, True]
    assert "dataset-v2" not in told


def test_the_results_of_an_override_stay_committed_unless_forced(root: Path) -> None:
    worktree(root, OLD, HASHES["old"])
    assert f"keep branch profile/{OLD}: nothing else holds its commit" in run(root)
    assert HASHES["old"] in git(root, "show", f"profile/{OLD}:dvc.lock")
    assert f"delete branch profile/{OLD}" in run(root, force=True)
    assert not git(root, "branch", "--list", f"profile/{OLD}")


def test_a_branch_goes_with_its_worktree_where_another_holds_its_commit(root: Path) -> None:
    worktree(root, OLD)
    git(root, "branch", "kept", f"profile/{OLD}")
    run(root)
    assert not git(root, "branch", "--list", f"profile/{OLD}") and git(root, "branch", "--list", "kept")


def test_a_commit_that_only_another_old_override_holds_needs_force(root: Path) -> None:
    worktree(root, OLD)
    git(root, "branch", "profile/set-0123abce", f"profile/{OLD}")
    run(root)
    assert len(git(root, "branch", "--list", "profile/set-*").split()) == 2


def test_uncommitted_results_need_force(root: Path) -> None:
    work = worktree(root, OLD, HASHES["lost"], committed=False)
    files = cached(root, HASHES["lost"])
    assert f"keep {work}: it holds results or changes that are not committed" in run(root)
    assert work.exists() and files[0].exists()
    run(root, force=True)
    assert not work.exists() and not files[0].exists()


def test_a_commit_that_no_branch_holds_needs_force(root: Path) -> None:
    work = worktree(root, OLD)
    git(work, "checkout", "-q", "--detach")
    git(
        work,
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.org",
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "x",
    )
    assert f"keep {work}: its commit is on no branch" in run(root)
    assert work.exists()


def test_records_that_mlflow_lacks_need_force(root: Path) -> None:
    work = worktree(root, OLD)
    put(work / ".vitrine/records/make/0.json", 30)
    assert "MLflow does not hold its records yet" in run(root)
    assert work.exists()


def test_a_young_override_keeps_its_data(root: Path) -> None:
    work = worktree(root, OLD, HASHES["ours"])
    files = cached(root, HASHES["ours"])
    plan = make_plan(root, NOW - 1, force=True)
    assert plan.worktrees == plan.objects == [] and work.exists() and files[0].exists()


def test_objects_that_nothing_describes_need_force(root: Path) -> None:
    files = cached(root, HASHES["lost"])
    told = run(root)
    assert "keep cache objects that no remote holds" in told and "--force" in told and files[0].exists()
    run(root, force=True)
    assert not files[0].exists()


def test_an_older_commit_is_enough_to_compute_again_but_not_for_sources(root: Path) -> None:
    lock(root, HASHES["old"])
    pointer = root / "files.dvc"
    pointer.write_text(f"outs:\n- md5: {HASHES['source']}\n  path: files\n")
    command(root, "git", "add", "-A")
    command(root, "git", "commit", "-q", "-m", "results")
    old, source = cached(root, HASHES["old"], HASHES["source"])
    assert "Nothing to delete." in run(root, force=True), "a branch needs both"
    lock(root)
    pointer.unlink()
    command(root, "git", "add", "-A")
    command(root, "git", "commit", "-q", "-m", "others")
    assert "delete cache objects that a commit says how to compute: 1" in run(root)
    assert not old.exists() and source.exists()


def test_what_a_folder_holds_is_needed_with_it_and_a_broken_lock_keeps_what_it_names(root: Path) -> None:
    folder = f"{5:a>32x}.dir"
    listing, inside, other = cached(root, folder, HASHES["ours"], HASHES["lost"])
    listing.write_text(json.dumps([{"md5": HASHES["ours"], "relpath": "a"}]))
    (root / "dvc.lock").write_text(f"<<<<<<< ours\n md5: {folder}\n=======\n md5: {HASHES['lost']}\n")
    assert "Nothing to delete." in run(root, force=True)
    assert listing.exists() and inside.exists() and other.exists()


def test_tags_detached_heads_and_other_working_trees_need_their_data(root: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("old", "remote", "source")):
        git(root, "checkout", "-q", "--detach", "main")
        lock(root, HASHES[name])
        command(root, "git", "add", "-A")
        command(root, "git", "commit", "-q", "-m", name)
        if number == 0:
            git(root, "tag", "release")
        if number == 1:
            git(root, "worktree", "add", "-q", "--detach", str(tmp_path / "elsewhere"))
    lock(tmp_path / "elsewhere", HASHES["lost"])  # not committed there
    files = cached(root, *HASHES.values())
    run(root, force=True)
    kept = [name for name, file in zip(HASHES, files, strict=True) if file.exists()]
    assert kept == ["old", "lost", "remote", "source"]


def test_what_a_remote_holds_can_go(root: Path, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    (remote / "files/md5" / HASHES["remote"][:2]).mkdir(parents=True)
    (remote / "files/md5" / HASHES["remote"][:2] / HASHES["remote"][2:]).write_text("x")
    (root / ".dvc/config.local").write_text(
        f"['remote \"store\"']\n    url = {remote}\n['remote \"gone\"']\n    url = s3://nowhere\n"
    )
    there, lost = cached(root, HASHES["remote"], HASHES["lost"])
    told = run(root)
    assert "delete cache objects that a DVC remote holds: 1" in told and not there.exists() and lost.exists()


def test_the_cache_is_no_remote_of_itself(root: Path) -> None:
    (root / ".dvc/config.local").write_text(f"['remote \"store\"']\n    url = {root}/.dvc/cache\n")
    files = cached(root, HASHES["lost"])
    run(root)
    assert files[0].exists()


def test_dvc_at_work_is_not_disturbed(root: Path) -> None:
    from components.tracking.lineage.repair import dvc_stands_still
    from flows.errors import LockHeldError

    with dvc_stands_still(root), pytest.raises(LockHeldError, match="DVC is at work"):
        run(root)


def test_age_is_of_the_commit_where_the_worktree_is_gone(root: Path) -> None:
    work = worktree(root, OLD)
    git(root, "worktree", "remove", str(work))
    assert make_plan(root, time.time() - DAY, force=True).branches == []
    assert [one.name for one in make_plan(root, time.time() + DAY, force=True).branches] == [OLD]


def test_what_git_has_locked_or_checked_out_elsewhere_stays(root: Path, tmp_path: Path) -> None:
    work = worktree(root, OLD)
    git(root, "worktree", "lock", str(work))
    assert f"{work} stays: git keeps it locked" in run(root, force=True) and work.exists()
    git(root, "worktree", "unlock", str(work))
    git(work, "checkout", "-q", "--detach")
    git(root, "worktree", "add", "-q", str(tmp_path / "elsewhere"), f"profile/{OLD}")
    assert f"Branch profile/{OLD} stays" in run(root, force=True)
    assert not work.exists() and git(root, "branch", "--list", f"profile/{OLD}")


def test_a_repository_without_a_commit_has_nothing_to_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.garbage.cache_folder", lambda root: root / ".dvc/cache")
    command(tmp_path, "git", "init", "-q")
    assert make_plan(tmp_path, time.time(), force=True).deleted == []

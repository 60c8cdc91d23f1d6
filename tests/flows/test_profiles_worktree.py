"""A profile runs beside the main workspace: code as it is, parameters and results its own, caches shared."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from components.parameters.profiles import profile_text, without_import, work_name
from components.stage.errors import ConfigurationError
from components.tracking.compare.sides import keep_results
from flows.errors import WorkspaceError
from flows.garbage import Cleaning, collect
from flows.profiles import (
    cache_folder,
    commit_worktree,
    prepare_worktree,
)
from flows.workspace import find_workspace, git
from tests.flows.toy_workspace import command, make_workspace, settings


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_workspace(tmp_path_factory.mktemp("profiles") / "toy")
    (root / "data" / "source").mkdir(parents=True)
    (root / "data" / "source" / "manifest.yaml").write_text("kind: catalogue\nfolder: data/shop\n")
    (root / "old.txt").write_text("old")
    (root / "metrics").mkdir(exist_ok=True)
    (root / "metrics" / "demo.json").write_text("{}")
    command(root, "git", "add", "-A")
    command(root, "git", "commit", "-q", "-m", "a source")
    return root


def test_worktree_follows_the_main_tree_and_keeps_what_is_its_own(root: Path) -> None:
    work = prepare_worktree(root, "small", profile_text(root, "small"))
    assert work == root / ".vitrine" / "work" / "small"
    assert git(work, "branch", "--show-current").strip() == "profile/small"
    assert yaml.safe_load((work / "params.yaml").read_text())["runner"]["gpu"]["timeout_s"] == 30.0
    assert git(root, "status", "--porcelain") == "", "the main workspace stays as it was"
    assert cache_folder(work) == cache_folder(root)
    assert (work / ".vitrine" / "cache").resolve() == root / ".vitrine" / "cache"

    assert not (work / "metrics").exists(), "figures of another catalogue"
    (work / "dvc.lock").write_text("own")
    (work / "data" / "source" / "manifest.yaml").write_text("kind: files\n")
    (work / "metrics").mkdir()
    (work / "metrics" / "toy.json").write_text("{}")
    settings(root, factor=11)  # edited, not committed
    git(root, "rm", "-q", "--cached", "old.txt")
    (root / "old.txt").unlink()
    (root / "untracked.py").write_text("")
    (root / "toy" / "new_module.py").write_text("VALUE = 1\n")  # which an edited file may import
    claims = Path("components/report/claims/own.yaml")  # which the profile's parameters may name
    (root / claims).parent.mkdir(parents=True)
    (root / claims).write_text("claims: []\n")
    prepare_worktree(root, "small", profile_text(root, "small"))
    assert (work / "toy.yaml").read_text() == (root / "toy.yaml").read_text()
    assert not (work / "old.txt").exists() and not (work / "untracked.py").exists()
    assert (work / "toy" / "new_module.py").exists() and (work / claims).read_text() == "claims: []\n"
    assert (work / "dvc.lock").read_text() == "own"
    assert (work / "data" / "source" / "manifest.yaml").read_text() == "kind: files\n"
    assert (work / "metrics" / "toy.json").exists()

    assert commit_worktree(work, "Results") and not commit_worktree(work, "Results")
    assert git(work, "show", "HEAD:toy.yaml") == (root / "toy.yaml").read_text()
    assert git(root, "show", "HEAD:toy.yaml") != (root / "toy.yaml").read_text()
    command(root, "git", "checkout", "-q", "HEAD", "--", ".")
    (root / "untracked.py").unlink()
    (root / "toy" / "new_module.py").unlink()
    (root / claims).unlink()
    prepare_worktree(root, "small", profile_text(root, "small"))
    assert not (work / "toy" / "new_module.py").exists() and not (work / claims).exists()


def test_results_are_kept_with_what_they_came_from_and_the_same_twice(root: Path) -> None:
    work = prepare_worktree(root, "small", profile_text(root, "small"))
    (work / "metrics").mkdir(exist_ok=True)
    (work / "metrics" / "toy.json").write_text('{"a": 1}')
    folder = keep_results(root, work, "small")
    (folder / "gone.json").write_text("{}")
    first = {p.name: p.read_bytes() for p in keep_results(root, work, "small").iterdir()}
    assert first == {p.name: p.read_bytes() for p in keep_results(root, work, "small").iterdir()}
    assert set(first) == {"toy.json", "run.json"}
    facts = json.loads(first["run.json"])
    assert facts["commit"] == git(root, "rev-parse", "HEAD").strip() and facts["dirty"] is False
    settings(root, factor=12)
    keep_results(root, work, "small")
    assert json.loads((folder / "run.json").read_text())["dirty"] is True
    settings(root)


def test_a_deleted_worktree_is_made_again_on_its_branch(root: Path) -> None:
    import shutil

    work = prepare_worktree(root, "small", profile_text(root, "small"))
    commit_worktree(work, "before")
    head = git(work, "rev-parse", "HEAD")
    shutil.rmtree(work)
    again = prepare_worktree(root, "small", profile_text(root, "small"))
    assert git(again, "rev-parse", "HEAD") == head


def test_half_written_files_are_never_committed(root: Path) -> None:
    work = prepare_worktree(root, "small", profile_text(root, "small"))
    left = work / "data" / "source" / ".files.0a1b-77-c2.tmp"
    left.mkdir()
    (left / "picture.png").write_text("half")
    (work / "data" / "source" / "note.txt").write_text("whole")
    assert commit_worktree(work, "An import")
    assert "tmp" not in git(work, "ls-files") and "data/source/note.txt" in git(work, "ls-files")
    assert not commit_worktree(work, "Nothing new")


def test_a_killed_gits_lock_does_not_block_a_profile(root: Path) -> None:
    work = prepare_worktree(root, "small", profile_text(root, "small"))
    lock = Path(git(work, "rev-parse", "--git-path", "index.lock").strip())
    (work / lock).write_text("")
    (work / "more.txt").write_text("more")
    with pytest.raises(WorkspaceError, match=r"index\.lock"):
        commit_worktree(work, "Somebody may be writing")
    os.utime(work / lock, (0, 0))
    assert commit_worktree(work, "After a kill") and "more.txt" in git(work, "ls-files")


def test_a_living_gits_lock_is_left_alone(root: Path) -> None:
    work = prepare_worktree(root, "small", profile_text(root, "small"))
    lock = work / git(work, "rev-parse", "--git-path", "index.lock").strip()
    lock.write_text("")
    os.utime(lock, (0, 0))
    with lock.open() as _, pytest.raises(WorkspaceError, match=r"index\.lock"):
        (work / "open.txt").write_text("another program has the lock open")
        commit_worktree(work, "Too early")
    with subprocess.Popen(["git", "cat-file", "--batch"], cwd=work, stdin=subprocess.PIPE) as living:
        (work / "late.txt").write_text("late")
        with pytest.raises(WorkspaceError, match=r"index\.lock"):
            commit_worktree(work, "Too early")
        assert living.stdin is not None
        living.stdin.close()
    assert lock.exists()
    assert commit_worktree(work, "In time")


def test_a_worktree_whose_making_failed_is_made_whole_the_next_time(root: Path) -> None:
    text = profile_text(root, "small")
    git(root, "branch", "-m", "profile/small", "profile/kept", check=False)
    shutil.rmtree(root / ".vitrine" / "work" / "small", ignore_errors=True)
    git(root, "worktree", "prune")
    for key, value in (("smudge", "false"), ("clean", "cat"), ("required", "true")):
        git(root, "config", f"filter.broken.{key}", value)
    attributes = root / ".git" / "info" / "attributes"
    attributes.write_text("toy.yaml filter=broken\n")
    with pytest.raises(WorkspaceError):
        prepare_worktree(root, "small", text)
    attributes.unlink()
    work = prepare_worktree(root, "small", text)
    assert not (work / "metrics").exists(), "figures of another catalogue"
    assert git(work, "branch", "--show-current").strip() == "profile/small"
    assert (work / "toy.yaml").exists() and not list(work.parent.glob(".*.making"))


def test_hooks_and_signatures_of_the_user_have_no_part_in_our_own_commits(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "toy")
    command(root, sys.executable, "-m", "dvc", "install")  # hooks that check out and push data
    for hook in ("pre-commit", "post-checkout"):
        (root / ".git" / "hooks" / hook).write_text("#!/bin/sh\nexit 1\n")
    git(root, "config", "commit.gpgsign", "true")
    git(root, "config", "user.signingkey", "no-such-key")
    work = prepare_worktree(root, "small", profile_text(root, "small"))
    assert commit_worktree(work, "Results")


def test_a_path_that_is_not_ascii_is_shared_and_one_that_ends_an_address_is_refused(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "w\u00e9 [/x]")
    work = prepare_worktree(root, "small", profile_text(root, "small"))
    assert cache_folder(work) == cache_folder(root) == root.resolve() / ".dvc" / "cache"
    for wrong in ("a?b", "a%41", "a#b"):
        (tmp_path / wrong).mkdir()
        (tmp_path / wrong / "dvc.yaml").write_text("stages: {}\n")
        with pytest.raises(WorkspaceError, match=f"has '{re.escape(wrong[1])}' in it"):
            find_workspace(tmp_path / wrong)


def test_a_worktree_is_named_after_its_profile_and_overrides(root: Path, tmp_path: Path) -> None:
    assert work_name(None, []) is None and work_name("small", []) == "small"
    assert str(work_name(None, ["a.b=1"])).startswith("set-")
    assert str(work_name("small", ["a.b=1"])).startswith("small-set-")
    with pytest.raises(ConfigurationError, match="no profile 'big'"):
        profile_text(root, "big")
    with pytest.raises(ConfigurationError, match="unknown key"):
        profile_text(root, "small", ["runner.cpu=1"])
    with pytest.raises(ConfigurationError, match="no profile name"):
        prepare_worktree(root, "../out", "")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    with pytest.raises(WorkspaceError, match="no commit yet"):
        prepare_worktree(tmp_path, "small", "")


def test_an_override_of_a_profile_has_the_catalogue_of_the_profile(root: Path) -> None:
    manifest, name = "data/source/manifest.yaml", work_name("shop", ["runner.gpu.timeout_s=5"])
    assert name is not None
    (root / "conf" / "shop.yaml").write_text((root / "conf" / "small.yaml").read_text())
    work = prepare_worktree(root, "shop", profile_text(root, "shop"))
    assert "no import of its own" in without_import(root, work, "shop")
    for kind in ("files", "files, imported again"):  # the override is made, then refreshed
        (work / manifest).write_text(f"kind: {kind}\n")
        commit_worktree(work, "Import")
        assert not without_import(root, work, "shop")
        override = prepare_worktree(root, name, profile_text(root, "shop", ["runner.gpu.timeout_s=5"]))
        assert (override / manifest).read_text() == f"kind: {kind}\n"
    plain = prepare_worktree(root, "set-00000000", "")
    assert (plain / manifest).read_text() == (root / manifest).read_text()


@pytest.mark.slow
def test_a_profile_and_an_override_run_beside_the_main_workspace(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "toy")
    vitrine = [sys.executable, "-m", "flows.cli"]
    command(root, *vitrine, "run", "--profile", "small")
    kept = json.loads((root / "results" / "small" / "toy.json").read_text())
    assert kept["summed"]["hits_at_5"]["value"] == 45
    assert not (root / "out").exists() and not (root / "dvc.lock").exists()
    work = root / ".vitrine" / "work" / "small"
    assert git(work, "status", "--porcelain") == "" and "make" in git(work, "show", "HEAD:dvc.lock")

    # An override of the flow's own parameters changes no stage: the run cache gives back what DVC caches.
    done = command(root, *vitrine, "run", "--set", "runner.gpu.timeout_s=5")
    assert all(f"{name}: from cache" in done.stdout for name in ("make", "scale", "note"))
    assert "sum: done" in done.stdout, "DVC keeps no run cache for a stage with an output it does not cache"

    # gc keeps what the branches refer to, and takes the override's worktree when it is old; with force, for
    # this workspace has no tracker that could hold the records of the run.
    objects = set((root / ".dvc" / "cache" / "files").rglob("*"))
    collect(root, Cleaning(caches=True, days=0.0, dry_run=True, force=True), Console(quiet=True))
    assert set((root / ".dvc" / "cache" / "files").rglob("*")) == objects
    assert len(list((root / ".vitrine" / "work").glob("*"))) == 2
    collect(root, Cleaning(caches=True, days=0.0), Console(quiet=True))
    assert len(list((root / ".vitrine" / "work").glob("*"))) == 2
    collect(root, Cleaning(caches=True, days=0.0, force=True), Console(quiet=True))
    assert [path.name for path in (root / ".vitrine" / "work").glob("*")] == ["small"]
    assert {p.name for p in objects if p.is_file()} == {
        p.name for p in (root / ".dvc" / "cache" / "files").rglob("*") if p.is_file()
    }
    again = command(root, *vitrine, "run", "--profile", "small")
    assert "every stage is cached" in again.stdout


def test_the_cache_is_where_any_level_of_the_configuration_puts_it(tmp_path: Path) -> None:
    folder = tmp_path / ".dvc"
    folder.mkdir()
    assert cache_folder(tmp_path) == folder.resolve() / "cache"
    (folder / "config").write_text("[cache]\n    dir = ../shared\n")
    assert cache_folder(tmp_path) == tmp_path.resolve() / "shared"
    (folder / "config.local").write_text("[cache]\n    dir = /elsewhere/cache\n")
    assert cache_folder(tmp_path) == Path("/elsewhere/cache")
    (folder / "config").write_text("[cache\n")
    with pytest.raises(WorkspaceError, match=r"configuration of .* cannot be read"):
        cache_folder(tmp_path)

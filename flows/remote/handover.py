"""What a GPU runner needs to run one stage of this workspace, and how it is checked on both sides.

A stage is handed over as a commit of the working tree as it is, under a hidden ref that the runner fetches,
and the fingerprint of the stage: its command, the hashes of its inputs, its parameters and the names of its
outputs. DVC's run cache is keyed by the same facts, so equal fingerprints mean that what the runner computes
is found here again. Data travel through the DVC remote, never in the hand-over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.errors import RunnerInputError, WorkspaceError
from flows.workspace import git, snapshot

COMMIT = re.compile(r"[0-9a-f]{40,64}")
CARRIED = ("dvc.yaml", "dvc.lock", "params.yaml")
HIDDEN = "refs/vitrine/"  # commits of working trees; neither `git branch` nor `git fetch` shows them
NOBODY = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
          for what, value in (("NAME", "Vitrine"), ("EMAIL", "vitrine@localhost"))}  # fmt: skip


@dataclass(frozen=True)
class Handover:
    """One stage, ready to be sent: all of it is text that fits into Prefect's flow parameters."""

    stage: str
    commit: str  # of the working tree, see :func:`publish`
    fingerprint: dict[str, str]
    pushed: list[str]  # DVC outputs that the stage reads, relative to the workspace root


def stage_name(stage: Any) -> str:
    """Name of a DVC stage, wherever we stand: its own, with the file before it outside the root graph."""
    return str(stage.name if stage.path_in_repo == "dvc.yaml" else f"{stage.path_in_repo}:{stage.name}")


@contextmanager
def opened(root: Path, stage: str) -> Iterator[tuple[Any, Any]]:
    """DVC's repository at ``root`` and its stage of that name; ``folder/dvc.yaml:name`` for other graphs.

    DVC's own lookup by name resolves files against the current directory, which is not the clone in a worker.

    Raises WorkspaceError: there is no such stage.
    """
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        named = (found for found in repo.index.stages if getattr(found, "name", None))
        found = next((found for found in named if stage_name(found) == stage), None)
        if found is None:
            raise WorkspaceError(
                f"There is no stage '{stage}' in dvc.yaml of {root}; `dvc stage list` shows all."
            )
        yield repo, found


def check_portable(stage: Any) -> None:
    """WorkspaceError for a stage whose results could not come back through the run cache."""
    name, wrong = stage_name(stage), ""
    if not stage.deps or stage.always_changed:
        wrong = f"Stage '{name}' declares no inputs"
    for out in stage.outs:
        if not out.use_cache:
            wrong = f"Stage '{name}' declares output {out.def_path} with `cache: false`"
        elif out.persist or not out.is_in_repo:
            wrong = f"Output {out.def_path} of stage '{name}' is persistent or outside the workspace"
    if wrong:
        raise WorkspaceError(
            f"{wrong}, so DVC's run cache cannot bring its results back from a GPU runner; change that, or "
            "drop `meta.pool: gpu`."
        )


def fingerprint(stage: Any) -> dict[str, str]:
    """Command, input hashes, parameters and output names of a stage, as DVC's run cache knows them.

    Raises RunnerInputError: an input is missing.
    """
    from dvc.exceptions import DvcException

    try:
        stage.save_deps()
    except DvcException as error:
        missing = f"An input of stage '{stage_name(stage)}' is missing: {error}"
        raise RunnerInputError(f"{missing}; run the stages before it first.") from None
    facts = {"command": json.dumps(stage.cmd)}
    for dep in stage.deps:
        if hasattr(dep, "params"):  # a file of parameters: its hash is the values of the keys
            for key, value in dep.hash_info.value.items():
                told = json.dumps(value, sort_keys=True, default=str)
                facts[f"parameter {key} of {dep.def_path}"] = told
        else:
            facts[f"input {dep.def_path}"] = str(dep.hash_info.value)
    return facts | {f"output {out.def_path}": "declared" for out in stage.outs}


def differences(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Names of the facts in which two fingerprints differ, in order."""
    return sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))


def _inputs(repo: Any, stage: Any, root: Path) -> tuple[list[str], list[str]]:
    """Split the inputs of a stage: outputs in DVC's cache, and files that travel in the commit."""
    cached = [out for out in repo.index.outs if out.use_cache and out.stage is not stage]
    pushed: set[str] = set()
    carried = {name for name in CARRIED if (root / name).exists()}
    for dep in stage.deps:
        path = Path(dep.fs_path)
        if dep.protocol != "local" or not path.is_relative_to(root):
            where = f"Input {dep.def_path} of stage '{stage_name(stage)}' lies outside the workspace"
            raise WorkspaceError(f"{where}; `dvc import-url` it.")
        places = (Path(out.fs_path) for out in cached)
        ours = (place for place in places if path.is_relative_to(place) or place.is_relative_to(path))
        found = {str(place.relative_to(root)) for place in ours}
        pushed |= found
        if hasattr(dep, "params") or not found:
            carried.add(str(path.relative_to(root)))
    return sorted(pushed), sorted(carried)


def publish(root: Path, carried: list[str]) -> str:
    """Commit the working tree, with all of ``carried``, where a runner can fetch it; returns the commit.

    It goes to the git remote, or stays here where there is none: then this is the origin of the runner's
    clone. Branches, index and working tree stay as they are. :func:`withdraw` takes it back.

    Raises WorkspaceError: a carried file is ignored by git, or the remote takes no commit of us.
    """
    wrong = "An input is neither in git nor in DVC, so a runner cannot get it; track it"
    try:
        tree = snapshot(root, carried)
        commit = git(root, "commit-tree", "-p", "HEAD", "-m", "A working tree", tree, env=NOBODY).strip()
        git(root, "update-ref", HIDDEN + commit, commit)
        wrong = "The working tree cannot be pushed to a hidden ref of the git remote"
        _push(root, HIDDEN + commit)
    except WorkspaceError as error:
        raise WorkspaceError(f"{wrong} ({error})") from None
    return commit


def withdraw(root: Path, commit: str) -> bool:
    """Remove the hidden ref of a commit at the git remote and here; False: the remote is out of reach."""
    try:
        _push(root, f":{HIDDEN}{commit}")
    except WorkspaceError:
        return False
    git(root, "update-ref", "-d", HIDDEN + commit, check=False)
    return True


def _push(root: Path, what: str) -> None:
    """Push to the first git remote, if there is one; WorkspaceError: it cannot be reached, or refuses."""
    for remote in git(root, "remote").split()[:1]:
        git(root, "push", "--quiet", "--no-verify", remote, what)


def published(root: Path) -> list[str]:
    """Commits of working trees that were published here and not withdrawn: a run is at it, or was killed."""
    return git(root, "for-each-ref", "--format=%(objectname)", HIDDEN).split()


def prepare(stage: str, root: Path) -> Handover:
    """Describe a stage for a runner and publish the working tree it is run in.

    Raises WorkspaceError: it cannot run elsewhere, or be published; RunnerInputError: an input is missing.
    """
    with opened(root, stage) as (repo, found):
        check_portable(found)
        pushed, carried = _inputs(repo, found, Path(repo.root_dir))
        facts = fingerprint(found)
    return Handover(stage, publish(root, carried), facts, pushed)


def current_fingerprint(stage: str, root: Path) -> dict[str, str]:
    """The fingerprint of a stage as the workspace stands now."""
    with opened(root, stage) as (_, found):
        return fingerprint(found)


def lock_entry(stage: str, root: Path) -> dict[str, str]:
    """Output path → hash of a stage, as dvc.lock has it; empty where it has none."""
    with opened(root, stage) as (_, found):
        return {out.def_path: out.hash_info.value for out in found.outs if out.hash_info}


def check_out(clone: Path, commit: str) -> None:
    """Bring the runner's clone to a commit; what stood there before is dropped.

    Raises WorkspaceError: no git repository, or the commit is neither in it nor at its origin.
    """
    if not COMMIT.fullmatch(commit):  # it comes from another machine, and git knows options like "--..."
        raise WorkspaceError(f"{commit[:80]!r} is no commit; hand the stage over again.")
    for source in ((), ("origin",), ("origin", HIDDEN + commit)):
        if source:
            git(clone, "fetch", "--quiet", *source, check=False)
        if git(clone, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}", check=False):
            git(clone, "checkout", "--quiet", "--force", "--detach", commit)
            return
    raise WorkspaceError(
        f"Commit {commit[:10]} is neither in the runner's clone {clone} nor at its origin; give the "
        "workspace the same git remote."
    )

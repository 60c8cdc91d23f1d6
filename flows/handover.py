"""What a GPU runner needs to run one stage of this workspace, and how it is checked on both sides.

A stage is handed over as a commit both sides can reach, a patch with the difference between that commit and
this working tree, and the fingerprint of the stage: its command, the hashes of its inputs, its parameters and
the names of its outputs. DVC's run cache is keyed by the same facts, so equal fingerprints mean that what the
runner computes is found here again. Data travel through the DVC remote, never in the hand-over.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.stage.errors import ConfigurationError, InvalidDataError
from flows.errors import FlowError

# Prefect refuses flow parameters above 512 KiB; the fingerprint needs some room beside the patch.
MAX_PATCH_BYTES = 384 * 1024
COMMIT = re.compile(r"[0-9a-f]{40,64}")
CARRIED = ("dvc.yaml", "dvc.lock", "params.yaml")


class RunnerError(FlowError):
    """A stage could not be run on a GPU runner, or its results could not be brought back (exit code 1)."""


class RunnerTimeoutError(RunnerError):
    """No runner took the stage, or it did not end in time (exit code 1)."""


class RunnerConfigurationError(ConfigurationError):
    """The workspace, the clone of the runner or the Prefect server is set up wrongly (exit code 2)."""


class RunnerInputError(InvalidDataError):
    """An input of the stage is missing or differs between here and the runner (exit code 4)."""


@dataclass(frozen=True)
class Handover:
    """One stage, ready to be sent: all of it is text that fits into Prefect's flow parameters."""

    stage: str
    commit: str
    patch: str  # base64 of the zlib-compressed output of `git diff --binary`; empty: no difference
    fingerprint: dict[str, str]
    pushed: tuple[str, ...]  # DVC outputs that the stage reads, relative to the workspace root


def git(
    root: Path, *arguments: str, data: bytes | None = None, env: Mapping[str, str] | None = None
) -> bytes:
    """Run git in ``root`` and return what it printed.

    Raises:
        RunnerConfigurationError: git ended with an error; its own words are in the message.
    """
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=root,
            input=data,
            capture_output=True,
            check=False,
            env={**os.environ, **(env or {})},
        )
    except FileNotFoundError:
        raise RunnerConfigurationError(f"git was not found, or {root} does not exist; install git.") from None
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise RunnerConfigurationError(f"git {arguments[0]} failed in {root}: {said}")
    return done.stdout


def stage_name(stage: Any) -> str:
    """Name of a DVC stage, wherever we stand: its own, with the file before it outside the root graph."""
    own: str = stage.name
    return own if stage.path_in_repo == "dvc.yaml" else f"{stage.path_in_repo}:{own}"


def load_stage(repo: Any, stage: str) -> Any:
    """The DVC stage of that name; ``folder/dvc.yaml:name`` outside the root graph.

    DVC's own lookup by name resolves files against the current directory, which is not the clone in a worker.

    Raises:
        RunnerConfigurationError: there is no such stage.
    """
    for found in repo.index.stages:
        if getattr(found, "name", None) and stage == stage_name(found):
            return found
    raise RunnerConfigurationError(
        f"There is no stage '{stage}' in dvc.yaml of {repo.root_dir}; `dvc stage list` shows all."
    )


def check_portable(stage: Any) -> None:
    """Refuse a stage whose results could not come back through the run cache.

    Raises:
        RunnerConfigurationError: it has an uncached, persistent or external output, or no input at all.
    """
    name = stage_name(stage)
    for out in stage.outs:
        if not out.use_cache:
            raise RunnerConfigurationError(
                f"Stage '{name}' declares output {out.def_path} with `cache: false`, and such outputs do not "
                "come back from a GPU runner; let DVC cache it, or drop `meta.pool: gpu`."
            )
        if out.persist or not out.is_in_repo:
            raise RunnerConfigurationError(
                f"Output {out.def_path} of stage '{name}' is persistent or outside the workspace, and DVC "
                "keeps no run cache for it; make it an ordinary output, or drop `meta.pool: gpu`."
            )
    if not stage.deps or stage.always_changed:
        raise RunnerConfigurationError(
            f"Stage '{name}' declares no inputs, so DVC cannot recognise its results; give it deps."
        )


def fingerprint(stage: Any) -> dict[str, str]:
    """Command, input hashes, parameters and output names of a stage, as DVC's run cache knows them.

    Raises:
        RunnerInputError: an input is missing.
    """
    from dvc.exceptions import DvcException

    try:
        stage.save_deps()
    except DvcException as error:
        raise RunnerInputError(
            f"An input of stage '{stage_name(stage)}' is missing: {error}; run the stages before it first."
        ) from None
    facts = {"command": json.dumps(stage.cmd)}
    for dep in stage.deps:
        if hasattr(dep, "params"):  # a file of parameters: its hash is the values of the keys
            for key, value in dep.hash_info.value.items():
                text = json.dumps(value, sort_keys=True, default=str)
                facts[f"parameter {key} of {dep.def_path}"] = text
        else:
            facts[f"input {dep.def_path}"] = str(dep.hash_info.value)
    return facts | {f"output {out.def_path}": "declared" for out in stage.outs}


def differences(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Names of the facts in which two fingerprints differ, in order."""
    return sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))


def _overlap(a: Path, b: Path) -> bool:
    return a.is_relative_to(b) or b.is_relative_to(a)


def _inputs(repo: Any, stage: Any, root: Path) -> tuple[list[str], list[str]]:
    """Split the inputs of a stage: outputs in DVC's cache, and files that travel in the patch."""
    cached = [out for out in repo.index.outs if out.use_cache and out.stage is not stage]
    pushed: set[str] = set()
    carried = {name for name in CARRIED if (root / name).exists()}
    for dep in stage.deps:
        path = Path(dep.fs_path)
        if dep.protocol != "local" or not path.is_relative_to(root):
            raise RunnerConfigurationError(
                f"Input {dep.def_path} of stage '{stage_name(stage)}' lies outside the workspace; "
                "`dvc import-url` it."
            )
        places = (Path(out.fs_path) for out in cached)
        found = {str(place.relative_to(root)) for place in places if _overlap(path, place)}
        pushed |= found
        if hasattr(dep, "params") or not found:
            carried.add(str(path.relative_to(root)))
    return sorted(pushed), sorted(carried)


def reachable_commit(root: Path) -> str:
    """The newest commit of HEAD's history that a runner can fetch: HEAD itself where git has no remote."""
    if not git(root, "for-each-ref", "--count=1", "refs/remotes").strip():
        return git(root, "rev-parse", "HEAD").decode().strip()
    unpushed = set(git(root, "rev-list", "HEAD", "--not", "--remotes").decode().split())
    history = git(root, "rev-list", "--first-parent", "HEAD").decode().split()
    for commit in history:
        if commit not in unpushed:
            return commit
    raise RunnerConfigurationError(
        f"No commit of {root} has been pushed yet; `git push`, so that the runner can fetch it."
    )


def working_patch(root: Path, commit: str, carried: list[str]) -> str:
    """Difference between ``commit`` and the working tree: tracked files, and all of ``carried``.

    It is made with an index of its own, so what the user has staged stays as it is.

    Raises:
        RunnerConfigurationError: a carried file is ignored by git, or the difference is too large to send.
    """
    with tempfile.TemporaryDirectory() as folder:
        env = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        git(root, "read-tree", "HEAD", env=env)
        git(root, "add", "--update", ":/", env=env)
        try:
            git(root, "add", "--", *carried, env=env)
        except RunnerConfigurationError as error:
            raise RunnerConfigurationError(
                f"An input is neither in git nor in DVC, so a runner cannot get it; track it ({error})"
            ) from None
        options = ("--cached", "--binary", "--full-index", "--no-ext-diff", "--no-color")
        patch = git(root, "diff", *options, commit, env=env)
    text = base64.b64encode(zlib.compress(patch, 9)).decode() if patch else ""
    if len(text) > MAX_PATCH_BYTES:
        raise RunnerConfigurationError(
            f"The working tree differs from commit {commit[:10]} by {len(text):,} bytes (compressed), and at "
            f"most {MAX_PATCH_BYTES:,} can be sent to a runner; commit and push your changes."
        )
    return text


def prepare(stage: str, root: Path) -> Handover:
    """Describe a stage for a runner; nothing is sent yet.

    Raises:
        RunnerConfigurationError: the stage cannot be run elsewhere, or the working tree cannot be described.
        RunnerInputError: an input is missing.
    """
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        found = load_stage(repo, stage)
        check_portable(found)
        pushed, carried = _inputs(repo, found, Path(repo.root_dir))
        facts = fingerprint(found)
    commit = reachable_commit(root)
    return Handover(stage, commit, working_patch(root, commit, carried), facts, tuple(pushed))


def current_fingerprint(stage: str, root: Path) -> dict[str, str]:
    """The fingerprint of a stage as the workspace stands now."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        return fingerprint(load_stage(repo, stage))


def lock_entry(stage: str, root: Path) -> dict[str, str]:
    """Output path → hash of a stage, as dvc.lock has it; empty where it has none."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        return {out.def_path: out.hash_info.value for out in load_stage(repo, stage).outs if out.hash_info}


def check_out(clone: Path, commit: str, patch: str) -> None:
    """Bring the runner's clone to ``commit`` plus ``patch``; whatever stood there before is dropped.

    Raises:
        RunnerConfigurationError: no git repository, the commit is neither in it nor at its origin, no fit.
    """
    if (
        COMMIT.fullmatch(commit) is None
    ):  # it comes from another machine, and git would take "--..." for an option
        raise RunnerConfigurationError(f"{commit[:80]!r} is no commit; hand the stage over again.")
    try:
        git(clone, "cat-file", "-e", f"{commit}^{{commit}}")
    except RunnerConfigurationError:
        git(clone, "fetch", "--quiet", "origin")
        try:
            git(clone, "cat-file", "-e", f"{commit}^{{commit}}")
        except RunnerConfigurationError:
            raise RunnerConfigurationError(
                f"Commit {commit[:10]} is neither in the runner's clone {clone} nor at its origin; "
                "`git push` it."
            ) from None
    git(clone, "checkout", "--quiet", "--force", "--detach", commit)
    if patch:
        # --index: the next checkout then removes files that only this patch brought.
        data = zlib.decompress(base64.b64decode(patch))
        git(clone, "apply", "--index", "--binary", "--whitespace=nowarn", data=data)

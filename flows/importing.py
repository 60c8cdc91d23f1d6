"""``vitrine import``: a catalogue of the user's own becomes the source of a workspace or of a profile."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from components.machine import processes
from components.parameters.profiles import profile_text
from components.stage.files.publish import write_text
from components.stage.record import STATE
from flows.errors import FlowError, WorkspaceError
from flows.profiles import commit_worktree, prepare_worktree, run_lock
from flows.run.locks import held
from flows.workspace import git

SOURCE = Path("data/source")
UNFINISHED = STATE / "importing"  # the command of an import that is under way, or was killed


@dataclass(frozen=True)
class ImportRequest:
    """What is brought in: a folder or file, how its fields map, and whether files are linked or copied."""

    source: Path
    mapping: Path
    link: bool = False


def import_source(main: Path, catalogue: ImportRequest, profile: str | None, console: Console) -> Path:
    """Copy or link a catalogue into ``data/source`` under DVC; returns the workspace it went to.

    In a profile's worktree the import is committed on the profile's branch; in the main workspace the user
    does that.

    Raises FlowError: the importer or DVC refused; carries the importer's own exit code.
    """
    with held(run_lock(main, profile), f"Workspace {profile or main}", 60.0, console.print):
        root = main if profile is None else prepare_worktree(main, profile, profile_text(main, profile))
        places = [f"--source={catalogue.source.resolve()}", f"--mapping={catalogue.mapping.resolve()}"]
        words = [str(catalogue.source), "--mapping", str(catalogue.mapping)]
        words += ["--profile", profile] if profile else []
        arguments = [*places, f"--into={SOURCE}", "--link" if catalogue.link else "--copy"]
        write_text(root / UNFINISHED, shlex.join(["vitrine", "import", *words]))
        try:
            passed_on(root, [sys.executable, "-m", "components.catalog.source", *arguments])
            passed_on(root, [sys.executable, "-m", "dvc", "add", "--quiet", str(SOURCE / "files")])
        except CommandFailedError as error:
            if error.exit_code < 128:  # it has ended by itself and left the former source
                (root / UNFINISHED).unlink()
            raise
        (root / UNFINISHED).unlink()
        if profile is not None:
            commit_worktree(root, f"Import the source of profile {profile}")
    again = f"vitrine run --profile {profile}" if profile else "vitrine run"
    plain = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    plain(f"{root / SOURCE} is ready; check it: {again} --until catalog_quality; then: {again}")
    if profile is None:
        changed = git(root, "status", "--porcelain", "--", str(SOURCE)).split()[1::2]
        plain(f"commit it: git add {' '.join(changed) or SOURCE}", style="dim")
    return root


def check_import(root: Path) -> None:
    """WorkspaceError: an import into this workspace was killed before its end."""
    if (command := root / UNFINISHED).exists():
        raise WorkspaceError(f"An import was killed before its end; run it again: {command.read_text()}")


def inspect_source(main: Path, source: Path, profile: str | None, force: bool, console: Console) -> None:
    """Write conf/mappings/NAME.yaml and conf/NAME.yaml; NAME is the profile's, or else the folder's.

    Raises FlowError: a file of that name exists (without ``force``), or as ``import_source``.
    """
    name = profile or re.sub(r"[^a-z0-9]+", "-", source.resolve().name.lower()).strip("-") or "mine"
    files = f"--mapping=conf/mappings/{name}.yaml", f"--inspect=conf/{name}.yaml"
    looked_at = [f"--source={source.resolve()}", *files, *["--force"] * force]
    passed_on(main, [sys.executable, "-m", "components.catalog.source", *looked_at])
    then = f"{shlex.quote(str(source))} --mapping conf/mappings/{name}.yaml --profile {name}"
    console.print(f"next: vitrine import {then}", markup=False, highlight=False, soft_wrap=True)


class CommandFailedError(FlowError):
    """A command we started has already told its error; only the exit code is handed on."""

    def __init__(self, command: Sequence[str], code: int) -> None:
        super().__init__(f"{' '.join(command[1:5])} ended with exit code {code}")
        self.exit_code = 128 - code if code < 0 else code


def passed_on(root: Path, command: Sequence[str]) -> None:
    """Run a command with our terminal, in ``root``; CommandFailedError: it failed, and has said why.

    Its modules are the workspace's own, then those of wherever this package was found.
    """
    path = [str(root), os.environ.get("PYTHONPATH", ""), str(Path(__file__).resolve().parents[1])]
    environment = processes.environment({"PYTHONPATH": os.pathsep.join(filter(None, path))})
    try:
        done = subprocess.run(command, cwd=root, env=environment, check=False)
    except KeyboardInterrupt:
        raise CommandFailedError(command, 130) from None
    if done.returncode < 0:
        print("error: it was killed from outside (out of memory?); run it again.", file=sys.stderr)
    if done.returncode:
        raise CommandFailedError(command, done.returncode)

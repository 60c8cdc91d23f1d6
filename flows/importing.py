"""``vitrine import``: a catalogue of the user's own becomes the source of a workspace or of a profile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from components.parameters.profiles import profile_text
from flows import processes
from flows.errors import FlowError
from flows.locks import held
from flows.profiles import commit_worktree, prepare_worktree, run_lock
from flows.workspace import git

SOURCE = Path("data/source")


def import_source(
    main: Path, source: Path, mapping: Path, profile: str | None, link: bool, console: Console
) -> Path:
    """Copy or link a catalogue into ``data/source`` and put it under DVC; returns the workspace it went to.

    In a profile's worktree the import is committed on the profile's branch; in the main workspace the user
    does that.

    Raises:
        FlowError: the importer or DVC refused; carries the importer's own exit code.
    """
    source, mapping = source.resolve(), mapping.resolve()
    with held(run_lock(main, profile), f"Workspace {profile or main}", 60.0, console.print):
        root = main if profile is None else prepare_worktree(main, profile, profile_text(main, profile))
        arguments = [f"--source={source}", f"--mapping={mapping}", f"--into={SOURCE}"]
        arguments.append("--link" if link else "--copy")
        passed_on(root, [sys.executable, "-m", "components.catalog.source", *arguments])
        passed_on(root, [sys.executable, "-m", "dvc", "add", "--quiet", str(SOURCE / "files")])
        if profile is not None:
            commit_worktree(root, f"Import the source of profile {profile}")
    again = f"vitrine run --profile {profile}" if profile else "vitrine run"
    console.print(f"{root / SOURCE} is ready; next: {again}", highlight=False, soft_wrap=True)
    if profile is None:
        changed = git(root, "status", "--porcelain", "--", str(SOURCE)).split()[1::2]
        console.print(
            f"commit it: git add {' '.join(changed) or SOURCE}",
            style="dim",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    return root


class CommandFailedError(FlowError):
    """A command we started has already told its error; only the exit code is handed on."""

    def __init__(self, command: Sequence[str], code: int) -> None:
        super().__init__(f"{' '.join(command[1:5])} ended with exit code {code}")
        self.exit_code = 128 - code if code < 0 else code


def passed_on(root: Path, command: Sequence[str]) -> None:
    """Run a command with our terminal, in ``root``.

    Raises:
        CommandFailedError: it failed; it has said why.
    """
    environment = processes.environment({"PYTHONPATH": _python_path(root)})
    try:
        done = subprocess.run(command, cwd=root, env=environment, check=False)
    except KeyboardInterrupt:
        raise CommandFailedError(command, 130) from None
    if done.returncode:
        raise CommandFailedError(command, done.returncode)


def _python_path(root: Path) -> str:
    """The workspace's own code first, then wherever this package was found."""
    import os

    here = str(Path(__file__).resolve().parents[1])
    return os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", ""), here]))

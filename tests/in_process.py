"""Commands run in a test's own process: the same function and sentences, without seconds of imports."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.stage import frame


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


def run_command(root: Path, main: Callable[[Sequence[str]], int], *words: str) -> Done:
    """A command's ``main`` with ``root`` as its working folder."""
    out, told = io.StringIO(), io.StringIO()
    with contextlib.chdir(root), contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
        try:
            code = main(words)
        except SystemExit as left:  # argparse
            code = int(left.code or 0)
    return Done(code, out.getvalue(), told.getvalue())


def run_stage(root: Path, *words: str) -> Done:
    """A stage of the workspace ``root``, as its command in dvc.yaml says: ``vlclip.model variant=raw``."""
    return run_command(root, frame.main, *words)

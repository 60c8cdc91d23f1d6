"""One call of DVC's Python interface in a process of its own.

``python -P dvc_job.py ANSWER RUNNER PATIENCE CALL ARGUMENTS``, in the root of a workspace: calls
``Repo().CALL(**ARGUMENTS)`` and writes how it ended to the file ``ANSWER`` as JSON. ``RUNNER`` is the process
that started us: DVC's lock held by another job of the same runner is waited out, one held by anybody else for
``PATIENCE`` seconds. What DVC and the stage's command print goes to our standard output.

It is a plain script that imports DVC and nothing of the project, for the workspace may be of another commit.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from dvc.lock import LockBase, LockError
from dvc.repo import Repo

RETRY_S = 1.0


class PatientLock:
    """DVC's own lock, which gives up after 3 s, waited for: before the work for a time, after it for good.

    Giving up after the command would throw the work of the stage away.
    """

    def __init__(
        self, inner: LockBase, patience_s: float, runner: int = 0, say: Callable[[str], object] = print
    ) -> None:
        self._inner, self._patience_s, self._runner, self._say = inner, patience_s, runner, say
        self._was_held = self._told = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def lock(self) -> None:
        """Take it; DVC's LockError once somebody else has held it for longer than our patience."""
        since: float | None = None
        while True:
            try:
                self._inner.lock()
            except LockError:
                since = None if self._of_the_same_runner() else since or time.monotonic()
                if since and not self._was_held and time.monotonic() - since >= self._patience_s:
                    raise
                if since and not self._told:
                    self._say(f"another DVC process holds its lock; waiting up to {self._patience_s:g} s")
                    self._told = True
            else:
                self._was_held = True
                return

    def _of_the_same_runner(self) -> bool:
        """Whether whoever took the lock last, and wrote its process id, was started by our runner too."""
        try:
            holder = psutil.Process(int(Path(self._inner.lockfile).read_text(encoding="utf-8")))
            return self._runner in {parent.pid for parent in holder.parents()}
        except (OSError, ValueError, psutil.Error):
            return False

    def __enter__(self) -> None:
        self.lock()

    def __exit__(self, *_: object) -> None:
        self._inner.unlock()


class Commands:
    """Notes whether DVC started a stage's command: it gives every one ``DVC_STAGE`` in its environment."""

    def __init__(self) -> None:
        self.begun = False
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen" and "DVC_STAGE" in (arguments[3] or {}):
            self.begun = True


def call(repo: Repo, name: str, arguments: dict[str, Any], patience_s: float) -> dict[str, Any]:
    """Call DVC; ``state`` is ran, restored (from the run cache), unchanged, busy or failed."""
    commands, deadline = Commands(), time.monotonic() + patience_s
    while True:
        try:
            made = getattr(repo, name)(**arguments)
        except Exception as error:
            locked = any(isinstance(cause, LockError) for cause in causes(error))
            if not locked or commands.begun:
                return {"state": "failed", "error": sentence(repo, arguments, error)}
            if time.monotonic() >= deadline:  # the paths of a stage are in use
                return {"state": "busy", "error": str(error)}
            print("waiting: another DVC process uses the same files", flush=True)
            time.sleep(RETRY_S)
        else:
            return {"state": "ran" if commands.begun else "restored" if made else "unchanged", "error": ""}


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def sentence(repo: Repo, arguments: dict[str, Any], error: BaseException) -> str:
    """What went wrong: what we can see ourselves, else in DVC's words."""
    with contextlib.suppress(Exception):
        targets = arguments["targets"] if arguments.get("single_item") else []
        deps = (dep for target in targets for stage in repo.stage.collect(target) for dep in stage.deps)
        if missing := next((dep.def_path for dep in deps if not dep.exists), ""):
            return f"its input {missing} is missing; run what makes it, 'dvc pull', or 'vitrine import'."
    told = dict.fromkeys(" ".join(str(e).split()) for e in causes(error) if str(e))
    return ": ".join(told) or type(error).__name__


def main(argv: list[str]) -> int:
    """Do the call; 0, 1, or 130 when interrupted."""
    answer, runner, patience, name, arguments = argv
    try:
        with Repo() as repo:
            repo.lock = PatientLock(repo.lock, float(patience), int(runner))
            found = call(repo, name, json.loads(arguments), float(patience))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        found = {"state": "failed", "error": " ".join(str(error).split())}
    if found["error"]:
        print(f"ERROR: {found['error']}", flush=True)
    Path(answer).write_text(json.dumps(found), encoding="utf-8")
    return 0 if found["state"] in ("ran", "restored", "unchanged") else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

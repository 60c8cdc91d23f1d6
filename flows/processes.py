"""Start commands that die with this process, and stop them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

LAUNCHER = Path(__file__).with_name("launch.py")
GRACE_S = 8.0  # how long an interrupted stage may take to write its record


def shell() -> str:
    """A POSIX shell that becomes the last command it runs: no shell stands between DVC and a stage."""
    return next((path for path in ("/bin/bash", "/bin/sh") if Path(path).exists()), "/bin/sh")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of every child: this interpreter first on PATH, no analytics, output unbuffered."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    fixed = {
        "PATH": path,
        "SHELL": shell(),
        "PYTHONUNBUFFERED": "1",
        "DVC_NO_ANALYTICS": "1",
        "DVC_STUDIO_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
    }
    return {**os.environ, **fixed, **(extra or {})}


def start(
    command: Sequence[str],
    cwd: Path,
    output: IO[bytes],
    extra: Mapping[str, str] | None = None,
    keep_open: Sequence[int] = (),
    cores: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start ``command`` under the launcher; both its streams go to ``output``.

    ``keep_open`` are file descriptors the launcher inherits: a lock among them is held until the last process
    of the command is gone. ``cores`` are numbers of those it is bound to, all of this process's if empty.
    Call it from a thread that lives as long as the command: the kernel ties a child's life to the thread that
    made it.
    """
    bound = ",".join(map(str, cores))
    launcher = [sys.executable, "-I", str(LAUNCHER), str(os.getpid()), bound, *command]
    return subprocess.Popen(
        launcher,
        cwd=cwd,
        env=environment(extra),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=tuple(keep_open),
    )


def stop(process: subprocess.Popen[bytes], grace_s: float = GRACE_S) -> None:
    """End a started command and everything it started: ask with SIGINT, then kill the group."""
    for number, patience in ((signal.SIGINT, grace_s), (signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        if process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue

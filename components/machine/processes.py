"""Commands that must not outlive whoever asked for them: start, stop, and the launcher between.

``python -I processes.py PARENT_PID CORES COMMAND [ARGUMENT ...]``, in a session of its own, is the launcher.
It stands between the flow and DVC, for DVC can neither die with its parent nor take its children along:

- the flow dies (even by SIGKILL): the kernel sends SIGTERM here, and the command's whole group is killed;
- the command dies: whatever it left behind in its group is killed, and only then does this process end;
- this process dies: the kernel kills the command, and the stage dies with it (``VITRINE_RUNNER``);
- SIGINT is handed on to the group, so that the stage can write its record before it goes.

As a script it imports nothing of the project.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

GRACE_S = 8.0  # how long an interrupted stage may take to write its record
PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
STRAGGLERS_S = 5.0  # how long killed processes are given to vanish


def environment(extra: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """The environment of every child: this interpreter first on PATH, no analytics, output unbuffered.

    What is None in ``extra`` is taken out.
    """
    fixed = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        # one that becomes the last command it runs, so that no shell stands between DVC and a stage
        "SHELL": next((path for path in ("/bin/bash", "/bin/sh") if Path(path).exists()), "/bin/sh"),
        "PYTHONUNBUFFERED": "1",
        "DVC_NO_ANALYTICS": "1",
        "DVC_STUDIO_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
    }
    laid = {**os.environ, **fixed, **(extra or {})}
    return {name: value for name, value in laid.items() if value is not None}


def start(
    command: Sequence[str], cwd: Path, output: IO[bytes], *, env: Mapping[str, str | None] | None = None,
    keep_open: int | None = None, cores: Sequence[int] = (),
) -> subprocess.Popen[bytes]:  # fmt: skip
    """Start ``command`` under the launcher, with both streams to ``output`` and ``env`` laid on ours.

    The launcher inherits the descriptor ``keep_open``: a lock it stands for is held until the last process of
    the command is gone. ``cores`` are numbers of those it is bound to, all of ours if empty. Call it from a
    thread that lives as long as the command: the kernel ties a child's life to the thread that made it.
    """
    bound = ",".join(map(str, cores))
    return subprocess.Popen(
        [sys.executable, "-I", __file__, str(os.getpid()), bound, *command],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=() if keep_open is None else (keep_open,),
    )


def stop(process: subprocess.Popen[bytes], grace_s: float = GRACE_S) -> None:
    """End a started command and everything it started: ask with SIGINT, then kill the group."""
    for number, patience in ((signal.SIGINT, grace_s), (signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        if process.poll() is not None:
            return
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)


def control(option: int, value: int) -> None:
    """``prctl(option, value)``; only Linux has it, elsewhere the process group has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def kill_group(group: int, number: int) -> None:
    """Signal a whole process group that may be gone already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def execute(command: list[str], parent: int) -> None:
    """In the forked child: lead a new group, die with ``parent``, become the command."""
    os.setpgid(0, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if not (number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN):
            signal.signal(number, signal.SIG_DFL)
    control(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(143)  # the launcher died before the kernel was told
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"ERROR: cannot start {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)


def reap(group: int) -> None:
    """Kill what is left of the group and collect it, so that no process of the stage outlives its lock."""
    kill_group(group, signal.SIGKILL)
    deadline = time.monotonic() + STRAGGLERS_S
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                time.sleep(0.01)


def wait_for(child: int) -> int:
    """Wait for the command; the exit code is its own, or 128 + the signal that ended it."""
    finished, status = os.wait()
    while finished != child:
        finished, status = os.wait()
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def main(argv: list[str]) -> int:
    """Run ``argv[2:]``; ``argv[0]`` is the process to die with, ``argv[1]`` cores like ``0,3`` or nothing."""
    parent, cores, command = int(argv[0]), argv[1], argv[2:]
    child = 0

    def _stop(number: int, _: FrameType | None) -> None:
        if child:
            kill_group(child, signal.SIGINT if number == signal.SIGINT else signal.SIGKILL)
        elif number != signal.SIGINT:
            os._exit(143)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if not (number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN):  # under nohup
            signal.signal(number, _stop)
    control(PR_SET_CHILD_SUBREAPER, 1)
    control(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return 143
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(number) for number in cores.split(",")})
    me = os.getpid()
    child = os.fork()
    if child == 0:
        execute(command, me)
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpgid(child, child)  # either side may be first; it must be done before a signal is handed on
    code = wait_for(child)
    reap(child)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

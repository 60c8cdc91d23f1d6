"""Run one command that must not outlive the process that asked for it.

``python -I launch.py PARENT_PID CORES COMMAND [ARGUMENT ...]``, started in a session of its own. It stands
between the flow and DVC, because DVC can neither be told to die with its parent nor to take its children
along:

- the flow dies (even by SIGKILL): the kernel sends SIGTERM here, and the command's whole group is killed;
- the command dies: whatever it left behind in its group is killed, and only then does this process end;
- this process dies: the kernel kills the command, and the stage dies with it (``VITRINE_RUNNER``);
- SIGINT is handed on to the group, so that the stage can write its record before it goes.

It is a plain script on purpose: it starts in about 20 ms and imports nothing of the project.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from types import FrameType

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
STRAGGLERS_S = 5.0  # how long killed processes are given to vanish


def control(option: int, value: int) -> None:
    """``prctl(option, value)``; only Linux has it, elsewhere the process group has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def kill_group(group: int, number: int) -> None:
    """Signal a whole process group that may be gone already."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def execute(command: list[str], parent: int) -> None:
    """In the forked child: lead a new group, die with ``parent``, become the command."""
    os.setpgid(0, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
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
    while time.monotonic() < deadline:
        try:
            gone, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not gone:
            time.sleep(0.01)


def wait_for(child: int) -> int:
    """Wait for the command; the exit code is its own, or 128 + the signal that ended it."""
    while True:
        finished, status = os.wait()
        if finished == child:
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

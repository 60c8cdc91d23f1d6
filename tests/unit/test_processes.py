"""The launcher under which stages run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

LAUNCHER = Path(__file__).parents[2] / "components/machine/processes.py"
HANGS_UP = "kill -HUP $PPID; kill -HUP $$; echo lives"


@pytest.mark.parametrize("action", [signal.SIG_IGN, signal.SIG_DFL])
def test_under_nohup_the_end_of_a_terminal_ends_nothing(action: signal.Handlers) -> None:
    done = subprocess.run(
        [sys.executable, LAUNCHER, str(os.getpid()), "", "/bin/sh", "-c", HANGS_UP],
        preexec_fn=lambda: signal.signal(signal.SIGHUP, action),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    lives = action is signal.SIG_IGN
    assert (done.stdout == "lives\n", done.returncode == 0) == (lives, lives), done

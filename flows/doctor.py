"""``vitrine doctor``: everything known to go wrong on a machine or in a workspace, and how to fix it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from components.machine import checks, processes
from components.machine.checks import Finding, check_disk, check_ignores, check_machine, check_store
from components.stage.errors import VitrineError
from components.stage.record import STATE


def check_workspace(start: Path) -> list[Finding]:
    """git, DVC, and what a killed run may have left."""
    from components.tracking.lineage.repair import clear_dead_locks, guard_lock_file
    from flows.workspace import find_workspace, head_commit

    try:
        root = find_workspace(start)
        found = [Finding("workspace", "ok", f"{root} at {head_commit(root)[:10]}")]
        cleared, repaired = clear_dead_locks(root), guard_lock_file(root)
    except VitrineError as error:
        return [Finding("workspace", "failed", str(error))]  # the sentence says what to do
    locks = Finding("DVC locks", "ok", "removed entries of dead processes" if cleared else "none left behind")
    lock_file = Finding("dvc.lock", "ok", "repaired after a kill" if repaired else "sound")
    return [*found, locks, lock_file, *check_ignores(root), *check_store(root), *check_disk(root)]


FLOW = """
import sys
from pathlib import Path
from flows.run.server import PrefectServer
with PrefectServer(Path(sys.argv[1])) as server:
    from prefect import flow
    from prefect.settings import PREFECT_API_URL, temporary_settings
    with temporary_settings({PREFECT_API_URL: server.ready()}):
        assert flow(lambda: 42, name="doctor")() == 42
"""


def check_flow() -> list[Finding]:
    """Run an empty flow: some versions install cleanly and die here."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.pathsep.join([str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")])
        command, env = [sys.executable, "-c", FLOW, folder], processes.environment({"PYTHONPATH": path})
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return [Finding("flow", "ok", "an empty flow runs")]
        log = Path(folder) / STATE / "logs" / "prefect-server.log"
        text = (log.read_text(errors="replace") if log.exists() else "") + done.stderr
    reason = next((line for line in reversed(text.splitlines()) if "Error" in line), "no output")
    remedy = "install the versions of constraints.txt; 'dvc repro' works without Prefect"
    return [Finding("flow", "failed", reason, remedy)]


def examine(start: Path, console: Console, deep: bool) -> int:
    """Run every check, print the findings and return 0, or 1 when something will not work."""
    found = [*check_machine(), *check_workspace(start), *(check_flow() if deep else [])]
    return checks.print_findings(console, found)

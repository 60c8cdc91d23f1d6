"""``vitrine doctor``: everything known to go wrong on a machine or in a workspace, and how to fix it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.version import Version
from rich import box
from rich.console import Console
from rich.table import Table

from components.stage.errors import VitrineError
from components.stage.record import STATE
from flows import processes

EXTRAS = ("train", "evaluate", "listing", "llm", "quality", "tracking", "runner")
ENOUGH_GB = 10.0  # the environment takes 7 GB, a demo run about 1 GB


@dataclass(frozen=True)
class Finding:
    """One check: ``warning`` is slow or risky, ``failed`` will not work; ``remedy`` says what to do."""

    what: str
    state: Literal["ok", "warning", "failed"]
    detail: str
    remedy: str = ""


def version(package: str) -> Version | None:
    """Installed version of a package."""
    try:
        return Version(metadata.version(package))
    except metadata.PackageNotFoundError:
        return None


def check_versions() -> list[Finding]:
    """Versions that the project declares not to work with, and what is not installed of its extras."""
    declared = map(Requirement, metadata.requires("vitrine") or ())
    wanted = [r for r in declared if r.specifier and any(_belongs(r, extra) for extra in EXTRAS)]
    found = [version_finding(r, version(r.name)) for r in wanted]
    told = [finding for finding in found if finding.state != "ok"]
    return [*told, Finding("packages", "ok", f"{len(found) - len(told)} of {len(found)} fit")]


def _belongs(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def version_finding(wanted: Requirement, found: Version | None) -> Finding:
    """Judge one version by what the project declares."""
    remedy = f"pip install '{wanted.name}{wanted.specifier}'"
    if found is None:
        where = f"{remedy}, or 'pip install vitrine[all]', where it is needed"
        return Finding(wanted.name, "warning", "not installed", where)
    if found not in wanted.specifier:
        return Finding(wanted.name, "failed", f"{found} does not work, {wanted.specifier} does", remedy)
    return Finding(wanted.name, "ok", str(found))


def check_torch() -> list[Finding]:
    """Whether torch and torchvision fit: a CUDA torchvision beside a CPU torch does not."""
    if version("torch") is None:
        remedy = "pip install 'vitrine[train]', where training runs"
        return [Finding("torch", "warning", "not installed", remedy)]
    code = "import torch, torchvision; torchvision.ops.nms(torch.rand(2, 4), torch.rand(2), 0.5)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    names = f"torch {version('torch')}, torchvision {version('torchvision')}"
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        remedy = "install both from the same index, as in constraints.txt"
        return [Finding("torch", "failed", f"{names}: {reason}", remedy)]
    return [Finding("torch", "ok", names)]


def check_cpu() -> list[Finding]:
    """bf16 in hardware makes training on a CPU 2.5 times faster."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return [Finding("bf16", "warning", "cannot tell on this system", "expect slower training on the CPU")]
    if "avx512_bf16" in flags or "amx_bf16" in flags:
        return [Finding("bf16", "ok", "the CPU has it")]
    remedy = "training takes about 2.5 times as long, or use a GPU"
    return [Finding("bf16", "warning", "the CPU lacks AVX512-BF16", remedy)]


def check_disk(root: Path) -> list[Finding]:
    """Free space where the workspace lies."""
    free = shutil.disk_usage(root).free / 1e9
    if free < ENOUGH_GB:
        return [Finding("disk", "warning", f"{free:.1f} GB free", "free some space, e.g. with 'vitrine gc'")]
    return [Finding("disk", "ok", f"{free:.0f} GB free")]


def check_workspace(start: Path) -> list[Finding]:
    """git, DVC, and what a killed run may have left."""
    from flows.locks import clear_dead_locks, guard_lock_file
    from flows.workspace import find_workspace, head_commit

    if shutil.which("git") is None:
        return [Finding("git", "failed", "not installed", "install git")]
    try:
        root = find_workspace(start)
        found = [Finding("workspace", "ok", f"{root} at {head_commit(root)[:10]}")]
        cleared, repaired = clear_dead_locks(root), guard_lock_file(root)
    except VitrineError as error:
        return [Finding("workspace", "failed", str(error), "see the sentence")]
    locks = Finding("DVC locks", "ok", "removed entries of dead processes" if cleared else "none left behind")
    lock_file = Finding("dvc.lock", "ok", "repaired after a kill" if repaired else "sound")
    return [*found, locks, lock_file, *check_ignores(root), *check_store(root), *check_disk(root)]


def check_ignores(root: Path) -> list[Finding]:
    """DVC must not walk through our own state, least of all through worktrees with graphs of their own."""
    path = root / ".dvcignore"
    listed = path.read_text(encoding="utf-8").split() if path.exists() else []
    missing = [
        n for n in (STATE.name, "__pycache__") if not {n, f"{n}/", f"/{n}", f"/{n}/"}.intersection(listed)
    ]
    if missing:
        return [Finding(".dvcignore", "warning", f"lacks {', '.join(missing)}", "add a line for each")]
    return [Finding(".dvcignore", "ok", "hides state and bytecode")]


def check_store(root: Path) -> list[Finding]:
    """MLflow's store: SQLite, sound, and not the file store that MLflow 3 refuses."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri and not uri.startswith(("sqlite:", "http:", "https:", "postgresql")):
        return [Finding("MLflow store", "failed", f"MLFLOW_TRACKING_URI={uri}: MLflow 3 refuses file stores",
                        "unset it, or use sqlite:///mlruns/mlflow.db")]  # fmt: skip
    database = root / "mlruns" / "mlflow.db"
    if uri or not database.exists():
        return [Finding("MLflow store", "ok", uri or "made at the first run")]
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=2) as connection:
            answer = str(connection.execute("PRAGMA quick_check").fetchone()[0])
    except sqlite3.Error as error:
        answer = str(error)
    if answer != "ok":
        return [Finding("MLflow store", "failed", f"{database}: {answer}",
                        "move the file away and run 'vitrine sync': the records make it anew")]  # fmt: skip
    return [Finding("MLflow store", "ok", str(database))]


def check_system() -> list[Finding]:
    """What the runner needs of the operating system."""
    found = [Finding("python", "ok", sys.version.split()[0])]
    if sys.platform != "linux":
        found.append(Finding("prctl", "warning", f"{sys.platform} cannot tie a child's life to its parent's",
                             "after a SIGKILL of vitrine look for processes left behind"))  # fmt: skip
    names = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
    proxies = ", ".join(sorted(name for name in names if os.environ.get(name)))
    if proxies and "127.0.0.1" not in os.environ.get("NO_PROXY", os.environ.get("no_proxy", "")):
        remedy = "export NO_PROXY=127.0.0.1,localhost"
        found.append(Finding("proxy", "warning", f"{proxies} also catches loopback", remedy))
    return found


FLOW = """
import os, sys
from pathlib import Path
from flows.server import PrefectServer, configure
configure(Path(sys.argv[1]))
server = PrefectServer(Path(sys.argv[1])).start()
try:
    from prefect import flow
    from prefect.settings import PREFECT_API_URL, temporary_settings
    with temporary_settings({PREFECT_API_URL: server.ready()}):
        assert flow(lambda: 42, name="doctor")() == 42
finally:
    server.stop()
"""


def check_flow() -> list[Finding]:
    """Run an empty flow: some versions install cleanly and die here."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.pathsep.join([str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")])
        environment = processes.environment({"PYTHONPATH": path})
        command = [sys.executable, "-c", FLOW, folder]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return [Finding("flow", "ok", "an empty flow runs")]
        log = Path(folder) / STATE / "logs" / "prefect-server.log"
        text = (log.read_text(errors="replace") if log.exists() else "") + done.stderr
    reason = next((line for line in reversed(text.splitlines()) if "Error" in line), "no output")
    remedy = "install the versions of constraints.txt; 'dvc repro' works without Prefect"
    return [Finding("flow", "failed", reason, remedy)]


def examine(start: Path, console: Console, deep: bool) -> int:
    """Run every check, print the findings and return 0, or 1 when something will not work."""
    checks: list[Callable[[], list[Finding]]] = [check_system, check_versions, check_torch, check_cpu]
    checks.append(lambda: check_workspace(start))
    if deep:
        checks.append(check_flow)
    found = [finding for check in checks for finding in check()]
    table = Table(box=box.SIMPLE, show_header=False, padding=(0, 1))
    marks = {"ok": "[green]ok", "warning": "[yellow]note", "failed": "[red]FAILED"}
    for item in found:
        remedy = f"\n[bold]→ {item.remedy}" if item.remedy else ""
        table.add_row(marks[item.state], item.what, item.detail.replace("[", "\\[") + remedy)
    console.print(table)
    failed = sum(item.state == "failed" for item in found)
    well = "All well." if all(item.state == "ok" for item in found) else "It will run."
    console.print(f"{failed} of {len(found)} checks failed." if failed else well)
    return int(bool(failed))

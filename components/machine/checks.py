"""Everything known to go wrong on a machine, and how to fix it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.version import Version
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.stage.errors import VitrineError
from components.stage.record import STATE
from components.tracking.store import check, store_of

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
    pinned = [one for one in map(Requirement, metadata.requires("vitrine") or ()) if one.specifier]
    wanted = [r for r in pinned if not r.marker or any(r.marker.evaluate({"extra": e}) for e in EXTRAS)]
    found = [version_finding(r, version(r.name)) for r in wanted]
    told = [finding for finding in found if finding.state != "ok"]
    return [*told, Finding("packages", "ok", f"{len(found) - len(told)} of {len(found)} fit")]


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
        return [Finding("torch", "warning", "not installed", "pip install 'vitrine[train]' where it trains")]
    code = "import torch, torchvision; torchvision.ops.nms(torch.rand(2, 4), torch.rand(2), 0.5)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    names = f"torch {version('torch')}, torchvision {version('torchvision')}"
    if done.returncode == 0:
        return [Finding("torch", "ok", names)]
    reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
    remedy = "install both from the same index, as in constraints.txt"
    return [Finding("torch", "failed", f"{names}: {reason}", remedy)]


def check_cpu() -> list[Finding]:
    """bfloat16 in hardware makes training on a CPU about 2.5 times faster than float32."""
    listed = Path("/proc/cpuinfo")
    flags = listed.read_text(encoding="utf-8", errors="replace") if listed.exists() else ""
    if "avx512_bf16" in flags or "amx_bf16" in flags:
        return [Finding("bf16", "ok", "the CPU has it")]
    told = "the CPU lacks AVX512-BF16: float32 is used" if flags else "cannot tell on this system"
    remedy = "a run takes two to three times as long, and its figures differ in the last digits; or use a GPU"
    return [Finding("bf16", "warning", told, remedy)]


def check_disk(root: Path) -> list[Finding]:
    """Free space where the workspace lies."""
    free = shutil.disk_usage(root).free / 1e9
    remedy = "free some space, e.g. with 'vitrine gc'" if free < ENOUGH_GB else ""
    return [Finding("disk", "warning" if remedy else "ok", f"{free:.1f} GB free", remedy)]


def check_ignores(root: Path) -> list[Finding]:
    """DVC must not walk through our own state, least of all through worktrees with graphs of their own."""
    path = root / ".dvcignore"
    listed = path.read_text(encoding="utf-8").split() if path.exists() else []
    missing = {STATE.name, "__pycache__"} - {line.strip("/") for line in listed}
    if missing:
        told = f"lacks {', '.join(sorted(missing))}"
        return [Finding(".dvcignore", "warning", told, "add a line for each")]
    return [Finding(".dvcignore", "ok", "hides state and bytecode")]


def check_store(root: Path) -> list[Finding]:
    """MLflow's store: it answers, is sound, and is no file store, which MLflow 3 refuses."""
    try:
        store = store_of(root)
        check(store)
    except VitrineError as error:
        return [Finding("MLflow store", "failed", str(error), "the records stay; then run 'vitrine sync'")]
    return [Finding("MLflow store", "ok", "made at the first run" if store.missing() else store.shown)]


def check_system() -> list[Finding]:
    """What the runner needs of the operating system."""
    found = [Finding("python", "ok", sys.version.split()[0])]
    if sys.platform != "linux":
        told = f"{sys.platform} cannot tie a child's life to its parent's"
        remedy = "after a SIGKILL of vitrine look for processes left behind"
        found.append(Finding("prctl", "warning", told, remedy))
    names = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
    proxies = ", ".join(sorted(name for name in names if os.environ.get(name)))
    if proxies and "127.0.0.1" not in os.environ.get("NO_PROXY", os.environ.get("no_proxy", "")):
        remedy = "export NO_PROXY=127.0.0.1,localhost"
        found.append(Finding("proxy", "warning", f"{proxies} also catches loopback", remedy))
    return found


def check_machine() -> list[Finding]:
    """The system, the versions installed, torch and the processor."""
    return [*check_system(), *check_versions(), *check_torch(), *check_cpu()]


def print_findings(console: Console, found: Sequence[Finding]) -> int:
    """Print the findings and return 0, or 1 when something will not work."""
    table = Table(box=box.SIMPLE, show_header=False, padding=(0, 1))
    marks = {"ok": "[green]ok", "warning": "[yellow]note", "failed": "[red]FAILED"}
    for item in found:
        told = Text(item.detail).append(f"\n→ {item.remedy}" if item.remedy else "", style="bold")
        table.add_row(marks[item.state], item.what, told)
    console.print(table)
    failed = sum(item.state == "failed" for item in found)
    well = "All well." if all(item.state == "ok" for item in found) else "It will run."
    console.print(f"{failed} of {len(found)} checks failed." if failed else well)
    return int(bool(failed))

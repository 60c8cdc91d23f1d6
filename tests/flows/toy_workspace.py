"""A small workspace with a real git repository, a real DVC graph and real stages, for the tests of the flow.

Four stages on a line with a fork: ``make`` -> ``scale`` -> ``sum``, and ``note`` beside them. Their commands
read ``toy.yaml`` and write numbers, so that every output is a pure function of the parameters.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

PATIENCE_S = 600.0  # a bound for a machine that is busy with other work, not an expectation
PROJECT = Path(__file__).resolve().parents[2]

COMMANDS = '''
import json, os, sys, time
from pathlib import Path
from components.stage.frame import work
from components.stage.errors import GateFailedError, InvalidDataError
from components.stage.params import read_yaml
from components.stage.files.publish import write_text

def settings():
    return read_yaml(Path("toy.yaml"))["toy"]

def pause(name):
    """Tell who we are and wait, where a test wants to catch us at work."""
    flag = Path(".vitrine/pause") / name
    if flag.exists():
        import os
        (flag.parent / f"{name}.pid").write_text(str(os.getpid()))
        while flag.exists():
            time.sleep(0.02)

def make(record):
    print("make: 1/2 rows", file=sys.stderr)
    numbers = [settings()["start"] + i for i in range(5)]
    Path("out").mkdir(exist_ok=True)
    write_text(Path("out/partial.txt"), "half")
    pause("make")
    write_text(Path("out/make.json"), json.dumps(numbers))
    Path("out/partial.txt").unlink()
    record.metrics["rows"] = 5

def scale(record):
    numbers = json.loads(Path("out/make.json").read_text())
    pause("scale")
    if settings()["fail"] == "gate":
        raise GateFailedError("too many bad rows in out/make.json; look at the quarantine.")
    if settings()["fail"] == "killed":
        os.kill(os.getpid(), 9)
    if settings()["fail"] == "crash":
        raise ValueError("boom")
    if settings()["fail"] == "once" and not Path(".vitrine/failed-once").exists():
        Path(".vitrine/failed-once").write_text("")
        raise ValueError("the first try fails")
    write_text(Path("out/scale.json"), json.dumps([n * settings()["factor"] for n in numbers]))

def sum_(record):
    total = sum(json.loads(Path("out/scale.json").read_text()))
    figure = {"value": total, "low": total - 1.5, "high": total + 1.5, "n": 5}
    Path("metrics").mkdir(exist_ok=True)
    write_text(Path("metrics/toy.json"), json.dumps({"summed": {"hits_at_5": figure}, "_tests": []}))

def note(record):
    Path("out").mkdir(exist_ok=True)
    pause("note")
    write_text(Path("out/note.txt"), "start " + str(settings()["start"]))

if __name__ == "__main__":
    commands = {"make": make, "scale": scale, "sum": sum_, "note": note}
    sys.exit(work(commands[sys.argv[1]], os.environ.get("DVC_STAGE", sys.argv[1])))
'''

GRAPH = """stages:
  make:
    cmd: python -m toy make
    deps: [toy/__main__.py]
    params: [toy.yaml: [toy.start]]
    outs: [out/make.json]
    meta: {system: [encoder, opal]}
  scale:
    cmd: python -m toy scale
    deps: [out/make.json]
    params: [toy.yaml: [toy.factor]]
    outs: [out/scale.json]
    meta: {retries: 1, retry_delay_s: 0.1}
  sum:
    cmd: python -m toy sum
    deps: [out/scale.json]
    outs: [metrics/toy.json: {cache: false}]
    meta: {system: encoder}
  note:
    cmd: python -m toy note
    deps: [toy/__main__.py]
    params: [toy.yaml: [toy.start]]
    outs: [out/note.txt]
"""

SETTINGS = "toy:\n  start: {start}\n  factor: {factor}\n  fail: '{fail}'\n"
RUNNER = """runner:
  stages_at_once: 2
  gpu:
    work_pool: null
    deployment: null
    timeout_s: 60.0
    worker_timeout_s: 10.0
"""


def command(root: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the workspace and demand that it succeeds."""
    done = subprocess.run(
        arguments, cwd=root, env=environment(**extra), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
    return done


def environment(**extra: str) -> dict[str, str]:
    """Environment with the project on the path and nothing of the outside that could leak in."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("VITRINE_", "PREFECT_", "MLFLOW_", "DVC_"))
    }
    fixed = {
        "PYTHONPATH": str(PROJECT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@example.org",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@example.org",
    }
    return {**kept, **fixed, **extra}


def settings(root: Path, start: int = 1, factor: int = 3, fail: str = "") -> None:
    """Write the toy's parameters."""
    (root / "toy.yaml").write_text(SETTINGS.format(start=start, factor=factor, fail=fail))


def make_workspace(root: Path) -> Path:
    """Create the workspace, committed, with nothing computed yet."""
    return Path(shutil.copytree(Path(_made().name) / "toy", root, symlinks=True))


@cache
def _made() -> TemporaryDirectory[str]:
    """The workspace of which all others are copies: DVC needs seconds to make one."""
    folder = TemporaryDirectory(prefix="vitrine-toy-")
    root = Path(folder.name) / "toy"
    (root / "toy").mkdir(parents=True)
    (root / "toy" / "__main__.py").write_text(COMMANDS)
    (root / "dvc.yaml").write_text(GRAPH)
    (root / "params.yaml").write_text(RUNNER)
    (root / ".gitignore").write_text(".vitrine/\n__pycache__/\n/mlruns/\n")
    (root / ".dvcignore").write_text(".vitrine\n__pycache__\n")
    (root / "conf").mkdir()
    (root / "conf" / "small.yaml").write_text(RUNNER.replace("60.0", "30.0"))
    settings(root)
    command(root, "git", "init", "-q", "-b", "main")
    command(root, sys.executable, "-m", "dvc", "init", "-q")
    command(root, "git", "add", "-A")
    command(root, "git", "commit", "-q", "-m", "a toy workspace")
    return folder


def rows(text: str, heading: str) -> dict[str, str]:
    """First word -> line of a printed table."""
    part = text[text.index(heading) :]
    return {line.split()[0]: line for line in part.splitlines()[1:] if line.strip()}


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for ``condition``."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.02)


class Paused:
    """``vitrine run`` with some stages held inside their commands."""

    def __init__(self, root: Path, *stages: str) -> None:
        self.flags = {stage: root / ".vitrine" / "pause" / stage for stage in stages}
        for flag in self.flags.values():
            flag.parent.mkdir(parents=True, exist_ok=True)
            flag.touch()
        self.process = psutil.Popen(
            [sys.executable, "-m", "flows.cli", "run"],
            cwd=root, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def stage(self, stage: str) -> psutil.Process:
        """The process of a stage, once it is at work."""
        told = self.flags[stage].with_name(f"{stage}.pid")
        until(
            lambda: (told.exists() and told.read_text()) or self.process.poll() is not None,
            f"the start of {stage}",
        )
        assert self.process.poll() is None, self.process.communicate()[0]
        return psutil.Process(int(told.read_text()))

    def go(self, stage: str) -> None:
        """Let a stage go on."""
        self.flags[stage].unlink(missing_ok=True)

    def output(self) -> str:
        """What the run has printed, at its end."""
        return str(self.process.communicate(timeout=PATIENCE_S)[0])

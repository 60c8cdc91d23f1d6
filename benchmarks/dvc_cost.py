"""What DVC costs around a stage's command, by the size of dvc.lock: `dvc repro --single-item`, and our call.

    python -m benchmarks.dvc_cost                  # folders of code, as in dvc.yaml
    python -m benchmarks.dvc_cost --files 43       # single files of code, as dvc.yaml had before

A throw-away workspace of ``--stages`` stages, whose commands only write a file, is computed once; then the
parameter of one stage changes, and that stage is brought up to date, again and again.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from components.machine import processes
from flows.run.stages import StageJob, run_stage

PER_FOLDER = 10  # modules in a folder of code


def main() -> None:
    """Print the size of the lock file and the seconds of each try."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--stages", type=int, default=27)
    parser.add_argument("--folders", type=int, default=5, help="folders of code that a stage depends on")
    parser.add_argument("--files", type=int, default=0, help="single files instead of folders")
    parser.add_argument("--tries", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root, options.stages, options.folders, options.files)
        values = range(1, options.tries + 1)
        cost = [(seconds(root, value, by_command), seconds(root, -value, by_flow)) for value in values]
        lines = len((root / "dvc.lock").read_text(encoding="utf-8").splitlines())
    print(f"dvc.lock of {lines:,} lines: seconds, and processor seconds, of each try and their median")
    for name, found in zip(
        ("dvc repro --single-item", "vitrine's call of DVC"), zip(*cost, strict=True), strict=True
    ):
        for what, values in zip(("wall", "processor"), zip(*found, strict=True), strict=True):
            tries = " ".join(f"{value:.2f}" for value in values)
            print(f"{name:24} {what:10} {statistics.median(values):.2f}   ({tries})")


def make(root: Path, stages: int, folders: int, files: int) -> None:
    """Write a workspace and compute it."""
    count = max(folders, -(-files // PER_FOLDER))
    modules = [root / f"code/room{i:02}/module{j:02}.py" for i in range(count) for j in range(PER_FOLDER)]
    for path in modules:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"NAME = '{path.parent.name} {path.stem}'\n", encoding="utf-8")
    code = [str(path.relative_to(root)) for path in modules[:files]] or [
        f"code/room{i:02}" for i in range(folders)
    ]
    graph = {
        f"stage{i:02}": {
            "cmd": f"echo {i} > out{i:02}.txt",
            "deps": [*code, *([f"out{i - 1:02}.txt"] if i else [])],
            "params": [f"stage{i:02}"],
            "outs": [f"out{i:02}.txt"],
        }
        for i in range(stages)
    }
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": graph}), encoding="utf-8")
    write_parameters(root, stages, 0)
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["dvc", "repro", "-q"]):
        start = [sys.executable, "-m", *command] if command[0] == "dvc" else command
        subprocess.run(start, cwd=root, env=processes.environment(), check=True)


def write_parameters(root: Path, stages: int, value: int) -> None:
    """Parameters of all stages; ``value`` is that of the first."""
    values = {f"stage{i:02}": {"value": value if i == 0 else 0, "name": "toy"} for i in range(stages)}
    (root / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")


def by_command(root: Path) -> None:
    """Run the first stage as a person does."""
    command = [sys.executable, "-m", "dvc", "repro", "-q", "--single-item", "stage00"]
    subprocess.run(command, cwd=root, env=processes.environment(), check=True)


def by_flow(root: Path) -> None:
    """Run the first stage as the flow does."""
    result = run_stage(StageJob(root, "stage00", "cost"))
    assert result.state == "ran", result


def seconds(root: Path, value: int, start_stage: Callable[[Path], None]) -> tuple[float, float]:
    """Change the parameter of the first stage and run it; wall and processor seconds."""
    stages = len(yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8")))
    write_parameters(root, stages, value)
    start, before = time.perf_counter(), processor_seconds()
    start_stage(root)
    return time.perf_counter() - start, processor_seconds() - before


def processor_seconds() -> float:
    """What ended child processes have computed; other work on the machine does not change it much."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()

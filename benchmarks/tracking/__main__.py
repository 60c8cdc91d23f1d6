"""What publishing to MLflow costs, and how long a comparison of 5,000 queries takes.

    python -m benchmarks.tracking                          # one pipeline run, then 50 and 500 stage runs
    python -m benchmarks.tracking --pictures docs/images   # MLflow's pages with 16 pipeline runs, as PNG

The records of this workspace's largest pipeline run are published as they are, then with synthetic copies of
them (``copies.py``), each time into a store of its own. Nothing of the workspace is written.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.tracking.copies import add_copy, executions, prepare
from benchmarks.tracking.queries import QUERIES, two_profiles
from components.machine import processes

HEADS = (
    "pipeline runs",
    "stage runs",
    "seconds",
    "of processor",
    "a stage run",
    "of the runs' wall",
    "store",
    "metrics a stage run",
)
HERE = Path(__file__).parents[2]


class Cost(NamedTuple):
    """What one publish cost, and what it left."""

    pipelines: int
    stages: int
    wall_s: float
    processor_s: float
    megabytes: float
    metrics: list[int]  # of each stage run
    share: float  # of the wall time of the pipeline runs


def main() -> None:
    """Print the tables, or write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=HERE, help="whose records")
    parser.add_argument(
        "--runs", type=int, nargs="*", default=[0, 50, 500], help="stage runs at least; 0: one pipeline run"
    )
    parser.add_argument("--pictures", type=Path, help="write pictures of MLflow's pages there instead")
    options = parser.parse_args()
    source = options.workspace.resolve()
    if options.pictures:
        from benchmarks.tracking.pictures import take

        take(source, options.pictures)
        return
    print(f"| {' | '.join(HEADS)} |\n{'|---' * len(HEADS)}|")
    for runs in options.runs:
        with tempfile.TemporaryDirectory(prefix="vitrine-tracking-") as folder:
            print(_row(published(source, Path(folder) / "shop", runs)), flush=True)
    with tempfile.TemporaryDirectory(prefix="vitrine-tracking-") as folder:
        print(f"\n{compared(source, Path(folder) / 'shop')}")


def published(source: Path, target: Path, runs: int) -> Cost:
    """Publish the source's records, and copies until there are ``runs`` stage runs, into a new store."""
    prepare(source, target)
    real = executions(source)
    stages = pipelines = 0
    while stages < max(1, runs):
        stages += add_copy(source, target, real, pipelines)
        pipelines += 1
    # what every first publish pays once: MLflow's import and an empty store with its tables
    command = [sys.executable, "-c", "from components.tracking.store import *; connect(store_of(Path.cwd()))"]
    subprocess.run(command, cwd=target, env=processes.environment(), check=True)
    from components.tracking.publish.publish import publish

    start, before = time.perf_counter(), time.process_time()
    warnings = publish(target).warnings
    wall, used = time.perf_counter() - start, time.process_time() - before
    assert not warnings, warnings
    size = sum(path.stat().st_size for path in (target / "mlruns").rglob("*") if path.is_file())
    spans = [(one.record.started, one.record.started + one.record.seconds) for one in real]
    whole = (max(end for _, end in spans) - min(begin for begin, _ in spans)) * stages / len(real)
    return Cost(pipelines, stages, wall, used, size / 1e6, _metrics(target), wall / whole)


def _metrics(target: Path) -> list[int]:
    from components.tracking.store import connect, store_of

    client = connect(store_of(target))
    ids = [one.experiment_id for one in client.search_experiments()]
    found: list[Any] = []
    token = None
    while True:
        page = client.search_runs(ids, "tags.`vitrine.kind` = 'stage'", max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return [len(run.data.metrics) for run in found]


def _row(cost: Cost) -> str:
    cells = (
        f"{cost.pipelines:,}",
        f"{cost.stages:,}",
        f"{cost.wall_s:.1f}",
        f"{cost.processor_s:.1f}",
        f"{cost.wall_s / cost.stages:.2f}",
        f"{cost.share:.1%}",
        f"{cost.megabytes:.1f} MB",
        f"{statistics.median(cost.metrics):g}, at most {max(cost.metrics)}",
    )
    return f"| {' | '.join(cells)} |"


def compared(source: Path, target: Path) -> str:
    """One sentence on ``vitrine compare`` of two profiles with ``QUERIES`` queries."""
    prepare(source, target)
    two_profiles(target, executions(source))
    command = [sys.executable, "-m", "components.tracking", "compare", "before", "after"]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=target, env=processes.environment(), capture_output=True, text=True)
    wall = time.perf_counter() - start
    assert done.returncode == 0, done.stderr
    (page,) = (target / "reports/compare").glob("*.html")
    html = page.read_text(encoding="utf-8")
    pictures = len(re.findall(r'src="data:image/webp', html))
    return (
        f"`vitrine compare before after`, two profiles with the same {QUERIES:,} queries: {wall:.1f} s with "
        f"all imports, {len(done.stdout.splitlines())} lines, a page of {len(html.encode()) / 1e6:.2f} MB "
        f"with {pictures} pictures."
    )


if __name__ == "__main__":
    main()

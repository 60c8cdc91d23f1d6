"""What becomes of small catalogues in the shapes of other systems: imported, and run to their page.

``python -m benchmarks.catalogues`` makes each of ``benchmarks/catalogues/feeds.py``, imports it with
its mapping (those of conf/mappings for vendors' feeds) and prints a table: rows, products, what was left out
and why.
``--run`` also runs every catalogue through the whole graph with tiny parameters, by the public commands in a
clone of the last commit, and adds minutes, minutes of processors, whether it came to its page, and what was
left out; ``benchmarks/results/shapes.json`` keeps that. ``--only NAME`` takes one and leaves the others in
the file. With ``--work FOLDER`` a run that is stopped goes on from there, and its minutes add up;
with ``--stages`` the graph is run without DVC, Prefect and MLflow, in a third of the time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmarks.catalogues.feeds import SHAPES, Shape
from components.catalog.source.manifest import import_source
from components.catalog.source.mapping import Mapping, mapping_values, parse_mapping
from components.parameters.profiles import profile_values
from components.stage.errors import VitrineError
from components.stage.params import read_yaml

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results/shapes.json"
PRODUCTS = 300
# At most this, wherever a parameter has such a name
TINY = {"steps": 20, "batch_size": 32, "epochs": 2, "scenes": 100, "pairs": 200, "validate_every_steps": 10}


class Outcome(NamedTuple):
    """What an import or a run came to: whether it ended well, how many, and what it said."""

    good: bool
    rows: int
    products: int
    left_out: list[str]
    minutes: float = 0.0
    processor_minutes: float = 0.0


def mapping_of(shape: Shape) -> Mapping:
    """The mapping that a shape is imported with."""
    values: dict[str, Any] = {}
    if shape.mapping:
        values = read_yaml(ROOT / f"conf/mappings/{shape.mapping}.yaml")
    changed = {key: value for key, value in (values | shape.changes).items() if value is not None}
    return parse_mapping(changed, shape.name)


def imported(shape: Shape, work: Path, count: int = PRODUCTS) -> Outcome:
    """Make a catalogue in ``work`` and import it."""
    source = work / "source"
    if not source.exists():
        source.mkdir(parents=True)
        shape.write(source, count)
    try:
        found = import_source(source, mapping_of(shape), work / "into", link=True)
    except VitrineError as error:
        return Outcome(False, 0, 0, [str(error).replace(f"{source}/", "").replace(str(source), "the folder")])
    return Outcome(True, found.rows, found.products, list(found.warnings()))


def ran(shape: Shape, work: Path, stages: bool) -> Outcome:
    """Import what ``imported`` made into a clone of this repository, and run it with tiny parameters.

    Args:
        stages: run them by ``benchmarks.catalogues.stages`` in place of ``vitrine run``.
    """
    clone, mapping = work / "clone", work / "mapping.yaml"
    if not mapping.exists():
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        (clone / "conf/tiny.yaml").write_text(yaml.safe_dump(_tiny(profile_values(clone, "own"))))
        mapping.write_text(yaml.safe_dump(mapping_values(mapping_of(shape))))
    said: list[str] = []
    with _clock(work / "seconds.json") as spent:
        source = ["flows.cli", "import", str(work / "source"), "--mapping", str(mapping)]
        run = ["flows.cli", "run", "--profile", "tiny"]
        if stages:
            run = ["benchmarks.catalogues.stages", str(clone / ".vitrine/work/tiny")]
        for arguments in ([*source, "--profile", "tiny"], run):
            command = [sys.executable, "-m", *arguments]
            environment = os.environ | {"PYTHONPATH": str(clone)}
            done = subprocess.run(
                command, cwd=clone, env=environment, capture_output=True, text=True, check=False
            )
            lines = (done.stdout + done.stderr).splitlines()
            said += [
                line.strip() for line in lines if re.match(r"\s*(?:left out|skipped|warning|error)[: ]", line)
            ]
            if done.returncode:
                break
    seconds, processor_seconds = spent()
    good = done.returncode == 0
    return Outcome(good, 0, 0, said or lines[-1:], seconds / 60, processor_seconds / 60)


@contextmanager
def _clock(file: Path) -> Iterator[Callable[[], Sequence[float]]]:
    """Adds seconds, and those of processors, to those that ``file`` has, also where the run is stopped."""

    def _kept() -> list[float]:
        return [float(one) for one in json.loads(file.read_text())] if file.exists() else [0.0, 0.0]

    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    try:
        yield _kept
    finally:
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = sum(after[:2]) - sum(before[:2])
        kept = _kept()
        file.write_text(json.dumps([kept[0] + time.monotonic() - begun, kept[1] + used]))


def _tiny(values: Any) -> Any:
    if not isinstance(values, dict):
        return values
    return {
        key: min(value, TINY[key]) if key in TINY and isinstance(value, int) else _tiny(value)
        for key, value in values.items()
    }


def line(shape: Shape, found: Outcome, run: Outcome | None) -> str:
    """A line of the table; what was left out stands in its last column."""
    cells = [shape.name, str(found.rows), str(found.products), "yes" if found.good else "no"]
    said = sentences(found, run)
    if run is not None:
        cells += [f"{run.minutes:.1f}", f"{run.processor_minutes:.1f}", "to its page" if run.good else "no"]
    text = " ".join(part.strip() for part in said).replace("|", "/") or "nothing"
    return f"| {' | '.join(cells)} | {text} |"


def sentences(found: Outcome, run: Outcome | None) -> list[str]:
    """What the import and the run said, each sentence once."""
    said = [*found.left_out, *(run.left_out if run else [])]
    return list(dict.fromkeys(" ".join(part.split()).removeprefix("warning: ") for part in said))


def keep(shape: Shape, found: Outcome, run: Outcome, stages: bool, file: Path = RESULTS) -> None:
    """Put a run's row among those of the other shapes, in their order."""
    rows = {row["catalogue"]: row for row in json.loads(file.read_text())} if file.exists() else {}
    rows[shape.name] = {
        "catalogue": shape.name,
        "rows": found.rows,
        "products": found.products,
        "imported": found.good,
        "by": "stages alone" if stages else "vitrine run",
        "minutes": round(run.minutes, 1),
        "processor_minutes": round(run.processor_minutes, 1),
        "page": run.good,
        "said": sentences(found, run),
    }
    ordered = [rows[one.name] for one in SHAPES if one.name in rows]
    file.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def _place(work: Path | None, shape: Shape) -> Iterator[Path]:
    """A folder for a shape, below ``work`` or for now."""
    if work is not None:
        yield work.resolve() / shape.name.replace(" ", "-")
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Make, import, perhaps run, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", action="store_true", help="run each to its page, minutes each")
    parser.add_argument("--only", metavar="NAME", choices=[shape.name for shape in SHAPES])
    parser.add_argument("--work", metavar="FOLDER", type=Path, help="keep the workspaces of runs there")
    parser.add_argument("--stages", action="store_true", help="run stages alone: no DVC, Prefect and MLflow")
    arguments = parser.parse_args(argv)
    head = [
        "catalogue",
        "rows",
        "products",
        "imported",
        *(["minutes", "of processors", "ran"] if arguments.run else []),
    ]
    print("| " + " | ".join([*head, "left out, and why"]) + " |\n" + "|---" * (len(head) + 1) + "|")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what a stopped run has spent is kept
    for shape in SHAPES:
        if arguments.only in (None, shape.name):
            with _place(arguments.work, shape) as folder:
                found = imported(shape, folder)
                run = Outcome(False, 0, 0, []) if arguments.run else None
                if run and found.good:
                    run = ran(shape, folder, arguments.stages)
                print(line(shape, found, run), flush=True)
                if run:
                    keep(shape, found, run, arguments.stages)
    return 0


if __name__ == "__main__":
    sys.exit(main())

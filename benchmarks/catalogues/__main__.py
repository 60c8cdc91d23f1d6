"""What becomes of small catalogues in the shapes of other systems: imported, and run to their page.

``python -m benchmarks.catalogues`` makes each of ``benchmarks/catalogues/feeds.py``, imports it with
its mapping (those of conf/mappings for vendors' feeds) and prints a table: rows, products, what was left out
and why.
``--run`` also runs every catalogue through the whole graph with tiny parameters, by the public commands in a
clone of the last commit, and adds minutes, whether it came to its page, and what was left out;
``benchmarks/results/shapes.json`` keeps that. ``--only NAME`` takes one, and leaves the others in the file.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
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
    source.mkdir()
    shape.write(source, count)
    try:
        found = import_source(source, mapping_of(shape), work / "into", link=True)
    except VitrineError as error:
        return Outcome(False, 0, 0, [str(error).replace(f"{source}/", "").replace(str(source), "the folder")])
    return Outcome(True, found.rows, found.products, list(found.warnings()))


def ran(shape: Shape, work: Path) -> Outcome:
    """Import what ``imported`` made into a clone of this repository, and run it with tiny parameters."""
    clone, mapping = work / "clone", work / "mapping.yaml"
    subprocess.run(
        ["git", "clone", "-q", "-c", "advice.detachedHead=false", str(ROOT), str(clone)], check=True
    )
    mapping.write_text(yaml.safe_dump(mapping_values(mapping_of(shape))))
    (clone / "conf/tiny.yaml").write_text(yaml.safe_dump(_tiny(profile_values(clone, "own"))))
    began = time.monotonic()
    said: list[str] = []
    for arguments in (["import", str(work / "source"), "--mapping", str(mapping)], ["run"]):
        command = [sys.executable, "-m", "flows.cli", *arguments, "--profile", "tiny"]
        environment = os.environ | {"PYTHONPATH": str(clone)}
        done = subprocess.run(
            command, cwd=clone, env=environment, capture_output=True, text=True, check=False
        )
        lines = (done.stdout + done.stderr).splitlines()
        said += [line.strip() for line in lines if re.match(r"\s*(left out|skipped|warning|error)", line)]
        if done.returncode:
            break
    minutes = (time.monotonic() - began) / 60
    return Outcome(done.returncode == 0, 0, 0, said or lines[-1:], minutes)


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
    said = found.left_out
    if run is not None:
        cells += [f"{run.minutes:.1f}", "to its page" if run.good else "no"]
        said = [*said, *run.left_out]
    text = " ".join(part.strip() for part in said).replace("|", "/") or "nothing"
    return f"| {' | '.join(cells)} | {text} |"


def keep(shape: Shape, found: Outcome, run: Outcome, file: Path = RESULTS) -> None:
    """Put a run's row among those of the other shapes, in their order."""
    rows = {row["catalogue"]: row for row in json.loads(file.read_text())} if file.exists() else {}
    rows[shape.name] = {
        "catalogue": shape.name,
        "rows": found.rows,
        "products": found.products,
        "imported": found.good,
        "minutes": round(run.minutes, 1),
        "page": run.good,
        "said": [" ".join(part.split()) for part in [*found.left_out, *run.left_out]],
    }
    ordered = [rows[one.name] for one in SHAPES if one.name in rows]
    file.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Make, import, perhaps run, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", action="store_true", help="run each to its page, minutes each")
    parser.add_argument("--only", metavar="NAME", choices=[shape.name for shape in SHAPES])
    arguments = parser.parse_args(argv)
    head = ["catalogue", "rows", "products", "imported", *(["minutes", "ran"] if arguments.run else [])]
    print("| " + " | ".join([*head, "left out, and why"]) + " |\n" + "|---" * (len(head) + 1) + "|")
    for shape in SHAPES:
        if arguments.only in (None, shape.name):
            with tempfile.TemporaryDirectory() as folder:
                found = imported(shape, Path(folder))
                run = Outcome(False, 0, 0, []) if arguments.run else None
                if run and found.good:
                    run = ran(shape, Path(folder))
                print(line(shape, found, run), flush=True)
                if run:
                    keep(shape, found, run)
    return 0


if __name__ == "__main__":
    sys.exit(main())

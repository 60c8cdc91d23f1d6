"""What an owner of about a thousand products gets: the encoder beside the colour baseline, nothing tuned.

Two small catalogues of real photos are imported with ``conf/own.yaml`` by the public commands, in a clone of
this repository's last commit, and ``vitrine run encoder`` does the rest. Three tenths of the products are for
testing, so that the figures' intervals say something.

Rows are compared where they know as much: ``fine_tuned`` and ``colour_histogram_untyped`` have to see of what
type a product is, ``fine_tuned_typed`` and ``colour_histogram`` are told it.

``python -m benchmarks.catalogues.small FOLDER`` reads ``FOLDER/implicitave_eval`` and
``FOLDER/fashion_products`` (``products.jsonl`` and pictures), prints a table, and writes
``docs/results/small-catalogues.md``. Without the folders it says so and ends with 0: the data may not be
shared.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/results/small-catalogues.md"
SPLITS = {"train": 0.6, "validation": 0.1, "test": 0.3}
ROWS = (
    "fine_tuned",
    "fine_tuned_inferred",
    "colour_histogram_untyped",
    "fine_tuned_typed",
    "colour_histogram",
)
METRICS = ("hits_at_5", "titles_hits_at_5")


@dataclass(frozen=True)
class Catalogue:
    """A part of a data set.

    Attributes:
        folder: of the data set. departments: first names of the categories that are taken.
        product_type: the field of the type. attributes: name in the catalogue to field.
        templates: of queries. most: products, chosen by their ids.
    """

    folder: str
    departments: tuple[str, ...]
    product_type: str
    attributes: Mapping[str, str]
    templates: tuple[str, ...]
    most: int = 1050

    def rows(self, data: Path) -> list[dict[str, Any]]:
        """The products, in order of a hash of their ids."""
        lines = (data / self.folder / "products.jsonl").read_text(encoding="utf-8").splitlines()
        found = [r for r in map(json.loads, lines) if r["category_path"][0] in self.departments]
        found.sort(key=lambda r: hashlib.sha256(r["product_id"].encode()).hexdigest())
        return found[: self.most]

    def mapping(self) -> dict[str, Any]:
        """How its fields map (docs/mapping.md)."""
        texts = {"product_id": "product_id", "title": "title", "category": "category_path.0"}
        return {
            "products": "products.jsonl",
            "fields": texts | {"product_type": self.product_type},
            "image": {"path": "image"},
            "attributes": dict(self.attributes),
            "group": {"union_of": ["title"]},
            "derive_queries": {"templates": list(self.templates)},
        }


CATALOGUES = {
    "home, food and jewellery": Catalogue(
        "implicitave_eval",
        ("Home", "Food", "Jewelry and General Apparel"),
        "category_path.1",
        {n.lower(): f"attributes.{n}" for n in ("Material", "Flavor", "Form", "Shape", "Pattern", "Season")},
        tuple(
            f"{{{n}}} {{product_type}}" for n in ("material", "flavor", "form", "shape", "pattern", "season")
        ),
    ),
    "bags, watches and other accessories": Catalogue(
        "fashion_products",
        ("Accessories",),
        "category_path.2",
        {"colour": "attributes.baseColour", "gender": "attributes.gender", "usage": "attributes.usage"},
        ("{colour} {product_type} for {gender}", "{gender} {product_type} for {usage} wear"),
    ),
}


def write_source(catalogue: Catalogue, data: Path, folder: Path) -> None:
    """The part of the data set as a folder of its own."""
    folder.mkdir()
    rows = catalogue.rows(data)
    (folder / "products.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for row in rows:
        picture = folder / row["image"]
        picture.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data / catalogue.folder / row["image"], picture)


def vitrine(workspace: Path, *arguments: str) -> None:
    """A public command in a workspace.

    Raises:
        SystemExit: it failed; carries its last words.
    """
    command = [sys.executable, "-m", "flows.cli", *arguments]
    path = {"PYTHONPATH": str(workspace)}
    done = subprocess.run(command, cwd=workspace, env=os.environ | path, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"vitrine {' '.join(arguments)}: {(done.stdout + done.stderr)[-2000:]}")


def measured(catalogue: Catalogue, data: Path, work: Path) -> dict[str, Any]:
    """Import, run the encoder, and read its figures."""
    source, workspace, mapping = work / "source", work / "clone", work / "mapping.yaml"
    write_source(catalogue, data, source)
    subprocess.run(["git", "clone", "-q", str(ROOT), str(workspace)], check=True)
    mapping.write_text(yaml.safe_dump(catalogue.mapping()))
    own = {"extends": "own", "catalog": {"splits": SPLITS}}
    (workspace / "conf/small.yaml").write_text(yaml.safe_dump(own))
    vitrine(workspace, "import", str(source), "--mapping", str(mapping), "--profile", "small")
    vitrine(workspace, "run", "encoder", "--profile", "small")
    found: dict[str, Any] = json.loads((workspace / "results/small/encoder.json").read_text())
    return found


def table(name: str, products: int, figures: Mapping[str, Any]) -> list[str]:
    """A Markdown table of one catalogue, and the differences between rows that know as much."""
    lines = [f"## {name.capitalize()}: {products:,} products", ""]
    lines += ["| metric | " + " | ".join(ROWS) + " | n |", "|---" * (len(ROWS) + 2) + "|"]
    for metric in METRICS:
        cells = [figures[row][metric] for row in ROWS]
        values = [f"{c['value']:.3f} [{c['low']:.3f}, {c['high']:.3f}]" for c in cells]
        lines.append(f"| `{metric}` | " + " | ".join(values) + f" | {cells[0]['n']} |")
    lines += ["", "| paired test | difference | n |", "|---|---|---|"]
    equal = (
        ("fine_tuned", "colour_histogram_untyped"),
        ("fine_tuned_inferred", "colour_histogram"),
        ("fine_tuned_typed", "colour_histogram"),
    )
    for test in figures["_tests"]:
        if (test["a"], test["b"]) in equal and test["metric"] in METRICS:
            difference = f"{test['difference']:+.3f} [{test['low']:+.3f}, {test['high']:+.3f}]"
            lines.append(f"| `{test['metric']}`: {test['a']} − {test['b']} | {difference} | {test['n']} |")
    return [*lines, ""]


HEAD = """# Results: two small catalogues

What `conf/own.yaml` gives on about a thousand products without any tuning. Made by
`python -m benchmarks.catalogues.small FOLDER`; the products and pictures are not part of this repository.

- The photos and titles are real; queries are **derived** from the catalogues' attributes, so every row looks
  better on them than on what shoppers type.
- `fine_tuned` and `colour_histogram_untyped` have to see what a product is. `fine_tuned_typed` and
  `colour_histogram` are told the product types: what has a type that the query names comes first.
  `fine_tuned_inferred` is what search does: it infers the type from the words of the query.
- Three tenths of the products are for testing. One seed; the intervals cover another draw of products.
""".splitlines()


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the page, write it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of the data sets")
    data = parser.parse_args(argv).data
    missing = [c.folder for c in CATALOGUES.values() if not (data / c.folder / "products.jsonl").is_file()]
    if missing:
        print(f"skipped: {data} has no {', '.join(missing)}; the data may not be shared.")
        return 0
    lines = list(HEAD)
    for name, catalogue in CATALOGUES.items():
        with tempfile.TemporaryDirectory() as work:
            figures = measured(catalogue, data, Path(work))
        lines += ["", *table(name, len(catalogue.rows(data)), figures)[:-1]]
    text = "\n".join(lines) + "\n"
    print(text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How many listings a second refinement judges, and how its memory grows with the catalogue.

The workspace's listings and the vectors of their pictures are laid out so often that a catalogue of each size
is there, each time under other ids and groups, and without pictures: refinement reads none. Each size is the
stage as a process of its own. Products per second are from its record, without what comes before it and
without imports; memory is the peak of the process. In a workspace in which the encoder has run:
``python -m benchmarks.opal.refine [SIZE ...] [--set refine.support.calibration_products=800]``
(10,000 products of the demo have 819 of the validation split: above that, more is calibrated on)
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.catalog.format.records import TEXT_COLUMNS, Product
from components.catalog.format.shards import CatalogueWriter, product_of
from components.encoder.model.features.rows import read_rows
from components.retrieval.embeddings import read_embeddings
from components.stage.paths import Paths

RESULTS = Path("benchmarks/results/refine.json")
MEGABYTE = 2**20


def laid_out(rows: Sequence[dict[str, Any]], size: int) -> Iterator[Product]:
    """The first ``size`` products of the rows, over and over."""
    for number in range(size):
        turn, at = divmod(number, len(rows))
        row = {name: rows[at][name] for name in TEXT_COLUMNS}
        renamed = {name: f"{turn:04d}-{row[name]}" for name in ("product_id", "group_id")}
        yield product_of(row | renamed)


def write_catalogue(size: int, root: Path) -> None:
    """What the stage reads: a catalogue, vectors, the encoder and the parameters."""
    paths = Paths()
    rows = sorted(read_rows(paths.catalogue), key=lambda row: str(row["product_id"]))
    ids, vectors, meta = read_embeddings(paths.embeddings)
    at = {name: place for place, name in enumerate(ids)}
    order = [at[row["product_id"]] for row in rows]
    with CatalogueWriter(root / paths.catalogue, rows_per_shard=4096) as writer:
        for product in laid_out(rows, size):
            writer.add(product)
    shutil.copy(paths.catalogue / "schema.json", root / paths.catalogue)
    folder = root / paths.embeddings
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps(meta | {"count": size}), encoding="utf-8")
    names = [product.product_id for product in laid_out(rows, size)]
    with pq.ParquetWriter(folder / "embeddings.parquet", _columns(vectors.shape[1])) as file:
        for start in range(0, size, 1024):
            chosen = names[start : start + 1024]
            shown = vectors[[order[(start + i) % len(order)] for i in range(len(chosen))]]
            column = pa.FixedSizeListArray.from_arrays(pa.array(shown.reshape(-1)), vectors.shape[1])
            file.write_table(pa.table([chosen, column], schema=_columns(vectors.shape[1])))
    (root / paths.encoder).parent.mkdir(parents=True)
    (root / paths.encoder).symlink_to(paths.encoder.resolve())
    shutil.copy("params.yaml", root)


def _columns(dimension: int) -> pa.Schema:
    return pa.schema([("product_id", pa.string()), ("vector", pa.list_(pa.float32(), dimension))])


def refined(size: int, settings: Sequence[str]) -> dict[str, Any]:
    """The stage's record of a catalogue of ``size`` products, with other ``settings``."""
    with tempfile.TemporaryDirectory(prefix="vitrine-refine-") as name:
        root = Path(name)
        write_catalogue(size, root)
        environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
        command = [sys.executable, "-m", "components.stage", "opal.refine", *settings]
        subprocess.run(command, cwd=root, env=environment, check=True)
        (record,) = root.glob(".vitrine/records/*/*.json")
        said = json.loads(record.read_text(encoding="utf-8"))
    seconds = {name: round(said["timings"][name], 2) for name in ("observe", "calibrate", "refine")}
    rate = round(said["metrics"]["products_per_second"])
    peak = round(said["peak_memory_bytes"] / MEGABYTE)
    return {"products": size, "products_per_second": rate, "peak_mib": peak, **seconds}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--set", nargs="*", default=[], help="settings of the stage, as name=value")
    asked = parser.parse_args()
    lines = []
    for size in asked.sizes:
        lines.append(refined(size, asked.set) | ({"settings": asked.set} if asked.set else {}))
        print(lines[-1])
    RESULTS.write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")
    growth = lines[-1]["peak_mib"] / lines[0]["peak_mib"] - 1
    print(f"memory from {lines[0]['products']:,} to {lines[-1]['products']:,}: {growth:+.1%}")


if __name__ == "__main__":
    main()

"""Writing the catalogue that passed: the rows that were not set aside, shard by shard."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.catalog.format.parquet import row_groups
from components.catalog.format.records import SPLITS
from components.catalog.format.schema import read_schema, write_schema
from components.catalog.format.shards import Catalogue, write_manifest
from components.quality.catalogue.texts import schema_within
from components.quality.params import QualityParams
from components.quality.verdict import Verdict


def write_checked(source: Path, target: Path, verdict: Verdict, params: QualityParams) -> None:
    """Write the catalogue ``source`` without its bad rows to the new folder ``target``.

    Shards keep their boundaries; only one row group is in memory. Files that lose nothing are copied byte for
    byte; the schema loses names and values that no product may hold.
    """
    (target / "products").mkdir(parents=True)
    schema, left_out = schema_within(read_schema(source / "schema.json"), params)
    if left_out:
        write_schema(target / "schema.json", schema)
    else:
        shutil.copyfile(source / "schema.json", target / "schema.json")
    for kind in ("queries", "qrels"):
        _filtered([source / f"{kind}.parquet"], [target / f"{kind}.parquet"], verdict.bad_rows(kind))
    shards = Catalogue(source).shards
    _filtered(shards, [target / "products" / shard.name for shard in shards], verdict.bad_rows("products"))
    _close_gaps(target / "products")
    _write_manifest(source / "manifest.json", target, verdict)


def _filtered(sources: list[Path], targets: list[Path], bad: set[int]) -> None:
    """Copy ``sources`` without the rows ``bad``, which count through all of them."""
    first = 0
    for source, target in zip(sources, targets, strict=True):
        rows = pq.read_metadata(source).num_rows
        here = {row - first for row in bad if first <= row < first + rows}
        if here:
            _copy_without(source, target, here)
        else:
            shutil.copyfile(source, target)
        first += rows


def _copy_without(source: Path, target: Path, bad: set[int]) -> None:
    # The catalogue's own way of writing, so that a shard has the same form whether or not it lost a row.
    with pq.ParquetWriter(
        target,
        pq.read_schema(source),
        compression="zstd",
        compression_level=1,
        use_dictionary=False,
        write_statistics=False,
    ) as writer:
        first = 0
        for table in row_groups(source):
            keep = np.array([first + i not in bad for i in range(table.num_rows)], np.bool_)
            first += table.num_rows
            if keep.any():
                writer.write_table(table.filter(pa.array(keep)), row_group_size=int(keep.sum()))


def _close_gaps(folder: Path) -> None:
    """Remove shards without rows and number the others from 0."""
    kept = 0
    for shard in sorted(folder.glob("part-*.parquet")):
        if pq.read_metadata(shard).num_rows == 0:
            shard.unlink()
            continue
        shard.rename(folder / f"part-{kept:05d}.parquet")
        kept += 1


def _write_manifest(source: Path, target: Path, verdict: Verdict) -> None:
    """The source's manifest with the counts of what is left."""
    manifest = json.loads(source.read_text(encoding="utf-8")) if source.is_file() else {}
    left = verdict.facts["Left after quarantine"]
    manifest |= {name: left[name] for name in ("products", "queries", "qrels")}
    manifest["splits"] = {split: left[f"products, {split}"] for split in SPLITS}
    write_manifest(target, manifest)

"""Vectors of all products, kept beside the other caches: a second search computes none.

The array is a cache, keyed by the pictures' and texts' bytes and all that decides a vector: delete it and
nothing changes but time. It is memory-mapped, so memory holds what is read of it. A new array takes
the place of those that nobody has asked for.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from components.encoder.model.features.pixels import alone, shard_paths
from components.encoder.model.features.vector_cache import VERSION, Vectors
from components.fusion.model.towers.towers import Items, Towers, joined
from components.stage.files.publish import published
from components.stage.progress import Progress
from components.stage.resume import sha256_file

KEPT = 4  # arrays: a workspace and its profiles share the folder
FLAGS = 2  # numbers behind a product's vectors: has it a text, has it a picture


def product_vectors(towers: Towers, catalogue: Path) -> Items:
    """Every product's vectors, in catalogue order, without the rows; towers without cache keep nothing.

    Raises:
        FusionDataError: there is no product. ImageError: a picture cannot be read; names the product.
    """
    if towers.cache is None:
        return joined(towers.stream(catalogue))
    blocks = (towers.text.model_dump_json(), towers.params.model_dump_json())
    settings = (VERSION, towers.model.model_sha256, *blocks)
    key = " ".join([*settings, *map(sha256_file, shard_paths(catalogue))])
    file = towers.cache / "search" / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.npy"
    kept = _read(file)
    if kept is None:
        with alone(file):
            kept = _read(file)  # another process may just have made it
            if kept is None:
                file.unlink(missing_ok=True)
                _compute(towers, catalogue, file)
                forget_oldest(file.parent)
                kept = np.load(file, mmap_mode="r")
    with suppress(OSError):  # a folder that is read only, or another process has removed it
        os.utime(file)  # when it was asked for last
    return _items(kept, towers.dimension)


def forget_oldest(folder: Path) -> None:
    """Remove all arrays but the ``KEPT`` that were asked for last; a process that reads one keeps it open."""
    by_use = sorted(folder.glob("*.npy"), key=lambda file: file.stat().st_mtime_ns)
    for file in by_use[:-KEPT]:
        file.unlink(missing_ok=True)


def _read(file: Path) -> Vectors | None:
    """The array; None where there is none, or a cut one."""
    try:
        kept: Vectors = np.load(file, mmap_mode="r")
    except (FileNotFoundError, EOFError, ValueError):
        return None
    return kept


def _compute(towers: Towers, catalogue: Path, file: Path) -> None:
    rows = sum(pq.ParquetFile(shard).metadata.num_rows for shard in shard_paths(catalogue))
    with published(file) as temporary:
        shape = (rows, 2 * towers.dimension + FLAGS)
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        at, progress = 0, Progress("vectors of all products, kept for later searches", rows, "products")
        for items in towers.stream(catalogue):
            flags = np.stack([items.has_text, items.has_image], axis=1)
            array[at : at + len(items.rows)] = np.concatenate([items.text, items.image, flags], axis=1)
            at += len(items.rows)
            progress.advance(len(items.rows))
        array.flush()


def _items(kept: Vectors, width: int) -> Items:
    flags = kept[:, 2 * width :] > 0
    return Items([], kept[:, :width], kept[:, width : 2 * width], flags[:, 0], flags[:, 1])

"""The rows of a catalogue and of its truth, without pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from components.catalog.format.records import TEXT_COLUMNS
from components.encoder.model.errors import TrainingDataError
from components.encoder.model.features.pixels import shard_paths


def read_rows(catalogue: Path) -> list[dict[str, Any]]:
    """Every product without its picture, in catalogue order.

    Raises:
        TrainingDataError: the folder holds no product shard.
    """
    shards = shard_paths(catalogue)
    if not shards:
        raise TrainingDataError(
            f"{catalogue} holds no product shard; run 'vitrine run --until catalog_quality'."
        )
    return [row for shard in shards for row in pq.read_table(shard, columns=TEXT_COLUMNS).to_pylist()]


def read_truth(folder: Path) -> dict[str, dict[str, Any]]:
    """What is really in the pictures, by product id; empty where nobody knows."""
    file = folder / "truth.parquet"
    if not file.exists():
        return {}
    return {row["product_id"]: row for row in pq.read_table(file).to_pylist()}

"""How an evaluation ends: its figures as JSON, and a folder of tables for paired tests between runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.stage.files.publish import published, write_text


def publish_figures(
    metrics: Mapping[str, Any], tables: Mapping[str, pa.Table], figures: Path, folder: Path
) -> list[str]:
    """Publish ``figures`` (variant -> metric -> interval, sorted) and one Parquet file per table.

    Args:
        tables: by name of the file. folder: is replaced as a whole.

    Returns:
        Both paths, as a record's outputs.
    """
    write_text(figures, json.dumps(metrics, indent=1, sort_keys=True) + "\n")
    with published(folder) as temporary:
        temporary.mkdir(parents=True)
        for name, table in tables.items():
            pq.write_table(table, temporary / name, compression="zstd")
    return [str(figures), str(folder)]


def flat_figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """``variant.metric`` to its value, without intervals and tests, as a record keeps them."""
    return {
        f"{variant}.{name}": figure["value"]
        for variant, row in metrics.items()
        if variant != "_tests"
        for name, figure in row.items()
    }

"""A catalogue changed by hand, as an outside source might deliver it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def change_products(root: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Rewrite every row of the catalogue; ``change`` gives the columns that differ."""
    for shard in sorted((root / "data/checked/products").glob("*.parquet")):
        table = pq.read_table(shard)
        rows = [row | change(row) for row in table.to_pylist()]
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), shard)


def change_schema(root: Path, attributes: dict[str, Any]) -> None:
    """Give the catalogue's only category other attributes."""
    file = root / "data/checked/schema.json"
    schema = json.loads(file.read_text())
    (category,) = schema["categories"].values()
    category["attributes"] = attributes
    file.write_text(json.dumps(schema))


@cache
def large_photo() -> bytes:
    """A JPEG of 19 megapixels and 40 megabytes, most of them in segments of a camera maker's own."""
    out = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((5400, 3600)).save(out, "JPEG")
    marker = b"\xff\xef\xff\xff" + bytes(0xFFFF - 2)
    return out.getvalue()[:2] + marker * 620 + out.getvalue()[2:]

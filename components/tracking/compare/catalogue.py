"""What a comparison shows of products: titles, categories, groups, judgements, small pictures.

``data/checked`` is found file by file in DVC's cache, so that each side shows its own catalogue.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.stage.files.thumbnails import thumbnail
from components.tracking.compare.per_query import Results

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURE_PX = 88  # longest side: two densities of a cell of the page
QUALITY = 60  # of WebP
MOST_PIXELS = 60_000_000  # the gate has judged every picture; this stops a file that was swapped
EXACT = 3  # the grade of a product that is what a query asks for


@dataclass
class Products:
    """Small columns of the products of one side, and its judgements."""

    files: Mapping[str, Path]
    titles: dict[str, str] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    exact: dict[str, set[str]] = field(default_factory=dict)  # query -> products that it asks for

    @property
    def shards(self) -> list[Path]:
        """Files that hold products and their pictures."""
        return [path for name, path in sorted(self.files.items()) if name.startswith("products/")]


def read_products(files: Mapping[str, Path]) -> Products:
    """Read the small columns; a file that is missing or no catalogue's gives nothing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = Products(files)
    try:
        for shard in found.shards:
            for row in pq.read_table(
                shard, columns=["product_id", "title", "category", "group_id"]
            ).to_pylist():
                product = row["product_id"]
                found.titles[product] = row["title"] or ""
                found.categories[product] = row["category"] or ""
                found.groups[product] = row["group_id"] or product
        if "qrels.parquet" in files:
            best = pq.read_table(files["qrels.parquet"], filters=[("relevance", "=", EXACT)])
            for row in best.select(["query_id", "product_id"]).to_pylist():
                found.exact.setdefault(row["query_id"], set()).add(row["product_id"])
    except (pa.ArrowException, OSError, KeyError):
        return Products(files)
    return found


def placed(results: Results, products: Products) -> None:
    """Give results the groups and categories of their keys, where the catalogue knows them."""
    keys = list(results.keys)
    if not products.titles:
        return
    of_products = all(key in products.titles for key in keys)
    if of_products and results.groups is None:
        results.groups = np.array([products.groups.get(key, "") for key in keys], dtype=object)
    if "category" not in results.slices and "attribute" not in results.slices:
        asked = {key: {key} if of_products else products.exact.get(key, set()) for key in keys}
        # of a query the category of what it asks for, where all of that is of one category
        labels = ({products.categories.get(p, "") for p in asked[key]} for key in keys)
        category = [one.pop() if len(one) == 1 else "" for one in labels]
        results.slices["category"] = np.array(category, dtype=object)


def pictures(products: Products, ids: Collection[str]) -> dict[str, str]:
    """Product -> its picture as a data URI of a few kilobytes; those that cannot be shown are left out."""
    return {product: uri for product, raw in encoded(products, ids) if (uri := small(raw))}


def encoded(products: Products, ids: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Pictures of the wanted products, from the row groups that hold one."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    wanted = pa.array(sorted(ids), pa.string())
    for shard in products.shards if ids else ():
        try:
            with pq.ParquetFile(shard) as file:
                for group in range(file.num_row_groups):
                    held = file.read_row_group(group, columns=["product_id"])["product_id"]
                    mask = pc.is_in(held, value_set=wanted)
                    if pc.any(mask).as_py():
                        table = file.read_row_group(group, columns=["product_id", "image"]).filter(mask)
                        for row in table.to_pylist():
                            yield row["product_id"], (row["image"] or {}).get("bytes") or b""
        except (pa.ArrowException, OSError):
            continue


def small(raw: bytes) -> str | None:
    """An encoded picture as a small WebP in a data URI; None when it cannot be decoded."""
    picture = decoded(raw, 2 * PICTURE_PX)
    return thumbnail(picture, PICTURE_PX, QUALITY, "webp").uri if picture else None


def decoded(raw: bytes, longest_px: int) -> Image | None:
    """An encoded picture on white, no side longer than ``longest_px``; None when it cannot be decoded."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(raw), formats=("JPEG", "PNG", "WEBP")) as image:
            if image.width * image.height > MOST_PIXELS:
                return None
            image.draft("RGB", (longest_px, longest_px))
            shown = image.convert("RGBA")
            shown.thumbnail((longest_px, longest_px))
            return Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None

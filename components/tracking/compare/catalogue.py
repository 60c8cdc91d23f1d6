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
from components.tracking.compare.per_query import Results, Texts

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
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    found = Products(files)
    columns = ("product_id", "title", "category", "group_id")
    try:
        for shard in found.shards:
            table = pq.read_table(shard, columns=list(columns))
            ids, titles, categories, groups = (table.column(c).to_pylist() for c in columns)
            found.titles |= dict(zip(ids, (t or "" for t in titles), strict=True))
            found.categories |= dict(zip(ids, (c or "" for c in categories), strict=True))
            found.groups |= {i: g or i for i, g in zip(ids, groups, strict=True)}
        if "qrels.parquet" in files:
            qrels = pq.read_table(files["qrels.parquet"], columns=["query_id", "product_id", "relevance"])
            best = qrels.filter(pc.equal(qrels["relevance"], EXACT))
            queries, products = (best.column(c).to_pylist() for c in ("query_id", "product_id"))
            for query, product in zip(queries, products, strict=True):
                found.exact.setdefault(query, set()).add(product)
    except (pa.ArrowException, OSError, KeyError):
        return Products(files)
    return found


def placed(results: Results, products: Products) -> None:
    """Give results the groups and categories of their keys, where the catalogue knows them."""
    if not products.titles:
        return
    of_products = sum(key in products.titles for key in results.keys) == len(results.keys)
    if of_products and results.groups is None:
        results.groups = _labels(results.keys, products.groups)
    if "category" not in results.slices and "attribute" not in results.slices:
        labels = products.categories if of_products else _categories_of_queries(results.keys, products)
        results.slices["category"] = _labels(results.keys, labels)


def _categories_of_queries(keys: Texts, products: Products) -> dict[str, str]:
    """Query -> the category of what it asks for, where all of that is of one category."""
    found = {}
    for key in keys:
        categories = {products.categories.get(p, "") for p in products.exact.get(key, ())}
        if len(categories) == 1:
            found[key] = categories.pop()
    return found


def _labels(keys: Texts, of: Mapping[str, str]) -> Texts:
    return np.array([of.get(key, "") for key in keys], dtype=object)


def pictures(products: Products, ids: Collection[str]) -> dict[str, str]:
    """Product -> its picture as a data URI of a few kilobytes; those that cannot be shown are left out."""
    found: dict[str, str] = {}
    for product, raw in encoded(products, ids):
        if product not in found and (uri := small(raw)):
            found[product] = uri
    return found


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
                    if not pc.any(mask).as_py():
                        continue
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

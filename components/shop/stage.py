"""Stage ``shop``: render the shop as a source of a catalogue, if the workspace's source is the shop."""

from __future__ import annotations

import time
from pathlib import Path

from components.shop.params import ShopParams
from components.stage.files.publish import published
from components.stage.params import Params, read_yaml
from components.stage.paths import Paths
from components.stage.record import Record

ROWS_PER_SHARD = 4096


class Blocks(Params):
    """The parameters of the stage: how many products and queries the shop has, and how they look."""

    shop: ShopParams = ShopParams()


def run(params: Blocks, paths: Paths, record: Record) -> None:
    """Write ``data/shop``, a folder in the form of a catalogue, with ``truth.parquet`` in it.

    Where the manifest of ``data/source`` names another source, the folder stays empty: nobody would read it.

    Raises:
        ConfigurationError: there is no manifest.
        ShopError: the shop is too small for the number of queries asked.
    """
    start = time.perf_counter()
    named = read_yaml(paths.source / "manifest.yaml").get("folder")
    with published(paths.shop) as folder:
        folder.mkdir()
        drawn = _write(params.shop, folder) if named == paths.shop.as_posix() else 0
    record.metrics = {"products": float(drawn), "products_per_s": drawn / (time.perf_counter() - start)}
    record.outputs = [str(paths.shop)]


def _write(params: ShopParams, folder: Path) -> int:
    from components.catalog.format.schema import write_schema
    from components.catalog.format.shards import CatalogueWriter, write_qrels, write_queries
    from components.catalog.format.truth import TruthWriter
    from components.shop.shop import Shop
    from components.stage.progress import Progress

    shop = Shop(params)
    progress = Progress("shop", params.products, "products")
    with CatalogueWriter(folder, ROWS_PER_SHARD) as products, TruthWriter(folder / "truth.parquet") as truths:
        for product, truth in shop.products():
            products.add(product)
            truths.add(truth)
            progress.advance()
    write_schema(folder / "schema.json", shop.schema())
    queries, qrels = shop.queries()
    write_queries(folder, queries)
    write_qrels(folder, qrels)
    return products.product_count

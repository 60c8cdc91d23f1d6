"""A written catalogue's pictures taken anew by careless sellers, shard by shard, the truth with them.

The catalogue is written first, so that the other things in scenes can come from all of it and not from what
happens to stand near by. In memory are the pool of cut-outs and a few chunks of products.
"""

from __future__ import annotations

import hashlib
import heapq
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby, islice, tee
from multiprocessing import get_context
from operator import attrgetter
from pathlib import Path

from components.catalog.build.params import CatalogParams
from components.catalog.format.records import SPLITS, Product, Split, Truth
from components.catalog.format.shards import Catalogue, CatalogueWriter
from components.catalog.format.truth import TruthWriter, read_truth
from components.catalog.noise.params import PhotoNoiseParams
from components.catalog.noise.photos import Photo, PhotoNoise, Pool, Thing, cut_from
from components.catalog.source.importer import in_order
from components.stage.files.publish import remove
from components.stage.frame import die_with_parent
from components.stage.progress import Progress

SPARE = 2  # candidates for each place in the pool: some have no plain ground
CHUNK = 32  # products that a worker photographs at a time


def take_photos(
    catalogue: Path, truth: Path, params: CatalogParams, noise: PhotoNoiseParams
) -> dict[str, int]:
    """Replace pictures of ``catalogue/products``, add to the file ``truth``; returns counts by kind."""
    old, new = catalogue / "products", catalogue / ".photos"
    source = Catalogue(catalogue)
    seller = PhotoNoise(noise, params.seed, drawn_pool(source, noise, params.seed))
    kinds: Counter[str] = Counter()
    progress = Progress("photos", source.product_count, "products")
    known, last_id = read_truth(truth), None
    shards = CatalogueWriter(new, params.rows_per_shard, source.has_more_images)
    with shards as writer, TruthWriter(new / "truth.parquet") as truths:
        for product, photo in _taken(source, seller, params.workers):
            writer.add(product.model_copy(update={"image": photo.image}))
            if product.product_id != last_id:  # truth has one row for rows with one id, of the first of them
                truths.add(_told(next(known), photo))
            last_id = product.product_id
            kinds[photo.kind] += 1
            progress.advance()
    remove(old)
    (new / "products").rename(old)
    shutil.move(new / "truth.parquet", truth)  # which may lie on another disk
    remove(new)
    return dict(kinds)


def _taken(source: Catalogue, seller: PhotoNoise, workers: int) -> Iterator[tuple[Product, Photo]]:
    """Every product with its photo, in order, made by ``workers`` processes; a few chunks are in flight."""
    if workers == 1 or source.product_count <= CHUNK:
        yield from ((product, seller.apply(product)) for product in source.products())
        return
    products = source.products()
    chunks, kept = tee(iter(lambda: list(islice(products, CHUNK)), []))
    # Forked children would inherit the locks of a parent's threads (Arrow) in whatever state.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (seller,))
    for photos, taken in zip(in_order(pool, _take, chunks, 2 * workers), kept, strict=True):
        yield from zip(taken, photos, strict=True)


_seller: PhotoNoise | None = None  # of a worker process: its pool of things is sent once


def _start_worker(seller: PhotoNoise) -> None:
    die_with_parent()
    global _seller
    _seller = seller


def _take(products: list[Product]) -> list[Photo]:
    assert _seller is not None
    return [_seller.apply(product) for product in products]


def _told(known: Truth, photo: Photo) -> Truth:
    """The truth with what the photo adds to it; a source that knows its pictures is not contradicted."""
    if photo.acts:
        noise = known.noise + photo.acts
        return known.model_copy(update={"box": photo.box, "scene": "cluttered", "noise": noise})
    if photo.box is None or known.scene != "unknown":
        return known
    return known.model_copy(update={"box": photo.box, "scene": "plain"})


def drawn_pool(source: Catalogue, params: PhotoNoiseParams, seed: int) -> Pool:
    """For each split at most ``params.pool`` cut-outs of its products, drawn by a hash of their ids."""
    ranked = {split: heapq.nsmallest(SPARE * params.pool, _hashed(source, split, seed)) for split in SPLITS}
    wanted = [identifier for chosen in ranked.values() for _, identifier, _ in chosen]
    side = round(params.other_size[1] * params.longest_side_px)
    cuts = {identifier: cut_from(image, side) for identifier, image in source.images(wanted)}
    return {
        split: [Thing(kind, cut) for _, one, kind in chosen if (cut := cuts[one]) is not None][: params.pool]
        for split, chosen in ranked.items()
    }


def _hashed(source: Catalogue, split: Split, seed: int) -> Iterator[tuple[bytes, str, str]]:
    """The products of a split as hash, id and type; rows with one id count once."""
    for product_id, rows in groupby(source.products(["product_type"], split), attrgetter("product_id")):
        digest = hashlib.sha256(f"beside\x1f{seed}\x1f{product_id}".encode()).digest()
        yield digest, product_id, next(rows).product_type

"""What further pictures are worth: products' vectors of the main picture, of all, and the best of them.

``python -m benchmarks.catalogues.several_pictures FOLDER``

FOLDER is ``magento_luma`` or ``fashion_products`` (``products.jsonl`` and pictures). Of the second, products
of one title are made one product with several pictures. The catalogue is imported, the encoder trained on it
as ``conf/own.yaml`` says, and asked by titles and derived queries. The last line says by which figures the
encoder's stage has chosen on the validation split.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.catalog.build.stage import CatalogStage
from components.catalog.build.stage import run as build
from components.catalog.source.manifest import import_source
from components.catalog.source.mapping import parse_mapping
from components.encoder.model.features.encode import FEATURE_BATCH, FEATURE_PRECISION, BatchEncoder
from components.encoder.model.features.further import all_pictures, means_of
from components.encoder.model.features.held_out import Task, read_held_out
from components.encoder.model.features.picture_features import FeatureCache
from components.encoder.model.towers.files import load_encoder
from components.encoder.model.train.stage import EncoderStage
from components.encoder.model.train.stage import run as train
from components.parameters.profiles import profile_values
from components.retrieval.metrics import hits_at, judge, reciprocal_rank
from components.retrieval.ranking import top_k
from components.retrieval.significance import paired_bootstrap
from components.stage.paths import Paths
from components.stage.record import Record

ROOT = Path(__file__).parents[2]
SPLITS = {"train": 0.5, "validation": 0.2, "test": 0.3}
Floats = npt.NDArray[np.float32]
FIELDS = {
    "magento_luma": ("category_path.-1", {"colour": "attributes.color", "material": "attributes.material"}),
    "fashion_products": ("category_path.2", {"colour": "attributes.baseColour", "usage": "attributes.usage"}),
}


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Products with their further pictures."""
    lines = (folder / "products.jsonl").read_text(encoding="utf-8").splitlines()
    by_title: dict[str, dict[str, Any]] = {}
    for row in map(json.loads, lines):
        known = by_title.setdefault(row["title"].casefold(), {**row, "more_images": []})
        known["more_images"] += row.get("more_images", [])
        known["more_images"] += [row["image"]] if known["product_id"] != row["product_id"] else []
    return list(by_title.values())


def make(folder: Path, paths: Paths) -> None:
    """Import a data set into the working folder, and build its catalogue."""
    source = Path("source")
    source.mkdir()
    lines = [json.dumps(row) for row in rows_of(folder)]
    (source / "products.jsonl").write_text("\n".join(lines), encoding="utf-8")
    shutil.copytree(folder / "images", source / "images")
    kind, attributes = FIELDS[folder.name]
    mapping = {
        "products": "products.jsonl",
        "fields": {"product_id": "product_id", "title": "title", "category": "category_path.0"}
        | {"product_type": kind},
        "image": {"path": "image", "more": "more_images"},
        "attributes": attributes,
        "group": "parent_id" if folder.name == "magento_luma" else "dup_group",
        "derive_queries": {"templates": ["{colour} {product_type}"]},
    }
    import_source(source, parse_mapping(mapping, folder.name), paths.source, link=True)
    build(CatalogStage(catalog={"noise": None, "splits": SPLITS}), paths, Record(stage="catalog"))


def scores(paths: Paths, split: str) -> Iterator[tuple[Task, dict[str, Floats], npt.NDArray[np.int64]]]:
    """Each task of a split, its scores ``[queries, products]`` in three ways, further pictures by product."""
    held_out = read_held_out(paths.catalogue, paths.truth, split, 3)
    loaded = load_encoder(paths.encoder)
    batch = BatchEncoder(loaded, FEATURE_BATCH, FEATURE_PRECISION)
    pixels, views = all_pictures(paths.catalogue, loaded.encoder.image_px, paths.cache, 2)
    assert views is not None, "the catalogue has no further picture"
    vectors = FeatureCache(pixels, batch, paths.cache).vectors
    main = vectors(held_out.positions)
    places, counts = views.further(held_out.positions)
    further = vectors(places)
    starts = np.cumsum(counts) - counts
    for task in held_out.tasks:
        texts = batch.texts(task.texts)
        found = {"main": texts @ main.T, "all": texts @ means_of(main, further, counts).T}
        best, others = found["main"].copy(), texts @ further.T
        for k in np.flatnonzero(counts):
            best[:, k] = np.maximum(best[:, k], others[:, starts[k] : starts[k] + counts[k]].max(axis=1))
        yield task, found | {"best": best}, counts


def table(paths: Paths) -> Iterator[str]:
    """The lines of the table."""
    yield "| split | asked by | n | pictures | MRR | HITS@5 | MRR − main, 95% |"
    yield "|---" * 7 + "|"
    for split in ("validation", "test"):
        for task, found, counts in scores(paths, split):
            several = f"{split}, {(counts > 0).mean():.0%} of products with several"
            judged = {name: judge(top_k(each, 100), task.qrels) for name, each in found.items()}
            for name, each in judged.items():
                ranks, base = reciprocal_rank(each), reciprocal_rank(judged["main"])
                apart = paired_bootstrap(ranks, base, seed=0, clusters=task.clusters)
                figures = f"{np.nanmean(ranks):.3f} | {np.nanmean(hits_at(each, 5)):.3f}"
                difference = f"{apart.difference:+.3f} [{apart.low:+.3f}, {apart.high:+.3f}]"
                yield f"| {several} | {task.name} | {len(ranks)} | {name} | {figures} | {difference} |"


def main(argv: Sequence[str] | None = None) -> int:
    """Make, train, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(argv).folder.resolve()
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        paths, record = Paths(catalogue=Path("data/catalog")), Record(stage="encoder")
        make(folder, paths)
        train(EncoderStage(encoder=profile_values(ROOT, "own")["encoder"]), paths, record)
        for line in table(paths):
            print(line, flush=True)
        print({name: round(value, 3) for name, value in record.metrics.items() if "mrr_" in name})
        os.chdir(ROOT)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

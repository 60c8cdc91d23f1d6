"""A catalogue of coloured squares: small enough to train on in a second, simple enough to be learned."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.catalog.format.records import Product, Qrel, Query, Truth
from components.catalog.format.shards import CatalogueWriter, write_qrels, write_queries
from components.catalog.format.truth import TruthWriter
from components.encoder.model.params import EncoderParams
from tests.model.coloured_shapes import COLOURS, box, encoder_block, picture, write_colour_schema

TYPES = ("square", "bar")
SPLITS = ("train", "train", "train", "validation", "test")
TINY = encoder_block(
    image_px=48,
    embed_dim=32,
    epochs=4,
    topic_size=4,
    swapped_captions=True,
)


def write_catalogue(root: Path, products: int = 160) -> None:
    """``root/data/checked`` and ``root/data/truth``."""
    folder = root / "data/checked"
    rng = np.random.default_rng(3)
    truths, qrels = [], []
    folder.mkdir(parents=True)
    with CatalogueWriter(folder, rows_per_shard=64) as writer:
        for i in range(products):
            colour, shape = list(COLOURS)[i % 4], TYPES[(i // 4) % 2]
            x, y = (int(v) for v in rng.integers(0, 32, 2))
            wide = shape == "square"
            name, split = f"p{i:04d}", SPLITS[(i // 8) % 5]
            writer.add(
                Product(
                    product_id=name,
                    image=picture(colour, wide, i, x=x, y=y, side=48),
                    title=f"{colour} {shape} number {i}",
                    category="shapes",
                    product_type=shape,
                    attributes={"colour": colour},
                    group_id=f"g{i}",
                    split=split,
                )
            )
            place = box(wide, x, y, 48)
            truths.append(Truth(product_id=name, attributes={"colour": colour}, box=place, scene="plain"))
            if split == "test":
                qrels.append(Qrel(query_id=f"q-{colour}-{shape}", product_id=name, relevance=3))
    queries = [Query(query_id=f"q-{c}-{s}", text=f"{c} {s}") for c in COLOURS for s in TYPES]
    write_queries(folder, queries)
    write_qrels(folder, qrels)
    write_colour_schema(folder, "shapes", TYPES)
    (root / "data/truth").mkdir()
    with TruthWriter(root / "data/truth/truth.parquet") as writer:
        for truth in truths:
            writer.add(truth)


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace folder that holds the catalogue; tests must not write into it."""
    root = tmp_path_factory.mktemp("shapes")
    write_catalogue(root)
    return root


@pytest.fixture(scope="session")
def tiny_block() -> dict[str, Any]:
    """``tiny`` as it stands in params.yaml."""
    return copy.deepcopy(TINY)


@pytest.fixture
def tiny() -> EncoderParams:
    """Tiny towers and a few dozen steps."""
    return EncoderParams.model_validate(TINY)

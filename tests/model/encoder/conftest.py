"""A catalogue of coloured squares: small enough to train on in a second, simple enough to be learned."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.catalog.records import Product, Qrel, Query, Truth
from components.catalog.schema import CatalogSchema, write_schema
from components.catalog.shards import CatalogueWriter, write_qrels, write_queries
from components.catalog.truth import TruthWriter
from components.encoder.params import EncoderParams

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 40), "blue": (40, 60, 220), "white": (240, 240, 240)}
TYPES = ("square", "bar")
SPLITS = ("train", "train", "train", "validation", "test")


def picture(colour: str, shape: str, x: int, y: int, seed: int) -> bytes:
    """A PNG of 48 px: noise, and a coloured shape of 16 px height at (x, y)."""
    pixels = np.random.default_rng(seed).integers(90, 130, (48, 48, 3)).astype(np.uint8)
    pixels[y : y + 16, x : x + (16 if shape == "square" else 6)] = COLOURS[colour]
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


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
            name, split = f"p{i:04d}", SPLITS[(i // 8) % 5]
            writer.add(
                Product(
                    product_id=name,
                    image=picture(colour, shape, x, y, i),
                    title=f"{colour} {shape} number {i}",
                    category="shapes",
                    product_type=shape,
                    attributes={"colour": colour},
                    group_id=f"g{i}",
                    split=split,
                )
            )
            width = 16 if shape == "square" else 6
            box = (x / 48, y / 48, (x + width) / 48, (y + 16) / 48)
            truths.append(Truth(product_id=name, attributes={"colour": colour}, box=box, scene="plain"))
            if split == "test":
                qrels.append(Qrel(query_id=f"q-{colour}-{shape}", product_id=name, relevance=3))
    queries = [Query(query_id=f"q-{c}-{s}", text=f"{c} {s}") for c in COLOURS for s in TYPES]
    write_queries(folder, queries)
    write_qrels(folder, qrels)
    values = {"type": "enum", "values": sorted(COLOURS), "required": True}
    category = {"product_types": sorted(TYPES), "attributes": {"colour": values}}
    write_schema(folder / "schema.json", CatalogSchema.model_validate({"categories": {"shapes": category}}))
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
    """A network of some 100,000 weights and a few dozen steps."""
    return EncoderParams.model_validate(TINY)


TINY = {
    "seed": 5,
    "threads": 1,
    "image_px": 48,
    "model": {
        "pretrained": None,
        "embed_dim": 32,
        "vision": {"timm_model_name": "test_resnet", "timm_pool": "avg", "timm_proj": "linear"},
        "text": {"context_length": 12, "vocabulary_size": 300, "width": 32, "heads": 2, "layers": 1},
    },
    "captions": {
        "product_type": 0.2,
        "title": 0.3,
        "title_attributes": 0.1,
        "attributes": 0.4,
        "description": 0.0,
    },
    "augmentation": {"minimum_area": 0.8, "aspect_jitter": 0.1, "flip": True, "brightness": 0.1},
    "training": {
        "epochs": 4,
        "batch_size": 32,
        "topic_size": 4,
        "swapped_captions": True,
        "learning_rate": 0.002,
        "weight_decay": 0.05,
        "betas": [0.9, 0.98],
        "warmup_share": 0.1,
        "low_resolution_px": 32,
        "low_resolution_share": 0.4,
        "precision": "fp32",
        "initial_temperature": 0.1,
        "minimum_temperature": 0.01,
        "topk_weight": 0.5,
        "topk_patches": 2,
        "checkpoint_every_s": 1000,
        "validate_every_epochs": 2,
    },
}

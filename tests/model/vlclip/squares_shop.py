"""A shop of coloured squares and bars, some beside other things, with boxes; and a tiny encoder for it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from components.catalog.format.records import PAIRS, Product, Qrel, Query, Truth
from components.catalog.format.shards import CatalogueWriter, write_qrels, write_queries
from components.catalog.format.truth import TruthWriter
from components.encoder.model.features.rows import read_rows
from tests.model.coloured_shapes import (
    CAPTIONS,
    COLOURS,
    box,
    encoder_block,
    save_untrained_encoder,
    write_colour_schema,
)
from tests.model.coloured_shapes import picture as shape_picture

ROOT = Path(__file__).parents[3]
TYPES = ("square", "bar")
SPLITS = ("train", "train", "validation", "test")
PRODUCTS, SIDE = 96, 48
# The commands of VL-CLIP in the graph's order, without the agent's.
STAGES = (
    ("grounding",),
    ("vlclip.model", "variant=raw"),
    ("vlclip.model", "variant=full"),
    ("vlclip.evaluate",),
)


def picture(colour: str, shape: str, x: int, y: int, seed: int, cluttered: bool) -> bytes:
    """A coloured shape at (x, y), and another one in a far corner if cluttered."""
    corner = list(COLOURS)[seed % 4] if cluttered else ""
    return shape_picture(colour, shape == "square", seed, x=x, y=y, side=SIDE, corner=corner)


def write_catalogue(root: Path) -> None:
    """``root/data/checked`` and ``root/data/truth``."""
    folder = root / "data/checked"
    folder.mkdir(parents=True)
    (root / "data/truth").mkdir()
    rng = np.random.default_rng(3)
    qrels = []
    with (
        CatalogueWriter(folder, rows_per_shard=40) as products,
        TruthWriter(root / "data/truth/truth.parquet") as truths,
    ):
        for i in range(PRODUCTS):
            colour, shape = list(COLOURS)[i % 4], TYPES[(i // 4) % 2]
            x, y = (int(v) for v in rng.integers(10, 32, 2))
            name, split = f"p{i:04d}", SPLITS[(i // 8) % 4]
            products.add(
                Product(
                    product_id=name, image=picture(colour, shape, x, y, i, i % 3 == 0),
                    title=f"{colour} {shape} number {i}", category="shapes", product_type=shape,
                    attributes={"colour": colour}, group_id=f"g{i}", split=split,
                )
            )  # fmt: skip
            place = box(shape == "square", x, y, SIDE)
            scene = "cluttered" if i % 3 == 0 else "plain"
            truths.add(Truth(product_id=name, attributes={"colour": colour}, box=place, scene=scene))
            if split in ("test", "validation"):
                qrels.append(Qrel(query_id=f"{split}-{colour}-{shape}", product_id=name, relevance=3))
    write_queries(folder, [
        Query(query_id=f"{split}-{c}-{s}", text=f"{c} {s}", split=split)
        for split in ("test", "validation") for c in COLOURS for s in TYPES
    ])  # fmt: skip
    write_qrels(folder, qrels)
    write_colour_schema(folder, "shapes", TYPES)


def write_clarified(root: Path) -> None:
    """Texts such as an agent would leave: nothing but what the record states."""
    rows = read_rows(root / "data/checked")
    texts = [f"{r['attributes'][0]['value']} {r['product_type']}" for r in rows]
    (root / "data/clarified").mkdir()
    facts = pa.array([r["attributes"] for r in rows], PAIRS)
    table = pa.table({"product_id": [r["product_id"] for r in rows], "text": texts, "facts": facts})
    pq.write_table(table, root / "data/clarified/texts.parquet")


def write_encoder(folder: Path) -> None:
    """A tiny encoder with random weights."""
    save_untrained_encoder(folder, ENCODER)


def write_params(root: Path, **changes: Any) -> dict[str, Any]:
    """``params.yaml`` with the three blocks; ``changes`` maps ``block__key__key`` to a value."""
    blocks = copy.deepcopy(BLOCKS)
    for path, value in changes.items():
        *way, last = path.split("__")
        at = blocks
        for key in way:
            at = at[key]
        at[last] = value
    (root / "params.yaml").write_text(yaml.safe_dump(blocks))
    return blocks


ENCODER = encoder_block(captions=dict.fromkeys(CAPTIONS, 1.0), epochs=3, batch_size=16)
BLOCKS: dict[str, Any] = {
    "encoder": ENCODER,
    "ground": {
        "threads": 1,
        "batch_size": 32,
        "precision": "fp32",
        "scenes": {
            "composer": {"image_px": 64, "cut_out_px": 48, "least_size": 0.25, "most_size": 0.5},
            "training": {"scenes": 32, "steps": 20, "batch_size": 16, "hidden": 16, "dropout": 0.1},
            "region": {"scenes": 8, "absent_quantile": 0.5},
            "sizes_px": [64],
            "least_similarity": -1.0,
        },
        "detector": None,
        "minimum_area": 0.02,
    },
    "vlclip": {
        "seed": 7,
        "threads": 1,
        "margin": 0.1,
        **{k: ENCODER[k] for k in ("captions", "augmentation", "training")},
    },
    "vlclip_eval": {
        "seed": 3,
        "threads": 1,
        "batch_size": 32,
        "precision": "fp32",
        "split": "test",
        "relevant_grade": 3,
        "bootstrap_samples": 200,
        "attribute_prompt": "{value} {product_type}",
        "similar_k": 2,
        "similar_attributes": ["colour"],
        "centre_side": 0.75,
    },
}

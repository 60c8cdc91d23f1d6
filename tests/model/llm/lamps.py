"""A catalogue of lamps and mugs whose vectors show colour and shape, and not material."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from components.catalog.format.records import Product, Query
from components.catalog.format.schema import CatalogSchema, write_schema
from components.catalog.format.shards import CatalogueWriter, write_qrels, write_queries
from components.encoder.model.towers.files import CONFIG, FILES, model_sha256
from components.vlclip.agent.evidence import ValueProbabilities
from components.vlclip.agent.fact_book import FactBook
from components.vlclip.agent.params import ClarifyParams

COLOURS, SHAPES, MATERIALS = (
    ("red", "green", "blue", "white"),
    ("round", "square"),
    ("glass", "steel", "wood"),
)
SPLITS = ("train", "train", "train", "validation", "test")
SCHEMA = {
    "categories": {
        "home": {
            "product_types": ["lamp", "mug"],
            "attributes": {
                "colour": {"type": "enum", "values": list(COLOURS), "required": True},
                "accent_colour": {"type": "enum", "values": list(COLOURS), "required": False},
                "shade": {"type": "enum", "values": list(SHAPES), "required": False},
                "material": {"type": "enum", "values": list(MATERIALS), "required": True},
                "brand": {"type": "string", "values": [], "required": False},
            },
        },
        "garden": {
            "product_types": ["pot"],
            "attributes": {
                "colour": {"type": "enum", "values": list(COLOURS), "required": True},
                "material": {"type": "enum", "values": list(MATERIALS), "required": True},
            },
        },
    }
}
CLARIFY = {
    "threads": 1,
    "batch_size": 16,
    "precision": "fp32",
    "max_rounds": 4,
    "max_characters": 80,
    "picture": {"longest_side_px": 32, "jpeg_quality": 80},
    "record_characters": 200,
    "silent_facts": True,
    "title_words": 2,
    "title_word_products": 8,
    "evidence": {
        "words": {"min_count": 3, "typo_ratio": 5},
        "model": {"evidence": ["examples", "type", "mention", "named_mention", "siblings"]},
        "minimum_coverage": 0.05,
        "minimum_share": 0.02,
        "support": 0.7,
        "added_support": 0.9,
        "added_coverage": 0.6,
    },
}


def listing(number: int) -> dict[str, Any]:
    """Product ``number`` as an honest seller would list it."""
    colour, shape = COLOURS[number % 4], SHAPES[(number // 4) % 2]
    material, kind = MATERIALS[(number // 8) % 3], ("lamp", "mug")[(number // 3) % 2]
    attributes = {"colour": colour, "material": material, "brand": f"Brand{number % 5}"}
    if kind == "lamp":
        attributes |= {"shade": shape}
    return {
        "product_id": f"P{number:04d}",
        "title": f"{colour} {material} {kind} for the bedside",
        "description": f"Number {number}. A favourite." if number % 3 else f"Number {number}, {colour}.",
        "category": "home",
        "product_type": kind,
        "attributes": attributes,
        "group_id": f"g{number}",
        "split": SPLITS[(number // 8) % 5],
    }


def vector(product: dict[str, Any], number: int) -> Any:
    """A picture's vector: colour and shape with some noise; nothing of the material."""
    honest = listing(number)["attributes"]
    rng = np.random.default_rng(number)
    out = rng.normal(0, 0.05, 16)
    out[COLOURS.index(honest["colour"])] += 1
    out[4 + SHAPES.index(SHAPES[(number // 4) % 2])] += 1
    return (out / np.linalg.norm(out)).astype(np.float32)


def picture(colour: str) -> bytes:
    """A small PNG."""
    out = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(out, "PNG")
    return out.getvalue()


def write_encoder(folder: Path, weights: bytes) -> None:
    """The files of an encoder's folder, of which only the hashes are read here."""
    folder.mkdir(exist_ok=True)
    config = {"architecture": {"embed_dim": 16, "vision": {}, "text": {}, "heads": None}}
    for name in FILES:
        (folder / name).write_bytes(json.dumps(config).encode() if name == CONFIG else weights)


def write_shop(root: Path, changes: dict[int, dict[str, Any]], products: int = 160) -> None:
    """``root/checked``, ``root/embeddings`` and ``root/encoder``; ``changes`` alter listings by number."""
    listings = [{**listing(i), **changes.get(i, {})} for i in range(products)]
    folder = root / "checked"
    folder.mkdir(parents=True)
    with CatalogueWriter(folder, rows_per_shard=64) as writer:
        for i, row in enumerate(listings):
            writer.add(Product(**row, image=picture(listing(i)["attributes"]["colour"])))
    write_queries(folder, [Query(query_id="q", text="a scarlet lantern")])
    write_qrels(folder, [])
    write_schema(folder / "schema.json", CatalogSchema.model_validate(SCHEMA))
    write_encoder(root / "encoder", b"weights")
    (root / "embeddings").mkdir()
    ids = [row["product_id"] for row in listings]
    vectors = np.stack([vector(row, i) for i, row in enumerate(listings)])
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 16)
    pq.write_table(
        pa.table({"product_id": ids, "vector": column}), root / "embeddings" / "embeddings.parquet"
    )
    meta = {"count": len(ids), "dimension": 16, "preprocessing_sha256": ""}
    meta["model_sha256"] = model_sha256(root / "encoder")
    (root / "embeddings" / "meta.json").write_text(json.dumps(meta))


def rows_of(changes: dict[int, dict[str, Any]], products: int = 160) -> tuple[list[dict[str, Any]], Any]:
    """Rows as they are read from shards, and their vectors."""
    listings = [{**listing(i), **changes.get(i, {})} for i in range(products)]
    for row in listings:
        row["attributes"] = [{"name": n, "value": v} for n, v in sorted(row["attributes"].items())]
    return listings, np.stack([vector(row, i) for i, row in enumerate(listings)])


class NoTexts:
    """An encoder that nobody should ask: the evidence has no prompts."""

    def texts(self, texts: Sequence[str]) -> Any:
        """Never called."""
        raise AssertionError("this evidence needs no texts")


def book_of(
    changes: dict[int, dict[str, Any]], schema_values: dict[str, Any] | None = None, **params: Any
) -> FactBook:
    """The facts of the shop, under another schema if one is given."""
    rows, vectors = rows_of(changes)
    made = ClarifyParams.model_validate({**CLARIFY, **params})
    schema = CatalogSchema.model_validate(schema_values or SCHEMA)

    return FactBook(rows, ValueProbabilities(rows, vectors, NoTexts(), schema, made.evidence), schema, made)

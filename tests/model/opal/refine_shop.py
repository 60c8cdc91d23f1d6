"""A shop of a few dozen listings whose picture vectors show their colour, made without training anything."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from components.catalog.format.records import Product, Truth
from components.catalog.format.schema import CatalogSchema, write_schema
from components.catalog.format.shards import CatalogueWriter
from components.catalog.format.truth import TruthWriter
from tests.model.encoder.conftest import TINY

COLOURS = ("crimson", "indigo", "ochre", "teal")
TYPES = ("kettle", "ladle")
MAKERS = ("Quenby", "Rosvik", "Tarnow")
DIMENSION = TINY["model"]["embed_dim"]
BLOCK: dict[str, Any] = {
    "seed": 1,
    "batch_products": 50,
    "words": {"most_words": 1000, "min_count": 3, "typo_ratio": 8.0},
    "support": {"batch_size": 16, "precision": "fp32", "shrinkage": 0.3, "calibration_products": 500},
    "instructions": {"most_attributes": 3},
}
LLM: dict[str, Any] = {
    "max_tokens": 100,
    "seed": 1,
    "reasks": 1,
    "max_failed_fraction": 0.1,
}


def schema_json() -> dict[str, Any]:
    """One category: pictures show the colour, but neither guarantee nor maker nor volume."""
    return {
        "categories": {
            "kitchen": {
                "product_types": list(TYPES),
                "attributes": {
                    "colour": {"type": "enum", "values": list(COLOURS), "required": True},
                    "guarantee": {"type": "enum", "values": ["one year", "two years"], "required": False},
                    "maker": {"type": "string", "values": [], "required": False},
                    "volume_ml": {"type": "number", "values": [], "required": False},
                },
            }
        }
    }


class Shop:
    """Listings that tests may spoil before they are written."""

    def __init__(self, root: Path, count: int = 200) -> None:
        self.root, self.schema = root, schema_json()
        self.params: dict[str, Any] = copy.deepcopy(BLOCK)
        self.llm: dict[str, Any] = copy.deepcopy(LLM)
        rng = np.random.default_rng(0)
        self.products = [self._product(i) for i in range(count)]
        self.truths = [p.model_copy() for p in self.products]
        shown = np.eye(DIMENSION)[[COLOURS.index(p.attributes["colour"]) for p in self.products]]
        self.vectors = shown + 0.05 * rng.standard_normal(shown.shape)
        self.ids = [p.product_id for p in self.products]

    @staticmethod
    def _product(i: int) -> Product:
        colour, kind, maker = COLOURS[i % 4], TYPES[i // 4 % 2], MAKERS[i // 8 % 3]
        title = f"{colour.capitalize()} {kind} by {maker}"
        return Product(
            product_id=f"k{i:05d}",
            image=b"",
            title=title if i % 3 else f"Enamel {kind} in {colour} by {maker}",
            description=f"A {colour} {kind} for every kitchen.",
            category="kitchen",
            product_type=kind,
            attributes={
                "colour": colour,
                "guarantee": ("one year", "two years")[i // 40 % 2],
                "maker": maker,
                "volume_ml": str(100 * (i % 5 + 1)),
            },
            group_id=f"g{i}",
            split=("train", "train", "train", "validation", "test")[i // 8 % 5],
        )

    def change(self, i: int, **fields: Any) -> None:
        """Spoil listing ``i``; its truth stays."""
        self.products[i] = self.products[i].model_copy(update=fields)

    def restate(self, i: int, **attributes: str | None) -> None:
        """Spoil attributes of listing ``i``; None leaves one out."""
        stated = self.products[i].attributes | attributes
        self.change(i, attributes={n: v for n, v in stated.items() if v is not None})

    def write(self) -> None:
        """Everything that the refine stage reads, and params.yaml."""
        checked = self.root / "data/checked"
        with CatalogueWriter(checked, rows_per_shard=64) as writer:
            for product in self.products:
                writer.add(product)
        write_schema(checked / "schema.json", CatalogSchema.model_validate(self.schema))
        (self.root / "data/truth").mkdir(parents=True, exist_ok=True)
        with TruthWriter(self.root / "data/truth/truth.parquet") as writer:
            for product in self.truths:
                truth = Truth(
                    product_id=product.product_id, title=product.title, attributes=product.attributes
                )
                writer.add(truth)
        self.write_vectors()
        blocks = {"refine": self.params, "llm": self.llm}
        blocks["refine_eval"] = {"seed": 1, "split": "test", "bootstrap_samples": 100}
        (self.root / "params.yaml").write_text(yaml.safe_dump(blocks))

    def write_vectors(self) -> None:
        """``data/embeddings``."""
        unit = (self.vectors / np.linalg.norm(self.vectors, axis=1, keepdims=True)).astype(np.float32)
        column = pa.FixedSizeListArray.from_arrays(pa.array(unit.reshape(-1)), DIMENSION)
        folder = self.root / "data/embeddings"
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"product_id": self.ids, "vector": column}), folder / "embeddings.parquet")
        (folder / "meta.json").write_text(json.dumps({"count": len(self.ids), "dimension": DIMENSION}))

    def read(self, name: str) -> list[dict[str, Any]]:
        """Rows of a file of data/refined."""
        return list(pq.read_table(self.root / f"data/refined/{name}.parquet").to_pylist())

    def refined(self) -> dict[str, dict[str, Any]]:
        """Refined listings by id, attributes as a dictionary."""
        return {
            row["product_id"]: row | {"attributes": {a["name"]: a["value"] for a in row["attributes"]}}
            for row in self.read("products")
        }

    def decision(self, i: int, name: str, field: str = "attributes") -> dict[str, Any]:
        """The one decision about a value or word of listing ``i``."""
        rows = [
            row
            for row in self.read("decisions")
            if (row["product_id"], row["name"], row["field"]) == (f"k{i:05d}", name, field)
        ]
        assert len(rows) == 1, rows
        return rows[0]

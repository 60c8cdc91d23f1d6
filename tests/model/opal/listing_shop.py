"""A workspace of coloured squares with refined listings, an encoder of a few weights, and tiny blocks."""

from __future__ import annotations

import copy
from contextlib import chdir, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml

from components.catalog.format.attributes import pairs
from components.catalog.format.records import PAIRS, Product, Truth
from components.catalog.format.schema import CatalogSchema, write_schema
from components.catalog.format.shards import CatalogueWriter, write_qrels, write_queries
from components.catalog.format.truth import TruthWriter
from components.opal.model.listing_text import Listing, answer_text
from components.stage.frame import load_stage
from components.stage.paths import Paths
from components.stage.record import Record
from tests.model.coloured_shapes import COLOURS, encoder_block, picture, save_untrained_encoder

SPLITS = ("train", "train", "train", "validation", "test")
SCHEMA = {
    "categories": {
        "shapes": {
            "product_types": ["bar", "square"],
            "attributes": {
                "brand": {"type": "string", "required": True},
                "colour": {"type": "enum", "values": sorted(COLOURS), "required": True},
                "size_cm": {"type": "number"},
            },
        }
    }
}
TRAINING = {
    "steps": 6,
    "batch_size": 8,
    "accumulation": 1,
    "learning_rate": 0.003,
    "warmup_share": 0.1,
    "checkpoint_every_s": 1000,
    "optimiser": "muon",
}
BLOCKS: dict[str, Any] = {
    "listing": {
        "seed": 1,
        "vision": {
            "grid": 2,
            "encoder_dropout": 0.0,
            "head_tokens": 0,
            "whitening_pictures": 32,
            "crop": False,
        },
        "language": {
            "vocabulary_size": 400,
            "context_length": 160,
            "width": 16,
            "heads": 2,
            "layers": 1,
            "feed_forward": 32,
        },
        "taught": {"title_attributes": ["colour"]},
        "max_title_chars": 24,
        "max_new_tokens": 120,
        "precision": "fp32",
    },
    "sft": {"seed": 2, "instruction_share": 0.25, "training": TRAINING},
    "preferences": {
        "seed": 3,
        "pairs": 24,
        "shares": {
            "sampled": 0.4,
            "seller": 0.2,
            "swapped": 0.25,
            "verified": 0.05,
            "views": 0.05,
            "corrected": 0.05,
        },
        "batch_size": 16,
        "neighbours": 4,
        "max_swapped": 2,
        "rejected": "as_written",
    },
    "dpo": {
        "seed": 4,
        "sft_weight": 0.2,
        "training": {**TRAINING, "batch_size": 4, "weight_decay": 0.01},
    },
    "listing_eval": {
        "seed": 5,
        "products": 12,
        "batch_size": 16,
        "neighbours": 3,
        "bootstrap_samples": 200,
    },
    "describe": {
        "threads": 1,
        "model": "models/listing/sft_refined",
        "batch_size": 8,
        "max_bytes": 1_000_000,
        "max_pixels": 1_000_000,
    },
}


def blocks() -> dict[str, Any]:
    """The blocks as they stand in params.yaml; a copy to change."""
    return copy.deepcopy(BLOCKS)


def paths_of(root: Path, **changes: Path) -> Paths:
    """The paths of a workspace elsewhere; ``changes`` are taken as they are."""
    places = {name: root / path for name, path in Paths()}
    return Paths(**places | {"cache": root / "cache"} | changes)


def run_stage(room: str, paths: Paths, *, stage: str = "", **changes: Any) -> Record:
    """Run the stage of a room with the tiny blocks and ``changes``; its record.

    One thread, so that equal work is equal to the bit. State for resuming goes under the working folder. For
    a workspace elsewhere that is the workspace: two processes that do the same work must not share it.
    """
    torch.set_num_threads(1)
    loaded = load_stage(room)
    values = {name: BLOCKS[name] for name in loaded.params.model_fields if name in BLOCKS}
    record = Record(stage=stage or room)
    elsewhere = all(path.is_absolute() for _, path in paths)
    with chdir(paths.cache.parent) if elsewhere else nullcontext():
        loaded.run(loaded.params.model_validate({**values, **changes}), paths, record)
    return record


def write_workspace(root: Path, products: int = 60) -> None:
    """data/checked, data/truth, data/refined, data/embeddings, models/encoder and params.yaml."""
    catalogue, refined, instructions, truths, ids = root / "data/checked", [], [], [], []
    catalogue.mkdir(parents=True)
    category = CatalogSchema.model_validate(SCHEMA).categories["shapes"]
    with CatalogueWriter(catalogue, rows_per_shard=32) as writer:
        for i in range(products):
            colour, wide, split = list(COLOURS)[i % 4], bool((i // 4) % 2), SPLITS[i % 5]
            name, kind = f"p{i:03d}", "square" if wide else "bar"
            seller = {"colour": "red" if i % 7 == 0 else colour, "brand": "Acme", "size_cm": str(10 + i % 3)}
            writer.add(
                Product(
                    product_id=name,
                    image=picture(colour, wide, i),
                    title=f"{colour} {kind} by Acme",
                    category="shapes",
                    product_type=kind,
                    attributes=seller,
                    group_id=f"g{i // 2}",
                    split=split,
                )
            )
            clean = {"colour": colour, "brand": "Acme", "size_cm": str(10 + i % 3)}
            truths.append(Truth(product_id=name, title=f"{colour} {kind}", attributes=clean, scene="plain"))
            row = {"product_id": name, "split": split, "category": "shapes", "product_type": kind}
            kept = {n: v for n, v in clean.items() if n != "brand"}
            title = f"{colour} {kind}"
            refined.append({**row, "title": title, "attributes": pairs(kept), "visible": ["colour"]})
            asked = {"product_id": name, "split": split}
            instructions.append({**asked, "grain": "attribute", "prompt": "Colour?", "answer": colour})
            whole = answer_text(Listing(title, kept, kind), category)
            instructions.append({**asked, "grain": "listing", "prompt": "All?", "answer": whole})
            ids.append(name)
    write_queries(catalogue, [])
    write_qrels(catalogue, [])
    write_schema(catalogue / "schema.json", CatalogSchema.model_validate(SCHEMA))
    (root / "data/truth").mkdir()
    with TruthWriter(root / "data/truth/truth.parquet") as writer:
        for truth in truths:
            writer.add(truth)
    _write_tables(root, refined, instructions, ids)
    write_encoder(root / "models/encoder")
    (root / "params.yaml").write_text(yaml.safe_dump(BLOCKS))


def _write_tables(root: Path, refined: list[Any], instructions: list[Any], ids: list[str]) -> None:
    (root / "data/refined").mkdir()
    text = [(n, pa.string()) for n in ("product_id", "split", "category", "product_type", "title")]
    schema = pa.schema([*text, ("attributes", PAIRS), ("visible", pa.list_(pa.string()))])
    pq.write_table(pa.Table.from_pylist(refined, schema=schema), root / "data/refined/products.parquet")
    pq.write_table(pa.Table.from_pylist(instructions), root / "data/refined/instructions.parquet")
    vectors = np.random.default_rng(0).normal(size=(len(ids), 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    folder = root / "data/embeddings"
    folder.mkdir()
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 8)
    pq.write_table(pa.table({"product_id": ids, "vector": column}), folder / "embeddings.parquet")
    (folder / "meta.json").write_text(f'{{"count": {len(ids)}, "dimension": 8}}')


def write_encoder(folder: Path) -> None:
    """An untrained encoder of some thousand weights."""
    save_untrained_encoder(folder, encoder_block())

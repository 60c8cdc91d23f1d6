"""A shop of coloured squares with queries and shoppers: small enough for every stage in a second."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from components.catalog.format.records import Product, Qrel, Query
from components.catalog.format.shards import CatalogueWriter, write_qrels, write_queries
from components.stage.frame import load_stage
from components.stage.paths import Paths
from components.stage.record import Record
from tests.model.coloured_shapes import (
    COLOURS,
    encoder_block,
    picture,
    save_untrained_encoder,
    write_colour_schema,
)

TYPES = ("mug", "lamp")
SPLITS = ("train", "train", "train", "validation", "test")
WITHOUT_PICTURE, WITHOUT_TITLE = "p0033", "p0034"


def product(i: int) -> Product:
    """The i-th product; colour, type and split go round."""
    colour, kind, name = list(COLOURS)[i % 4], TYPES[(i // 4) % 2], f"p{i:04d}"
    return Product(
        product_id=name,
        image=b"" if name == WITHOUT_PICTURE else picture(colour, kind == "mug", i),
        title="" if name == WITHOUT_TITLE else f"{colour} {kind} number {i}",
        description="made to last" if i % 3 else "",
        category="home",
        product_type=kind,
        attributes={"colour": colour} if i % 5 else {},
        group_id=f"g{i // 2}" if i % 16 == 0 else f"h{i}",
        split=SPLITS[(i // 8) % 5],
    )


def write_shop(folder: Path, products: int = 80) -> None:
    """A checked catalogue; a query of a split judges that split's products."""
    folder.mkdir(parents=True)
    items = [product(i) for i in range(products)]
    with CatalogueWriter(folder, rows_per_shard=32) as writer:
        for item in items:
            writer.add(item)
    queries, qrels = [], []
    for split in ("test", "train", "validation"):
        for n, (colour, kind) in enumerate((c, t) for c in COLOURS for t in TYPES):
            name = f"q-{split}-{n}"
            text = f"{colour} {kind}" if n % 2 else f"{kind} in {colour}"
            queries.append(
                Query(query_id=name, text=text, kind="visual" if n % 2 else "textual", split=split)
            )
            for i, item in enumerate(items):
                shown = list(COLOURS)[i % 4]
                if item.split == split and item.product_type == kind:
                    grade = 3 if shown == colour else 1
                    step = (i // 8) % 5 if grade == 3 else None
                    qrels.append(
                        Qrel(query_id=name, product_id=item.product_id, relevance=grade, desirability=step)
                    )
    write_queries(folder, queries)
    write_qrels(folder, qrels)
    write_colour_schema(folder, "home", TYPES)


ENCODER = encoder_block(context_length=8, batch_size=8)
ENCODE = {"batch_size": 16, "precision": "fp32"}
OPTIMISATION = {
    "steps": 12, "batch_size": 6, "learning_rate": 0.003, "weight_decay": 0.05, "betas": [0.9, 0.98],
    "warmup_share": 0.1, "checkpoint_every_s": 1000, "validate_every_steps": 6,
}  # fmt: skip
NOISE = {
    "attribute_dropped": 0.5, "attribute_wrong": 0.2, "attribute_free_form": 0.2, "title_value_missing": 0.2,
    "synonym": 0.5,
    "misspelling": 0.5, "shouting": 0.2, "boilerplate": 0.5, "keyword_stuffing": 0.3, "title_missing": 0.2,
    "description_missing": 0.4, "test_only": [],
}  # fmt: skip
BLOCKS: dict[str, Any] = {
    "fusion": {
        "pairs": {
            "weights": {"relevance": [0.0, 0.2, 1.0], "click": 1.5, "cart": 2.0, "purchase": 3.0},
            "hard_negatives": 0.5, "popularity_correction": 1.0, "topic_size": 2, "mined_per_query": 4,
            "mining_pool": 40, "suspect_ratio": 0.9, "drop_suspected": False,
        },
        "text": {
            "fields": ["title", "product_type", "attributes", "description"],
            "by_field": True, "hidden": 16, "dropout": 0.1, "context_length": 20,
            "masking": {"title": 0.2, "product_type": 0.1, "attributes": 0.2, "description": 0.3},
        },
        "bm25": {"k1": 1.2, "b": 0.75},
    },
    "align_text": {
        "seed": 1, "threads": 1, "tune_text": False, "text_weight": 1.0,
        "image_weight": 0.0, "train_images": False,
        "minimum_temperature": 0.01, "precision": "fp32", "augmentation": ENCODER["augmentation"],
        "optimisation": OPTIMISATION, "encode": ENCODE,
    },
    "fuse": {
        "seed": 3, "threads": 1, "temperature": 0.1,
        "network": {"hidden": 8, "heads": 2, "bilinear_rank": 4, "dropout": 0.1},
        "modality_dropout": {"text": 0.1, "image": 0.1},
        "gate": {"depth": 8, "hidden": 4, "epochs": 10, "batch_size": 4, "folds": 2},
        "optimisation": OPTIMISATION | {"batch_size": 8}, "encode": ENCODE,
    },
    "fusion_eval": {
        "seed": 4, "threads": 1, "split": "test", "relevant_grade": 3, "bootstrap_samples": 200,
        "networks": ["concat_mlp", "moe_bilinear"], "weight_steps": 4,
        "text_shares": [0.3, 0.7], "sparse_share": 0.25, "missing_share": 0.5, "noise": NOISE, "gate_top": 3,
        "encode": ENCODE,
    },
}  # fmt: skip
BLOCKS["align_image"] = BLOCKS["align_text"] | {
    "seed": 2,
    "text_weight": 0.5,
    "image_weight": 1.0,
}


@pytest.fixture
def blocks() -> dict[str, Any]:
    """Fusion's blocks as they stand in params.yaml; a test may change its copy."""
    return copy.deepcopy(BLOCKS)


def write_encoder(folder: Path) -> None:
    """An untrained encoder folder."""
    save_untrained_encoder(folder, ENCODER)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``data/checked`` and ``models/encoder``; tests must not write into it."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("shop")
    write_shop(root / "data/checked")
    write_encoder(root / "models/encoder")
    return root


def run_stage(room: str, shop: Path, root: Path, blocks: dict[str, Any], **fields: Any) -> Record:
    """The stage of a room, on the shop's data and encoder; its models, figures and cache below ``root``."""
    stage = load_stage(room)
    wanted = {name: blocks[name] for name in stage.params.model_fields if name in blocks}
    folders = {name: root / default for name, default in Paths()}
    folders |= {"catalogue": shop / "data/checked", "encoder": shop / "models/encoder"}
    record = Record(stage=room)
    stage.run(stage.params.model_validate(wanted | fields), Paths.model_validate(folders), record)
    return record


@pytest.fixture(scope="session")
def trained(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace where every stage of the root graph has run, in order; tests must not write into it."""
    root = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        run_stage("fusion.model.align_text", shop, root, BLOCKS)
        run_stage("fusion.model.align_image", shop, root, BLOCKS)
        for network in ("concat_mlp", "moe_bilinear"):
            run_stage("fusion.model.fuse", shop, root, BLOCKS, network=network)
        run_stage("fusion.evaluate", shop, root, BLOCKS)
    return root

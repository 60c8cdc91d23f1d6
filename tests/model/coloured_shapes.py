"""Pictures of coloured blocks, the schema of a shop that sells them, and the smallest encoder for it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from components.catalog.format.schema import CatalogSchema, write_schema
from components.encoder.model.params import EncoderParams
from components.encoder.model.towers.files import save_encoder
from components.encoder.model.towers.start import starting_model
from tests.model.tiny_towers import model_block

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 40), "blue": (40, 60, 220), "white": (240, 240, 240)}
CAPTIONS = {"product_type": 0.2, "title": 0.3, "title_attributes": 0.1, "attributes": 0.4, "description": 0.0}
HEIGHT, WIDE, NARROW = 16, 16, 6  # of a block, in pixels


def picture(
    colour: str, wide: bool, seed: int, *, x: int = 8, y: int = 8, side: int = 32, corner: str = ""
) -> bytes:
    """A PNG of ``side`` px: noise, and a block at (x, y); if asked for, one of colour ``corner`` far off."""
    pixels = np.random.default_rng(seed).integers(90, 130, (side, side, 3)).astype(np.uint8)
    if corner:
        pixels[2:8, 2:8] = COLOURS[corner]
    pixels[y : y + HEIGHT, x : x + (WIDE if wide else NARROW)] = COLOURS[colour]
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def box(wide: bool, x: int, y: int, side: int) -> tuple[float, float, float, float]:
    """Where :func:`picture` has its block, in fractions."""
    return x / side, y / side, (x + (WIDE if wide else NARROW)) / side, (y + HEIGHT) / side


def write_colour_schema(catalogue: Path, category: str, product_types: Sequence[str]) -> None:
    """``schema.json`` of one category whose products have a colour."""
    values = {"type": "enum", "values": sorted(COLOURS), "required": True}
    described = {"product_types": sorted(product_types), "attributes": {"colour": values}}
    schema = CatalogSchema.model_validate({"categories": {category: described}})
    write_schema(catalogue / "schema.json", schema)


def encoder_block(
    image_px: int = 32,
    embed_dim: int = 16,
    context_length: int = 12,
    captions: dict[str, float] = CAPTIONS,
    **training: Any,
) -> dict[str, Any]:
    """Block ``encoder`` of tiny towers at random weights; ``training`` changes keys of its training."""
    return {
        "seed": 5,
        "threads": 1,
        "image_px": image_px,
        "model": model_block(embed_dim, context_length),
        "captions": dict(captions),
        "augmentation": {"minimum_area": 0.8, "aspect_jitter": 0.1, "flip": True, "brightness": 0.1},
        "training": {
            "epochs": 1,
            "batch_size": 32,
            "topic_size": 1,
            "swapped_captions": False,
            "learning_rate": 0.002,
            "weight_decay": 0.05,
            "betas": [0.9, 0.98],
            "warmup_share": 0.1,
            "precision": "fp32",
            "initial_temperature": 0.1,
            "minimum_temperature": 0.01,
            "checkpoint_every_s": 1000,
            "validate_every_epochs": 2,
            **training,
        },
    }


def save_untrained_encoder(folder: Path, block: dict[str, Any]) -> None:
    """A model folder of the block's towers with untrained heads."""
    model = starting_model(EncoderParams.model_validate(block))
    save_encoder(model.encoder, model.tokenizer, folder)

"""Blocks of params.yaml for small catalogues: what differs from the defaults, with the named keys changed."""

from __future__ import annotations

from typing import Any


def catalog_block(**changes: Any) -> dict[str, Any]:
    """Block ``catalog``: small pictures allowed, no noise."""
    return {
        "seed": 1,
        "workers": 1,
        "rows_per_shard": 100,
        "images": {"max_bytes": 100_000, "max_pixels": 250_000, "min_side_px": 8},
        "splits": {"train": 0.6, "validation": 0.2, "test": 0.2},
        "enum_max_values": 20,
        "noise": None,
        **changes,
    }


def shop_block(counts: tuple[int, int, int], max_exact: int = 15, **changes: Any) -> dict[str, Any]:
    """Block ``shop``; ``counts`` are the queries of train, validation and test."""
    return {
        "products": 240,
        "test_fraction": 0.25,
        "validation_fraction": 0.1,
        "image_px": 48,
        "cluttered_share": 0.5,
        "neighbours_max": 5,
        "neighbours_painted": 30,
        "workers": 1,
        "queries": {
            "count": dict(zip(("train", "validation", "test"), counts, strict=True)),
            "max_exact": max_exact,
        },
        **changes,
    }


def quality_block(**changes: Any) -> dict[str, Any]:
    """Block ``quality``: a catalogue of a few dozen products can pass."""
    return {
        "max_bad_fraction": 0.1,
        "min_products": 5,
        "min_products_per_split": 2,
        "max_title_chars": 60,
        "max_description_chars": 100,
        "max_query_chars": 40,
        "attribute_values": "quarantine",
        "required_attributes": "quarantine",
        "images": {"max_bytes": 20_000, "max_pixels": 10_000, "min_side_px": 8},
        "max_cross_split_pictures": 0.05,
        "page_examples": 3,
        **changes,
    }

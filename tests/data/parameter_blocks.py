"""Blocks of params.yaml for small catalogues: each call gives a fresh one, with the named keys changed."""

from __future__ import annotations

from typing import Any


def catalog_block(**changes: Any) -> dict[str, Any]:
    """Block ``catalog``: small pictures allowed, nothing re-encoded, no noise."""
    return {
        "seed": 1,
        "workers": 2,
        "rows_per_shard": 100,
        "images": {"max_bytes": 100_000, "max_pixels": 250_000, "min_side_px": 8},
        "reencode": None,
        "splits": {"train": 0.6, "validation": 0.2, "test": 0.2},
        "enum_max_values": 20,
        "noise": None,
        **changes,
    }


def shop_block(counts: tuple[int, int, int], max_exact: int = 15, **changes: Any) -> dict[str, Any]:
    """Block ``shop``; ``counts`` are the queries of train, validation and test."""
    return {
        "seed": 7,
        "products": 240,
        "variant_share": 0.35,
        "recolour_share": 0.7,
        "test_fraction": 0.25,
        "validation_fraction": 0.1,
        "image_px": 48,
        "supersampling": 2,
        "jpeg_quality": 90,
        "cluttered_share": 0.5,
        "neighbours_min": 2,
        "neighbours_max": 5,
        "neighbours_painted": 30,
        "max_hidden": 0.15,
        "workers": 1,
        "queries": {
            "count": dict(zip(("train", "validation", "test"), counts, strict=True)),
            "visual_share": 0.5,
            "held_out_share": 0.5,
            "max_exact": max_exact,
        },
        "engagement": {
            "relevance_weight": 1.0,
            "appeal_weight": 0.8,
            "noise": 0.7,
            "step_logit": 1.2,
            "step_cost": 0.6,
        },
        **changes,
    }


def quality_block(**changes: Any) -> dict[str, Any]:
    """Block ``quality``: a catalogue of a few dozen products can pass."""
    return {
        "max_bad_fraction": 0.1,
        "min_products": 5,
        "min_products_per_split": 2,
        "min_test_queries": 1,
        "max_title_chars": 60,
        "max_description_chars": 100,
        "max_query_chars": 40,
        "attribute_values": "quarantine",
        "required_attributes": "quarantine",
        "images": {"max_bytes": 20_000, "max_pixels": 10_000, "min_side_px": 8},
        "max_cross_split_pictures": 0.05,
        "min_relevance": 2,
        "workers": 1,
        "unit_norm_tolerance": 0.001,
        "max_identical_vectors": 0.667,
        "max_mean_cosine": 0.99,
        "page_examples": 3,
        **changes,
    }

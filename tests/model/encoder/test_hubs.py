"""Products that are near to every text are held back, as far as validation says."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from components.catalog.format.records import Product
from components.catalog.format.shards import CatalogueWriter
from components.encoder.embed import hubs as module
from components.encoder.embed.hubs import STRENGTHS, Hubs, best_weight, learn_hubs, text_bank
from components.encoder.embed.params import HubParams
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.held_out import Task
from components.encoder.model.features.picture_features import FeatureCache
from components.encoder.model.params import EncoderParams
from components.encoder.model.towers.start import starting_model
from components.retrieval.metrics import Qrels
from tests.model.coloured_shapes import picture

RNG = np.random.default_rng(5)


def unit(*shape: int) -> np.ndarray:
    found = RNG.standard_normal(shape).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def own_answers(count: int) -> Task:
    """Query ``i`` is answered by product ``i`` alone."""
    every, names = list(range(count)), [str(i) for i in range(count)]
    qrels = Qrels.from_arrays(every, every, [3] * count, count, count)
    return Task("titles", names, names, ["title"] * count, qrels, None)


@pytest.mark.parametrize("at_once", [7, 4096])
def test_a_bias_is_the_mean_of_the_nearest_texts_in_whatever_blocks(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    vectors, bank = unit(50, 8), unit(30, 8)
    plain = [0.5 * sum(sorted((float(v @ b) for b in bank), reverse=True)[:4]) / 4 for v in vectors]
    found = Hubs(bank, 4, 0.5)
    assert found.biases(vectors) == pytest.approx(np.array(plain), abs=1e-6)
    order = RNG.permutation(50)
    assert found.biases(vectors[order]) == pytest.approx(found.biases(vectors)[order], abs=1e-6)


def test_where_no_product_is_a_hub_nothing_changes() -> None:
    vectors = np.eye(40, dtype=np.float32)
    hubs = Hubs(vectors, 20, 0.75)
    assert np.ptp(hubs.biases(vectors)) == 0, "all products are as near to the bank"
    assert best_weight(STRENGTHS, [(own_answers(40), unit(40, 40), -hubs.biases(vectors))]) == 0


def test_a_hub_is_held_back_and_what_it_hid_is_found() -> None:
    vectors, hub = unit(60, 48), unit(1, 48)
    texts = vectors + 0.5 * unit(60, 48) + hub
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    vectors[0] = hub[0]
    near = module.nearness(vectors, texts, 20)
    assert near.argmax() == 0
    scores = texts @ vectors.T
    strength = best_weight(STRENGTHS, [(own_answers(60), scores, -near)])
    assert strength > 0
    first, less = scores.argmax(axis=1), (scores - strength * near).argmax(axis=1)
    assert (first == 0).sum() > 20 and (less == 0).sum() < 5
    assert (less == np.arange(60)).mean() > (first == np.arange(60)).mean()


def write(folder: Path, titles: list[str]) -> Path:
    folder.mkdir()
    with CatalogueWriter(folder, rows_per_shard=9) as writer:
        for i, title in enumerate(titles):
            split = "test" if title.startswith("held out") else "train"
            writer.add(
                Product(
                    product_id=f"p{i:03d}", image=picture("red", True, i, x=2, y=2, side=48), title=title,
                    category="c", product_type="t", attributes={}, group_id=f"g{i}", split=split,
                )
            )  # fmt: skip
    return folder


def test_the_bank_does_not_depend_on_the_order_of_products(tmp_path: Path) -> None:
    titles = [f"title {i % 20}" for i in range(40)] + [f"held out {i}" for i in range(10)] + ["", " "]
    first = text_bank(write(tmp_path / "a", titles), 6)
    random.Random(1).shuffle(titles)
    assert text_bank(write(tmp_path / "b", titles), 6) == first
    assert len(set(first)) == 6 and all(title.startswith("title") for title in first)
    assert len(text_bank(tmp_path / "a", 100)) == 20


def test_the_strength_is_as_told_or_by_validation(shapes: Path, tiny: EncoderParams, tmp_path: Path) -> None:
    catalogue = shapes / "data/checked"
    encoder = BatchEncoder(starting_model(tiny), 16, "fp32")
    features = FeatureCache.of_products(catalogue, encoder, tmp_path, 1)
    vectors = features.vectors(np.arange(8))
    told, off, chosen = (
        learn_hubs(catalogue, encoder, features, HubParams(strength=s, bank=30)) for s in (0.3, 0, "auto")
    )
    assert told.strength == 0.3 and len(told.bank) == 30 and told.biases(vectors).any()
    assert off.strength == 0 and not off.biases(vectors).any()
    assert chosen.strength in STRENGTHS
    with pytest.raises(ValueError, match="strength"):
        HubParams(strength=-1)


def test_too_few_validation_products_choose_nothing(
    shapes: Path, tiny: EncoderParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = shapes / "data/checked"
    encoder = BatchEncoder(starting_model(tiny), 16, "fp32")
    features = FeatureCache.of_products(catalogue, encoder, tmp_path, 1)
    monkeypatch.setattr(module, "MOST", 19)
    assert learn_hubs(catalogue, encoder, features, HubParams()).strength == 0

"""Products with several pictures: validation says whether their vectors are of the main one or of all."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from components.catalog.format.shards import Catalogue, CatalogueWriter
from components.encoder.embed.stage import EmbedStage
from components.encoder.embed.stage import run as embed
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.params import EmbeddingsParams, EncoderParams
from components.encoder.model.towers.files import load_encoder, model_sha256, save_encoder
from components.encoder.model.train.stage import EncoderStage, choose_pictures, run
from components.encoder.model.train.training_set import make_training_set
from components.fusion.model.params import EncodeParams, ProductTextParams
from components.fusion.model.towers.aligned import LoadedTowers
from components.fusion.model.towers.towers import Towers
from components.retrieval.embeddings import read_embeddings
from components.stage.paths import Paths
from components.stage.record import Record
from tests.model.coloured_shapes import picture


def with_more_pictures(shapes: Path, root: Path, telling: bool) -> Paths:
    """The shapes; every other product has two more pictures.

    ``telling``: those show the product, and main pictures outside of the train split all look alike.
    """
    shutil.copytree(shapes / "data/checked", root / "data/checked")
    products = list(Catalogue(shapes / "data/checked").products())
    with CatalogueWriter(root / "data/checked", 64, more_images=True) as writer:
        for k, product in enumerate(products):
            alike = [picture("white", True, 1000 + 2 * k + n, side=48) for n in (0, 1)]
            change = {"more_images": tuple(alike) if k % 2 else ()}
            if telling and k % 2:
                change = {"more_images": (product.image, product.image)}
                change |= {} if product.split == "train" else {"image": alike[0]}
            writer.add(product.model_copy(update=change))
    return Paths(catalogue=root / "data/checked")


def test_all_pictures_are_used_where_validation_is_answered_better_so_and_left_out_where_not(
    shapes: Path, tiny: EncoderParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths, record = with_more_pictures(shapes, tmp_path, telling=True), Record(stage="encoder")
    learning = tiny.model_copy(
        update={"training": tiny.training.model_copy(update={"epochs": 30, "validate_every_epochs": 15})}
    )
    run(EncoderStage(encoder=learning), paths, record)
    assert record.metrics["validation_titles_mrr_all"] > record.metrics["validation_titles_mrr_main"]
    loaded = load_encoder(paths.encoder)
    assert loaded.encoder.all_pictures and model_sha256(paths.encoder) == loaded.model_sha256

    embed(EmbedStage(embeddings=EmbeddingsParams()), paths, Record(stage="embeddings"))
    ids, vectors, _ = read_embeddings(paths.embeddings)
    encoder = BatchEncoder(loaded, 64, "bf16")
    products = list(Catalogue(paths.catalogue).products())
    shown = [[product.image, *product.more_images] for product in products]
    every = np.concatenate(list(encoder.images(data for own in shown for data in own)))
    ends = np.cumsum([len(own) for own in shown])
    means = np.stack([part.mean(axis=0) for part in np.split(every, ends[:-1])])
    assert ids == [product.product_id for product in products]
    assert np.allclose(vectors, means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-3)

    # Fusion reads the same pictures, and what a cache holds changes no bit
    towers = LoadedTowers(loaded, None, (), loaded.model_sha256)
    encode = EncodeParams(batch_size=64, precision="bf16")
    text = ProductTextParams(by_field=False)
    known = [Towers(towers, text, encode, cache, 1) for cache in (paths.cache, tmp_path / "empty")]
    assert known[0].pictures.kept(paths.catalogue) is not None
    assert known[1].pictures.kept(paths.catalogue) is None
    images = [np.concatenate([part.image for part in one.stream(paths.catalogue)]) for one in known]
    assert np.array_equal(*images) and np.allclose(images[0], vectors, atol=1e-6)

    # Pictures that tell less: the same encoder leaves them out
    other = with_more_pictures(shapes, tmp_path / "other", telling=False)
    _, validate = make_training_set(other.catalogue, learning, loaded, tmp_path / "other/cache")
    assert validate is not None
    figures = choose_pictures(loaded.encoder, validate)
    assert figures["validation_titles_mrr_all"] < figures["validation_titles_mrr_main"]
    assert not loaded.encoder.all_pictures
    save_encoder(loaded.encoder, loaded.tokenizer, tmp_path / "saved")
    assert not load_encoder(tmp_path / "saved").encoder.all_pictures

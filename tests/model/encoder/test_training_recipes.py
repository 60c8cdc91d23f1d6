"""Ways to train beside the default: the sigmoid loss, a term per field, vectors that can be cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from components.encoder.embed.stage import EmbedStage
from components.encoder.embed.stage import run as embed
from components.encoder.model.errors import EncoderConfigurationError
from components.encoder.model.params import EmbeddingsParams, EncoderParams, TrainingParams
from components.encoder.model.towers.files import comparable_encoder, load_encoder
from components.encoder.model.towers.start import starting_model
from components.encoder.model.train.contrastive import Contrastive
from components.encoder.model.train.stage import EncoderStage, run
from components.encoder.model.train.training_set import make_training_set
from components.retrieval.embeddings import read_embeddings
from components.stage.paths import Paths
from components.stage.record import Record
from tests.model.coloured_shapes import COLOURS

RECIPES: list[dict[str, Any]] = [
    {"loss": "sigmoid"},
    {"terms": "per_field", "matryoshka": [8, 16]},
    {"loss": "sigmoid", "terms": "per_field", "matryoshka": [8], "tune_text": True},
]


def with_training(params: EncoderParams, **training: Any) -> EncoderParams:
    """The block with some keys of its training changed, and checked again."""
    block = params.model_dump()
    return EncoderParams.model_validate(block | {"training": block["training"] | training})


def objective(shapes: Path, params: EncoderParams, cache: Path) -> Contrastive:
    torch.set_num_threads(1)
    model = starting_model(params)
    data, validate = make_training_set(shapes / "data/checked", params, model, cache)
    return Contrastive(model.encoder, data, params, validate)


def trained(shapes: Path, params: EncoderParams, root: Path) -> Paths:
    """The stage, in a folder."""
    paths = Paths(
        catalogue=shapes / "data/checked",
        encoder=root / "encoder",
        embeddings=root / "embeddings",
        cache=root / "cache",
        plots=root / "plots",
    )
    run(EncoderStage(encoder=params), paths, Record(stage="encoder"))
    return paths


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    recipe: dict[str, Any], shapes: Path, tiny: EncoderParams, tmp_path: Path
) -> None:
    params = with_training(tiny, **recipe)
    whole = objective(shapes, params, tmp_path / "cache")
    whole.loop().run()
    for until in (5, None):  # step 5 lies inside an epoch of 3
        again = objective(shapes, params, tmp_path / "cache")
        again.loop(tmp_path / "resume").run(until)
    expected, found = whole.module.state_dict(), again.module.state_dict()
    assert all(torch.equal(expected[k], found[k]) for k in expected)


def test_terms_are_weighted_by_the_shares_of_their_captions(
    shapes: Path, tiny: EncoderParams, tmp_path: Path
) -> None:
    """The oracle takes each term's loss by itself."""
    params = with_training(tiny, terms="per_field", swapped_captions=False)
    made = objective(shapes, params, tmp_path)
    encoder = made.module.eval()
    batch = made.batch(0)
    every = [share for share in params.captions.model_dump().values() if share]
    shares = every[:-1]  # of queries: the catalogue has none
    assert [t.share for t in batch.terms] == pytest.approx([share / sum(shares) for share in shares])
    images, at, expected = encoder.image_vectors(batch.pictures), 0, 0.0
    for term in batch.terms:
        texts = encoder.text_vectors(batch.texts[at : at + len(images)])
        at += len(images)
        logits = (encoder.temperature * images @ texts.T).masked_fill(term.excluded, float("-inf"))
        target = torch.arange(len(images))
        loss = torch.nn.functional.cross_entropy
        expected += term.share * (loss(logits, target) + loss(logits.T, target)).item() / 2
    assert made.losses(batch)["loss"].item() == pytest.approx(expected, rel=1e-5)


def test_the_bias_of_the_sigmoid_loss_is_learned_and_kept(
    shapes: Path, tiny: EncoderParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = with_training(tiny, loss="sigmoid")
    start = starting_model(params).encoder.towers.logit_bias.item()
    assert start == pytest.approx(-np.log(params.training.batch_size - 1))
    kept = load_encoder(trained(shapes, params, tmp_path).encoder).encoder.towers.logit_bias.item()
    assert kept != start


def colours_found(paths: Paths, dimensions: int | None) -> float:
    """Share of the nearest five products to a colour's name that have it, by the stages' own vectors."""
    embed(EmbedStage(embeddings=EmbeddingsParams(threads=1, dimensions=dimensions)), paths, Record(stage="e"))
    _, images, meta = read_embeddings(paths.embeddings)
    model = comparable_encoder(paths.encoder, paths.embeddings)
    assert meta["dimension"] == images.shape[1] == model.encoder.embed_dim
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-3)
    tokens = torch.from_numpy(model.tokenizer([f"{c} square" for c in COLOURS]))
    with torch.inference_mode():
        texts = model.encoder.encode_text(tokens).numpy()
    nearest = (-texts @ images.T).argsort(axis=1)[:, :5]
    # product i has colour i % 4, in the order of COLOURS
    return float((nearest % 4 == np.arange(4)[:, None]).mean())


def test_vectors_cut_to_a_trained_dimension_find_as_much(
    shapes: Path, tiny: EncoderParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = trained(shapes, with_training(tiny, epochs=30, matryoshka=[8]), tmp_path)
    assert load_encoder(paths.encoder).encoder.architecture.dimensions == (8,)
    whole = colours_found(paths, None)
    _, vectors, _ = read_embeddings(paths.embeddings)
    assert whole > 0.8 and colours_found(paths, 8) > 0.8
    _, short, _ = read_embeddings(paths.embeddings)
    expected = vectors[:, :8] / np.linalg.norm(vectors[:, :8], axis=1, keepdims=True)
    np.testing.assert_allclose(short, expected, atol=1e-6)
    with pytest.raises(EncoderConfigurationError, match="cannot give vectors of 16 dimensions; it has 8, 32"):
        colours_found(paths, 16)


def test_what_does_not_go_together_is_refused(shapes: Path, tiny: EncoderParams, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="ascending"):
        TrainingParams(matryoshka=(64, 32))
    with pytest.raises(EncoderConfigurationError, match="matryoshka names 32 dimensions"):
        objective(shapes, with_training(tiny, matryoshka=[32]), tmp_path)
    made = objective(shapes, tiny, tmp_path)
    with pytest.raises(EncoderConfigurationError, match="needs an encoder with a bias"):
        Contrastive(made.module, made.data, with_training(tiny, loss="sigmoid"))

"""Every family of dual encoders: its vectors are open_clip's, and it survives training, folder and search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch

from components.catalog.format.shards import Catalogue
from components.encoder.model.features.encode import BatchEncoder, PictureEncoder
from components.encoder.model.params import EncoderParams
from components.encoder.model.towers.files import LoadedEncoder, load_encoder, save_encoder
from components.encoder.model.towers.start import starting_model
from components.encoder.model.train.contrastive import Contrastive
from components.encoder.model.train.training_set import make_training_set
from tests.model.encoder.families import FAMILIES, SIDE, Family, params_of, timm_trunk
from tests.model.tiny_towers import model_block

TEXTS = ["red square", "Blue bar, number 7!", "white", "a green square beside a red bar"]
TRUNKS = ["test_resnet", "test_vit", "test_vit2", "test_vit3", "test_convnext"]


def pictures(count: int = 3, side: int = SIDE) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (count, 3, side, side), dtype=np.uint8))


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    return FAMILIES[request.param](tmp_path_factory.mktemp(request.param))


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-3)


def test_vectors_are_those_of_open_clip(family: Family) -> None:
    """The oracle is open_clip's model, tokenizer and normalisation on the same weights."""
    model = starting_model(params_of(family.block, tune_text=True))
    theirs, tokens = family.oracle(), open_clip.get_tokenizer(family.name)(TEXTS)
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (family.mean, family.std))
    with torch.inference_mode():
        seen = (pictures().float() / 255 - mean) / std
        close(model.encoder.encode_image(pictures()), theirs.encode_image(seen, normalize=True))
        read = model.encoder.encode_text(torch.from_numpy(model.tokenizer(TEXTS)))
        close(read, theirs.encode_text(tokens, normalize=True))


def vectors(model: LoadedEncoder, shapes: Path) -> tuple[np.ndarray, np.ndarray]:
    """Of some pictures, and of the texts."""
    batch = BatchEncoder(model, 8, "fp32")
    shown = [p.image for p, _ in zip(Catalogue(shapes / "data/checked").products(), range(20), strict=False)]
    return np.concatenate(list(batch.images(shown))), batch.texts(TEXTS)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_one_look_at_cells_and_picture_has_the_pictures_own_features(family: Family, precision: str) -> None:
    """And neither depends on how many dimensions vectors are cut to."""
    encoder = starting_model(params_of(family.block, tune_text=True)).encoder
    shown = pictures(5).permute(0, 2, 3, 1).numpy()
    batch = PictureEncoder(encoder, "x", 4, precision)
    features, (whole, cells) = batch.pixel_features(shown), batch.pixel_grid(shown, 2)
    assert np.array_equal(whole, features)
    assert cells.shape == (5, 4, encoder.embed_dim)
    vectors = batch.grid_vectors(whole, cells).astype(np.float32)
    np.testing.assert_allclose(vectors[:, 0], batch.image_vectors(features), atol=1e-3)
    with torch.inference_mode():
        patches = encoder._projected_patches(pictures(5))[1]
    expected = torch.nn.functional.adaptive_avg_pool2d(patches, (2, 2))
    atol = 1e-3 if precision == "fp32" else 2e-2
    np.testing.assert_allclose(cells, expected.flatten(2).transpose(1, 2).numpy(), atol=atol)
    encoder.nest((8,))
    encoder.shorten(8)
    short, of_short = batch.pixel_grid(shown, 2)
    assert np.array_equal(short, features) and np.array_equal(of_short, cells)
    cut = batch.grid_vectors(short, of_short)
    assert cut.shape == (5, 5, 8)
    expected_cut = vectors[..., :8] / np.linalg.norm(vectors[..., :8], axis=-1, keepdims=True)
    np.testing.assert_allclose(cut, expected_cut, atol=5e-3)


def survives(params: EncoderParams, shapes: Path, root: Path) -> None:
    """Train, write, read and search."""
    torch.set_num_threads(1)
    model = starting_model(params)
    data, _ = make_training_set(shapes / "data/checked", params, model, root / "cache")
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    Contrastive(model.encoder, data, params).loop().run(3)
    changed = [n for n, v in model.encoder.state_dict().items() if not torch.equal(v, before[n])]
    assert changed, "nothing was trained"
    save_encoder(model.encoder, model.tokenizer, root / "model")
    again = load_encoder(root / "model")
    (images, texts), (same_images, same_texts) = vectors(model, shapes), vectors(again, shapes)
    assert np.array_equal(images, same_images) and np.array_equal(texts, same_texts)
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-3)
    found = (images @ images.T).argmax(axis=1)
    assert np.allclose((images @ images.T)[np.arange(20), found], 1, atol=1e-3)
    assert texts.shape == (len(TEXTS), again.encoder.embed_dim)


def test_a_family_is_trained_written_read_and_searched(family: Family, shapes: Path, tmp_path: Path) -> None:
    survives(params_of(family.block, tune_image=True, tune_text=True), shapes, tmp_path)


@pytest.mark.parametrize("name", ["clip", "siglip"])
@pytest.mark.parametrize("tower", ["tune_image", "tune_text"])
def test_one_tower_of_a_family_is_trained_alone(name: str, tower: str, shapes: Path, tmp_path: Path) -> None:
    training = {"tune_image": False, "tune_text": False, tower: True}
    survives(params_of(FAMILIES[name](tmp_path).block, **training), shapes, tmp_path)


@pytest.mark.parametrize("trunk", TRUNKS)
def test_a_trunk_of_timm_is_trained_written_read_and_searched(
    trunk: str, shapes: Path, tmp_path: Path
) -> None:
    survives(params_of(timm_trunk(trunk, tmp_path)), shapes, tmp_path)


@pytest.mark.parametrize("trunk", TRUNKS)
def test_a_trunks_features_are_those_of_timm(trunk: str, tmp_path: Path) -> None:
    """The oracle is timm's own model on the same weights, resized to the same pictures."""
    encoder = starting_model(params_of(timm_trunk(trunk, tmp_path))).encoder
    theirs = timm.create_model(trunk, checkpoint_path=str(tmp_path / "trunk.safetensors")).eval()
    if hasattr(theirs, "set_input_size"):
        theirs.set_input_size(SIDE)
    with torch.inference_mode():
        seen = encoder.normalise(pictures())
        pooled = theirs.forward_head(theirs.forward_features(seen), pre_logits=True)
        features = encoder.image_features(pictures())
        maps = encoder.stage_maps(pictures())
    means = torch.cat([m.mean(dim=(2, 3)) for m in maps], dim=1)
    close(features[:, : means.shape[1]], means)
    close(features[:, means.shape[1] :][:, : pooled.shape[1]], pooled)


def test_parts_that_a_text_tower_is_made_of_may_be_drawn_from_the_seed(tmp_path: Path) -> None:
    block = model_block()
    drawn = starting_model(params_of(block | {"text": block["text"] | {"random": True}}))
    given = starting_model(params_of(block))
    assert drawn.text_sha256 != given.text_sha256 and drawn.image_sha256 == given.image_sha256
    again = starting_model(params_of(block | {"text": block["text"] | {"random": True}}))
    assert again.model_sha256 == drawn.model_sha256


@pytest.mark.parametrize(
    "change", [{"quick_gelu": False}, {"mean": (0.2, 0.5, 0.5)}, {"std": (0.5, 0.5, 0.9)}]
)
def test_another_activation_or_normalisation_gives_other_vectors(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    block = FAMILIES["clip"](tmp_path).block["pretrained"]
    found = []
    for changed in (block, block | change):
        encoder = starting_model(params_of({"pretrained": changed}, tune_text=True)).encoder
        with torch.inference_mode():
            found.append(encoder.encode_image(pictures()))
    assert (found[0] - found[1]).abs().max() > 1e-3  # a hundred times what an oracle's vectors differ by


def test_a_tower_may_start_from_its_configuration_alone(tmp_path: Path) -> None:
    family = FAMILIES["ecommerce_siglip"](tmp_path)
    untrained = family.block["pretrained"] | {"weights": None}
    one, two = (starting_model(params_of({"pretrained": untrained}, tune_text=True)) for _ in range(2))
    own = starting_model(params_of(family.block, tune_text=True))
    assert one.model_sha256 == two.model_sha256 != own.model_sha256

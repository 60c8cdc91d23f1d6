"""A frozen tower's tokens by catalogue row: the same as the tower's own, whatever was computed before."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.picture_features import FeatureCache
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.params import EncoderParams
from components.encoder.model.towers.files import load_encoder
from components.encoder.model.towers.start import starting_model
from components.opal.model.language.listing_model import as_input
from components.opal.model.language.pictures import TowerPictures, catalogue_pictures, catalogue_pixels
from components.opal.model.language.vision_tower import EncoderVisionTower, load_encoder_weights, tower_config
from components.stage.paths import Paths
from tests.model.coloured_shapes import encoder_block
from tests.model.opal.listing_shop import paths_of, write_workspace

ROWS = np.array([7, 0, 7, 3])


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small catalogue and an encoder."""
    root = tmp_path_factory.mktemp("pictures")
    write_workspace(root)
    return root


def tower(paths: Paths, frozen: bool = True, precision: str = "bf16") -> EncoderVisionTower:
    loaded = load_encoder(paths.encoder)
    made = EncoderVisionTower(tower_config(loaded, 2, frozen, precision)).eval()
    load_encoder_weights(made, loaded)
    return made


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_catalogues_picture_and_a_photo_of_the_same_pixels_have_the_same_tokens(
    workspace: Path, tmp_path: Path, precision: str
) -> None:
    paths, made = paths_of(workspace), tower(paths_of(workspace), precision=precision)
    pixels = PixelCache(paths.catalogue, made.config.image_px, tmp_path, 1)
    kept = TowerPictures(made, pixels, tmp_path)
    by_row = made(as_input(kept.take(ROWS))).last_hidden_state
    seen = made(as_input(pixels.take(ROWS))).last_hidden_state
    assert torch.equal(by_row, seen)
    for place, row in enumerate(ROWS):
        alone = made(as_input(pixels.take(np.array([row])))).last_hidden_state
        assert torch.equal(alone[0], seen[place])
    shutil.rmtree(tmp_path / "features")
    assert np.array_equal(TowerPictures(made, pixels, tmp_path).take(ROWS), kept.take(ROWS))
    free = tower(paths, frozen=False)
    with torch.inference_mode():
        plain = free(as_input(pixels.take(ROWS))).last_hidden_state
    assert torch.allclose(seen, plain, atol=1e-3 if precision == "fp32" else 2e-2)


def test_tokens_stand_on_what_the_encoders_own_pass_has_left(workspace: Path, tmp_path: Path) -> None:
    paths, made = paths_of(workspace), tower(paths_of(workspace))
    pixels = PixelCache(paths.catalogue, made.config.image_px, tmp_path, 1)
    loaded = load_encoder(paths.encoder)
    FeatureCache(pixels, BatchEncoder(loaded, made.seeing.batch_size, "bf16"), tmp_path, grid=2)
    made.seeing.pixel_grid = None  # type: ignore[assignment]  # no picture is to be looked at again
    kept = TowerPictures(made, pixels, tmp_path)
    assert kept.take(ROWS).shape == (4, 5, made.config.hidden_size)
    made.seeing.grid_vectors = None  # type: ignore[assignment]  # and nothing to be computed again
    assert np.array_equal(TowerPictures(made, pixels, tmp_path).take(ROWS), kept.take(ROWS))


def test_other_heads_and_other_towers_are_not_taken_for_these(workspace: Path, tmp_path: Path) -> None:
    paths = paths_of(workspace)
    pixels = PixelCache(paths.catalogue, tower(paths).config.image_px, tmp_path, 1)
    first = TowerPictures(tower(paths), pixels, tmp_path).take(ROWS)
    for part in ("towers.visual", "heads.image"):
        other = tower(paths)
        with torch.no_grad():
            [p.mul_(1.5) for name, p in other.encoder.named_parameters() if name.startswith(part)]
        again = TowerPictures(other, pixels, tmp_path).take(ROWS)
        assert not np.array_equal(again, first), part


def test_a_tower_that_is_given_other_weights_looks_with_them() -> None:
    """Whatever it has looked at before: a folded copy holds weights of its own."""
    block = encoder_block()
    block["model"]["image"] = {"architecture": "test_efficientnet", "weights": None}
    first, second = (starting_model(EncoderParams.model_validate(block | {"seed": s})) for s in (1, 2))
    shown = as_input(np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8))
    seen = []
    for before in (first, second):
        made = EncoderVisionTower(tower_config(before, 2, frozen=True)).eval()
        load_encoder_weights(made, before)
        made(shown)
        load_encoder_weights(made, second)
        seen.append(made(shown).last_hidden_state)
    assert torch.equal(seen[0], seen[1])


def test_a_tower_that_may_change_and_other_models_read_pixels(workspace: Path) -> None:
    paths = paths_of(workspace)
    for other in (tower(paths, frozen=False), torch.nn.Identity(), None):
        pictures = catalogue_pictures(other, catalogue_pixels(paths, 32, crop=False), paths)
        assert isinstance(pictures, PixelCache) and pictures.image_px == 32

"""The cache of a frozen tower's features changes time and nothing else."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from components.encoder.model.towers.files import load_encoder
from components.opal.model.language.picture_cache import PictureCache, cache_pictures
from components.opal.model.language.vision_tower import EncoderVisionTower, load_encoder_weights, tower_config
from tests.model.opal.listing_shop import write_encoder


def tower(folder: Path, frozen: bool = True) -> EncoderVisionTower:
    if not folder.exists():
        write_encoder(folder)
    loaded = load_encoder(folder)
    made = EncoderVisionTower(tower_config(loaded, 2, frozen)).eval()
    load_encoder_weights(made, loaded)
    return made


def pictures(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(count).integers(0, 255, (count, 3, 32, 32)).astype(np.uint8)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_features_are_those_of_the_tower_whatever_was_seen_before(tmp_path: Path, precision: str) -> None:
    made, shown = tower(tmp_path / "encoder"), pictures(70)
    file = tmp_path / "features"
    first = PictureCache(made, precision, file)
    first.fill(shown)
    together = first(torch.from_numpy(shown))
    alone = PictureCache(made, precision, None)
    for name, row in (("from the folder", PictureCache(made, precision, file)), ("one by one", alone)):
        found = [row(torch.from_numpy(shown[i : i + 1]).float()) for i in (69, 3, 69)]
        for i, features in zip((69, 3, 69), found, strict=True):
            for ours, theirs in zip(features, together, strict=True):
                assert torch.equal(ours[0], theirs[i]), name
    with torch.inference_mode():
        plain = made.features(torch.from_numpy(shown))
    for ours, theirs in zip(together, plain, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6 if precision == "fp32" else 2e-2)


def test_two_that_start_together_share_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, shown, file = tower(tmp_path / "encoder"), pictures(200), tmp_path / "features"
    first, second = PictureCache(made, "fp32", file), PictureCache(made, "fp32", file)
    computed: list[int] = []
    compute = first._computed

    def while_the_other_works(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> object:
        if not computed:
            second.fill(shown[64:])
        computed.append(len(pixels))
        return compute(pixels)

    monkeypatch.setattr(first, "_computed", while_the_other_works)
    for start in range(0, len(shown), 64):
        first.fill(shown[start : start + 64])
    assert computed == [64], "the rest was in the folder by then"
    alone = PictureCache(made, "fp32", None)
    pixels = torch.from_numpy(shown)
    for features in (first(pixels), second(pixels)):
        assert all(torch.equal(a, b) for a, b in zip(features, alone(pixels), strict=True))


def test_other_weights_are_not_taken_for_these(tmp_path: Path) -> None:
    made, shown, file = tower(tmp_path / "encoder"), pictures(3), tmp_path / "features"
    PictureCache(made, "fp32", file).fill(shown)
    other = copy.deepcopy(made)
    with torch.no_grad():
        next(other.encoder.parameters()).mul_(1.5)
    again = PictureCache(other, "fp32", file)(torch.from_numpy(shown))
    with torch.inference_mode():
        assert torch.allclose(again[0], other.features(torch.from_numpy(shown))[0], atol=1e-6)


class Model(torch.nn.Module):
    def __init__(self, vision_tower: torch.nn.Module) -> None:
        super().__init__()
        self.model = torch.nn.Module()
        self.model.vision_tower = vision_tower


def test_a_tower_that_may_change_keeps_no_features(tmp_path: Path) -> None:
    assert cache_pictures(Model(tower(tmp_path / "encoder", frozen=False)), "fp32", tmp_path) is None
    assert cache_pictures(Model(torch.nn.Identity()), "fp32", tmp_path) is None
    frozen = tower(tmp_path / "encoder")
    cache = cache_pictures(Model(frozen), "fp32", None)
    assert cache is not None and copy.deepcopy(frozen).cache is cache

"""Colour statistics: CIELAB and histograms as scikit-image and NumPy compute them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import rgb2lab

from components.encoder.model.features.pixels import square
from components.encoder.model.towers.colours import (
    BINS,
    COLOUR_WIDTH,
    HIGH,
    LEAST_PX,
    LOW,
    STANDS_OUT,
    colour_statistics,
    to_lab,
)

EDGES = [np.linspace(low, high, BINS + 1) for low, high in zip(LOW, HIGH, strict=True)]


def noise(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def as_tensor(pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pictures).permute(0, 3, 1, 2)


def test_lab_is_that_of_scikit_image() -> None:
    corners = np.array(
        [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [1, 2, 3]], np.uint8
    )
    pictures = np.concatenate([noise(2, 24), np.resize(corners, (1, 24, 24, 3))])
    ours = to_lab(as_tensor(pictures)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(ours, rgb2lab(pictures), atol=0.02)


def histogram(lab: np.ndarray) -> np.ndarray:
    """NumPy's, with what lies outside the range in the outer bins; zeros without pixels."""
    inside = lab.reshape(-1, 3).clip([e[0] for e in EDGES], [e[-1] for e in EDGES])
    counts, _ = np.histogramdd(inside, bins=EDGES)
    return np.sqrt(counts.ravel() / max(1, len(inside)))


@pytest.mark.parametrize("side", [LEAST_PX, 3 * LEAST_PX])
def test_histograms_are_those_of_numpy(side: int) -> None:
    """Of a small picture as it is, and of a larger one averaged down first."""
    pictures = noise(2, side)
    pictures[1] = (230, 220, 160)
    pictures[1, side // 3 : side // 2, side // 3 :] = (180, 20, 40)  # stands out from a plain ground
    found = colour_statistics(as_tensor(pictures)).numpy().reshape(2, 3, -1)
    by = side // LEAST_PX
    small = pictures.reshape(2, LEAST_PX, by, LEAST_PX, by, 3).mean(axis=(2, 4)) / 255
    for picture, (middle, whole, foreground) in zip(small, found, strict=True):
        lab = rgb2lab(picture)
        edge = LEAST_PX // 4
        rims = np.concatenate([lab[0], lab[-1], lab[:, 0], lab[:, -1]])
        ground = np.sort(rims, axis=0)[(len(rims) - 1) // 2]
        seen = lab[np.linalg.norm(lab - ground, axis=-1) > STANDS_OUT]
        # a pixel on a bin's edge may fall to either side: compare by how much of the picture moved
        for ours, region in ((middle, lab[edge:-edge, edge:-edge]), (whole, lab), (foreground, seen)):
            assert np.abs(ours**2 - histogram(region) ** 2).sum() < 0.01


@pytest.mark.parametrize("size", [(1, 1), (50, 1), (1, 50), (2000, 40), (7, 300)])
def test_any_picture_has_finite_statistics(size: tuple[int, int]) -> None:
    out = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(out, "PNG")
    found = colour_statistics(as_tensor(square(out.getvalue(), 48)[None]))
    assert found.shape == (1, COLOUR_WIDTH) and torch.isfinite(found).all()
    middle, whole, foreground = found.reshape(3, -1)
    assert whole.square().sum() == pytest.approx(1) and torch.equal(middle, whole)
    assert foreground.sum() == 0  # a plain picture has nothing that stands out


def test_a_mirrored_picture_has_the_same_statistics() -> None:
    pictures = as_tensor(noise(1, 64))
    torch.testing.assert_close(colour_statistics(pictures), colour_statistics(pictures.flip(-1)))

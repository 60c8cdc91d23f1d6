"""Careless photos: true boxes fit what is seen, splits do not mix, what cannot be cut out stays."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import ValidationError
from scipy import ndimage

from components.catalog.format.records import SPLITS, Product, Split
from components.catalog.noise.cut_out import CutOut, cut_out, grown, reached, shrunk
from components.catalog.noise.grounds import DRAWN
from components.catalog.noise.params import PhotoNoiseParams
from components.catalog.noise.photos import PhotoNoise, Thing
from components.catalog.noise.scene import scene

MAGENTA, GREEN, BLUE = (225, 10, 225), (20, 190, 40), (30, 60, 230)
ALWAYS = PhotoNoiseParams(share=1.0, longest_side_px=192)


def plain(colour: tuple[int, int, int], size: tuple[int, int] = (96, 128), foot: int = 100) -> Image.Image:
    """A bottle on white ground; with ``foot`` beyond the picture it is cut off at the bottom."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((40, 20, 56, 50), fill=colour)
    draw.rectangle((28, 50, 68, foot), fill=colour)
    return image


def encoded(image: Image.Image, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=95)
    return buffer.getvalue()


def product(number: int, split: Split = "test", image: bytes = b"") -> Product:
    return Product(
        product_id=f"p{number:04d}",
        image=image or encoded(plain(MAGENTA)),
        category="Things",
        product_type="bottle",
        group_id="g",
        split=split,
    )


def thing(colour: tuple[int, int, int], name: str) -> Thing:
    cut = cut_out(plain(colour))
    assert cut is not None
    return Thing(name, cut)


def pool(*colours: tuple[int, int, int]) -> list[Thing]:
    return [thing(colour, f"type {n}") for n, colour in enumerate(colours * 3)]


def coloured(image: bytes, colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Pixels whose bright channels stand out as they do in ``colour``, whatever the light."""
    pixels = np.asarray(Image.open(io.BytesIO(image)), dtype=np.int16)
    bright = np.array(colour) > 128
    found: NDArray[np.bool_] = pixels[..., bright].min(-1) - pixels[..., ~bright].max(-1) > 60
    return found


def bounds(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    height, width = mask.shape
    return np.array(
        [columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height]
    )


def test_the_true_box_is_that_of_the_products_pixels_in_the_finished_picture() -> None:
    noise = PhotoNoise(ALWAYS, 7, {"test": pool(GREEN)})
    kinds = Counter[str]()
    for number in range(40):
        photo = noise.apply(product(number))
        assert photo.box is not None and [act.field for act in photo.acts] == ["image"]
        found = coloured(photo.image, MAGENTA)
        assert np.abs(bounds(found) - photo.box).max() < 4 / min(found.shape), number
        kinds[photo.kind] += 1
    assert len(kinds) == len(DRAWN)  # every ground has been looked at


def test_others_hide_no_more_of_the_product_than_they_may() -> None:
    own, others = thing(MAGENTA, "bottle").cut, [t.cut for t in pool(GREEN, BLUE)]
    params = ALWAYS.model_copy(update={"other_size": (0.6, 0.9), "max_hidden": 0.2})
    hidden = []
    for seed in range(60):
        alone, among = (
            scene(own, things, "carpet", params, np.random.default_rng(seed)) for things in ([], others)
        )
        assert alone is not None and among is not None and (alone.others, among.others) == (0, 6)
        hidden.append(1 - among.seen.sum() / alone.seen.sum())
    assert max(hidden) <= 0.2 and max(hidden) > 0.05  # and some do hide it


def test_scenes_show_things_of_their_own_split_and_of_other_types_only() -> None:
    noise = PhotoNoise(
        ALWAYS.model_copy(update={"others": (2, 2)}),
        7,
        {"train": [*pool(GREEN), thing(BLUE, "bottle")], "test": pool(BLUE)},
    )
    for number in range(12):
        photo = noise.apply(product(number, "train"))
        assert photo.acts[0].detail == "2 other things"
        assert coloured(photo.image, GREEN).sum() > 50
        assert not shrunk(coloured(photo.image, BLUE), 2).any()


def test_held_back_grounds_occur_in_the_test_split_only() -> None:
    params = PhotoNoiseParams(share=1.0, longest_side_px=64, grounds=("tiles", "lawn"), test_only=("lawn",))
    noise = PhotoNoise(params, 7, {})
    seen = {split: {noise.apply(product(n, split)).kind for n in range(20)} for split in SPLITS}
    assert seen["train"] == seen["validation"] == {"scene.tiles"}
    assert seen["test"] == {"scene.tiles", "scene.lawn"}


def test_same_seed_same_pictures_and_other_seed_others() -> None:
    def images(seed: int, numbers: range) -> dict[int, bytes]:
        noise = PhotoNoise(ALWAYS, seed, {"test": pool(GREEN)})
        return {n: noise.apply(product(n)).image for n in numbers}

    assert images(1, range(6)) == {n: images(1, range(5, -1, -1))[n] for n in range(6)}
    assert images(1, range(3)) != images(2, range(3))


def test_the_others_stay_byte_for_byte_and_their_box_is_known() -> None:
    noise = PhotoNoise(ALWAYS.model_copy(update={"share": 0.0}), 7, {})
    photo = noise.apply(product(1))
    assert (photo.image, photo.kind, photo.acts) == (product(1).image, "plain", ())
    assert photo.box is not None
    assert np.abs(bounds(coloured(photo.image, MAGENTA)) - photo.box).max() < 3 / 96


def noisy() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8))


def pale() -> Image.Image:
    """A product whose tone runs into its ground without an edge."""
    ramp = np.linspace(255, 238, 40).astype(np.uint8)
    pixels = np.full((90, 90, 3), 255, np.uint8)
    pixels[20:70, 25:65] = ramp[None, :, None]
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    "image",
    [
        b"",
        b"no picture",
        encoded(plain(MAGENTA))[:400],
        encoded(Image.new("RGB", (1, 1)), "PNG"),
        encoded(Image.new("RGB", (4, 200))),
        encoded(Image.new("RGB", (2000, 40), "white")),
        encoded(Image.new("RGB", (80, 80), "white")),
        encoded(Image.new("RGB", (80, 80), "red")),
        encoded(noisy()),
        encoded(pale(), "PNG"),
        encoded(plain(GREEN, (60, 128), foot=200).crop((30, 30, 60, 128))),  # cut off at three sides
    ],
)
def test_a_picture_without_plain_ground_or_product_stays_as_it_is(image: bytes) -> None:
    hostile = product(1).model_copy(update={"image": image})
    photo = PhotoNoise(ALWAYS, 7, {"test": pool(GREEN)}).apply(hostile)
    assert (photo.image, photo.box, photo.kind, photo.acts) == (image, None, "no_plain_ground", ())


def transparent() -> Image.Image:
    image = Image.new("RGBA", (90, 120))
    ImageDraw.Draw(image).ellipse((20, 20, 70, 100), fill=(*BLUE, 255))
    return image


@pytest.mark.parametrize(
    "image",
    [
        encoded(transparent(), "PNG"),
        encoded(plain(BLUE).convert("L")),
        encoded(Image.fromarray(np.asarray(plain(BLUE).convert("L"), np.uint16) << 8), "PNG"),
        encoded(plain(BLUE).resize((1500, 2000))),
        encoded(plain(BLUE).convert("P"), "PNG"),
        encoded(plain(BLUE, foot=200)),  # cut off at the bottom, as a person to the waist
    ],
)
def test_pictures_of_any_form_are_put_into_scenes(image: bytes) -> None:
    photo = PhotoNoise(ALWAYS, 7, {}).apply(product(1, image=image))
    assert photo.kind.startswith("scene.") and photo.box is not None
    x0, y0, x1, y1 = photo.box
    assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
    assert max(Image.open(io.BytesIO(photo.image)).size) == ALWAYS.longest_side_px


def test_a_product_cut_off_at_the_bottom_stands_at_the_bottom() -> None:
    noise = PhotoNoise(ALWAYS, 7, {})
    for number in range(10):
        photo = noise.apply(product(number, image=encoded(plain(MAGENTA, foot=200))))
        assert photo.box is not None and photo.box[3] == 1.0


def test_a_cut_out_is_the_products_pixels() -> None:
    cut = cut_out(plain(MAGENTA))
    assert isinstance(cut, CutOut) and cut.cut_side == ""
    assert cut.box == pytest.approx((28 / 96, 20 / 128, 69 / 96, 101 / 128), abs=0.02)
    rgba = np.asarray(cut.image)
    assert (rgba[rgba[..., 3] > 200][:, :3] == MAGENTA).all()  # no ground among them


def test_ground_shows_through_a_ring_and_white_fabric_stays() -> None:
    ring = Image.new("RGB", (90, 90), "white")
    ImageDraw.Draw(ring).ellipse((15, 15, 75, 75), outline=BLUE, width=10)
    shirt = Image.new("RGB", (90, 90), "white")
    draw = ImageDraw.Draw(shirt)
    draw.rectangle((15, 15, 75, 75), outline=BLUE, fill=(235, 236, 238), width=3)
    draw.rectangle((30, 30, 60, 60), fill="white")  # overexposed
    alphas = []
    for image in (ring, shirt):
        cut = cut_out(Image.open(io.BytesIO(encoded(image))).convert("RGB"))
        assert cut is not None
        alphas.append(np.asarray(cut.image)[28:32, 28:32, 3])
    assert alphas[0].max() == 0 and alphas[1].min() == 255


@pytest.mark.parametrize("seed", range(6))
def test_connection_and_growth_agree_with_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    allowed, seeds = rng.random((37, 53)) < 0.62, rng.random((37, 53)) < 0.01
    labels, _ = ndimage.label(allowed)
    expected = np.isin(labels, np.setdiff1d(labels[seeds & allowed], [0]))
    assert np.array_equal(reached(allowed, seeds), expected)
    square = np.ones((5, 5), bool)
    assert np.array_equal(grown(seeds, 2), ndimage.binary_dilation(seeds, square))
    assert np.array_equal(shrunk(allowed, 2), ndimage.binary_erosion(allowed, square, border_value=1))


@pytest.mark.parametrize("ground", sorted(DRAWN))
def test_grounds_are_of_the_asked_size_and_differ_from_draw_to_draw(ground: str) -> None:
    one, same, other = (
        DRAWN[ground](np.random.default_rng(seed), (90, 70)).pixels  # type: ignore[index]
        for seed in (1, 1, 2)
    )
    assert one.shape == (70, 90, 3) and one.dtype == np.float32
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    assert one.std() > 0.02  # not one even colour, which would be plain


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"others": (4, 1)}, "others must give the lower value first"),
        ({"product_size": (0.5, 1.5)}, "between 0.05 and 1"),
        ({"grounds": ("lawn",)}, "one that is not in test_only"),
        ({"grounds": ("beach",)}, "Input should be"),
        ({"jpeg_quality": (5, 90)}, "between 30 and 98"),
    ],
)
def test_parameters_that_make_no_scene_are_refused(given: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        PhotoNoiseParams(**given)  # type: ignore[arg-type]

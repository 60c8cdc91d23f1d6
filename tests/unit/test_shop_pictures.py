"""Painting: every visible attribute changes the picture, types differ in outline, and shapes are sound."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from components.shop.__main__ import main
from components.shop.assortment import TYPES, ProductType
from components.shop.design import Specification, contrasting_colours, generator, pick
from components.shop.params import ShopParams
from components.shop.pictures.paint import FINISHES, Sprite, Surface, View, paint
from components.shop.pictures.scene import bounds, outlines
from components.shop.pictures.shapes import box, ellipse, ribbon, symmetric
from components.shop.texts.queries import grades
from tests.data.parameter_blocks import shop_block

DEMO = shop_block(
    (4, 2, 4), products=60, variant_share=0.3, image_px=64, neighbours_max=4, neighbours_painted=24
)
KINDS = [pytest.param(kind, id=name) for name, kind in TYPES.items()]


def _paint(kind: ProductType, attributes: dict[str, str], size_px: int = 72, turn: float = 0.0) -> Sprite:
    what = Specification(0, "P0", "G0", kind, attributes, (0.0, 0.0, 0.0, 0.0))
    pattern, finish = attributes.get("pattern", "plain"), FINISHES[attributes.get("material", "cotton")]
    look = Surface((0.2, 0.4, 0.8), (0.9, 0.7, 0.2), (1.0, 1.0, 0.9), pattern, finish, 2.5, 0.0, 3)
    c, s = np.cos(turn), np.sin(turn)
    return paint(
        outlines(what), look, View(np.array([[c, -s], [s, c]]), (0.0, 0.0), (-0.6, -0.8)), size_px, 2
    )


def _on_grey(sprite: Sprite) -> np.ndarray:
    """The sprite in the middle of a grey square, ``[3, 96, 96]``."""
    canvas = np.full((3, 96, 96), 128.0)
    height, width = sprite.alpha.shape
    y, x = (96 - height) // 2, (96 - width) // 2
    canvas[:, y : y + height, x : x + width] *= 1 - sprite.alpha
    canvas[:, y : y + height, x : x + width] += sprite.rgb
    return canvas


@pytest.mark.parametrize("kind", KINDS)
def test_every_value_of_every_part_shows(kind: ProductType) -> None:
    rng = generator(1, kind.name)
    rest = {name: pick(rng, values) for name, values in kind.parts.items()}
    for name, values in kind.parts.items():
        drawn = [_on_grey(_paint(kind, {**rest, name: value})) for value in values]
        for (a, one), (b, two) in combinations(zip(values, drawn, strict=True), 2):
            changed = (np.abs(one - two).max(0) > 20).sum()
            assert changed >= 12, f"{kind.name}: {name} {a} looks like {b}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_pattern_and_material_shows(kind: ProductType) -> None:
    rest = {name: values[0] for name, values in kind.parts.items()}
    for name, values in (("pattern", sorted(set(kind.patterns))), ("material", kind.materials)):
        drawn = [_on_grey(_paint(kind, {**rest, name: value}, 88)) for value in values]
        for (a, one), (b, two) in combinations(zip(values, drawn, strict=True), 2):
            assert (np.abs(one - two).max(0) > 6).sum() >= 40, f"{kind.name}: {name} {a} looks like {b}"


def test_types_differ_in_outline() -> None:
    """The nearest outline among other designs, turned a little, is mostly of the same type."""
    masks, names = [], []
    for name, kind in TYPES.items():
        for k in range(10):
            rng = generator(2, name, k)
            parts = {part: pick(rng, values) for part, values in kind.parts.items()}
            alpha = _paint(kind, parts, 60, float(rng.normal(0, 0.08))).alpha
            small = Image.fromarray((alpha > 0.5).astype(np.uint8) * 255).resize((20, 20))
            masks.append(np.asarray(small, float).ravel() / 255)
            names.append(name)
    stacked = np.stack(masks)
    apart = ((stacked[:, None] - stacked[None]) ** 2).sum(2)
    np.fill_diagonal(apart, np.inf)
    right = np.array([names[k] for k in apart.argmin(1)]) == np.array(names)
    assert right.mean() > 0.75  # stretched to a square, without colour or size; chance is 0.04


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_product_at_any_size_is_a_sound_sprite(data: st.DataObject) -> None:
    kind = TYPES[data.draw(st.sampled_from(sorted(TYPES)))]
    attributes = {name: data.draw(st.sampled_from(values)) for name, values in kind.parts.items()}
    attributes["pattern"] = data.draw(st.sampled_from(kind.patterns))
    attributes["material"] = data.draw(st.sampled_from(kind.materials))
    size = data.draw(st.integers(10, 300))
    sprite = _paint(kind, attributes, size, data.draw(st.floats(-3, 3)))
    assert sprite.rgb.shape == (3, *sprite.alpha.shape)
    assert sprite.alpha.min() >= 0 and sprite.alpha.max() <= 1
    assert sprite.rgb.min() >= 0 and (sprite.rgb <= 255 * sprite.alpha + 1e-2).all()
    x0, y0, x1, y1 = bounds(sprite.alpha > 0)
    height, width = sprite.alpha.shape
    assert max((x1 - x0) * width, (y1 - y0) * height) == pytest.approx(size, abs=3)


@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_bounds_equal_pillows(height: int, width: int, data: st.DataObject) -> None:
    cells = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width).filter(any))
    mask = np.array(cells).reshape(height, width)
    x0, y0, x1, y1 = Image.fromarray(mask).getbbox() or (0, 0, 0, 0)
    assert bounds(mask) == pytest.approx((x0 / width, y0 / height, x1 / width, y1 / height))


@given(st.integers(1, 8), st.data())
def test_grades_never_rise_with_what_is_missing(asked: int, data: st.DataObject) -> None:
    given_ = grades(np.arange(asked + 1), asked)
    assert given_[-1] == 3 and given_[0] == 0 and (np.diff(given_) >= 0).all()
    for matched, grade in enumerate(given_):
        missing = asked - matched
        assert grade == (
            3 if not missing else 2 if 3 * missing <= asked else 1 if 2 * missing <= asked else 0
        )


def _area(points: np.ndarray) -> float:
    x, y = points.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def test_shapes_have_the_areas_of_their_formulas() -> None:
    assert _area(ellipse(1, 2, 3, 2, count=400)) == pytest.approx(np.pi * 6, rel=1e-3)
    assert _area(box(0, 0, 4, 2)) == 8
    assert _area(box(0, 0, 4, 2, 0.5)) == pytest.approx(8 - (4 - np.pi) * 0.25, rel=0.02)
    assert _area(ribbon([(0, 0), (1, 1), (3, 3)], 0.5)) == pytest.approx(np.hypot(3, 3) * 0.5)
    assert _area(ribbon([(0, 0), (2, 0)], 1.0, 0.0)) == pytest.approx(1.0)
    assert _area(symmetric((1, 0), (1, 3))) == 6


def test_second_colours_stand_out() -> None:
    for colour in ("black", "white", "navy", "teal"):
        others = contrasting_colours(colour)
        assert colour not in others and len(others) >= 8
    assert "navy" not in contrasting_colours("black") and "black" not in contrasting_colours("navy")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"products": 10}, "products"),
        ({"colour": "red"}, "colour"),
        ({"test_fraction": 0.8, "validation_fraction": 0.15}, "at least a tenth for training"),
        ({"neighbours_min": 5}, "neighbours_min is larger"),
        ({"jpeg_quality": 200}, "jpeg_quality"),
    ],
)
def test_wrong_parameters_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ShopParams.model_validate({**DEMO, **change})


def test_the_command_writes_a_sheet_and_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(yaml.safe_dump({"shop": DEMO}))
    monkeypatch.setenv("VITRINE_PARAMS", str(params))
    sheet, page = tmp_path / "sheet.png", tmp_path / "page.html"
    assert main([str(sheet), str(page), "--count", "7", "--columns", "4", "--boxes"]) == 0
    with Image.open(sheet) as image:
        assert image.size == (4 * 68 + 4, 2 * 68 + 4)
    written = page.read_text()
    assert written.count("<figure>") == 7 and "http" not in written.replace("http-equiv", "")


def test_the_command_explains_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(yaml.safe_dump({"shop": DEMO}))
    monkeypatch.setenv("VITRINE_PARAMS", str(params))
    assert main([str(tmp_path / "a.png"), "--type", "spoon"]) == 2
    assert "sells no 'spoon'" in capsys.readouterr().err
    params.write_text("catalog: {}\n")
    assert main([str(tmp_path / "a.png")]) == 2
    assert "no block 'shop'" in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()

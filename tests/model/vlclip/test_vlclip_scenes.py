"""Scenes, the dense head that they teach, and its boxes: on blocks of colour that a plain loop can check."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from components.encoder.model.crops.boxes import iou
from components.grounding.dense.cut_outs import cut_out
from components.grounding.dense.files import TrainedHead, load_grounder, save_grounder
from components.grounding.dense.grounder import DenseGrounder
from components.grounding.dense.reading import AskedTypes, best_region, read_shape
from components.grounding.dense.scenes import CELL_PX, Composer
from components.grounding.dense.teach import SceneParts, calibrated, chosen_pictures, cut_outs_of, taught_head
from components.grounding.errors import GrounderFileError
from components.grounding.grounding import AnyOf, ground
from components.grounding.params import GroundParams, SceneGrounding

COLOURS = {"apple": (210, 40, 40), "leaf": (40, 170, 60), "sky": (50, 80, 220)}
METHOD = SceneGrounding.model_validate({
    "composer": {"image_px": 96, "least_size": 0.2, "most_size": 0.5},
    "training": {"scenes": 128, "steps": 250, "batch_size": 16, "hidden": 24, "dropout": 0.0},
    "region": {"scenes": 24, "absent_quantile": 0.8},
    "sizes_px": (64, 96),
})  # fmt: skip


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def plain(kind: str, seed: int, side: int = 64) -> np.ndarray:
    """A block of the type's colour on a ground that grows lighter to one side."""
    rng = np.random.default_rng(seed)
    ground = np.linspace(170, 230, side)[None, :, None] + rng.normal(0, 2, (side, side, 3))
    wide, high = rng.integers(side // 4, side // 2, 2)
    x, y = (int(rng.integers(4, side - n - 4)) for n in (wide, high))
    ground[y : y + high, x : x + wide] = COLOURS[kind]
    return ground.clip(0, 255).astype(np.uint8)


def maps(pixels: torch.Tensor) -> list[torch.Tensor]:
    """Mean colours on three grids: what a trunk is for these tests."""
    scaled = pixels.float() / 255
    return [F.avg_pool2d(scaled, 2**k, ceil_mode=True) for k in (3, 4, 5)]


def texts(words: object) -> np.ndarray:
    """Vectors in which a crimson is nearly an apple, and a stone is like nothing."""
    known = {"apple": [1, 0, 0, 0], "leaf": [0, 1, 0, 0], "sky": [0, 0, 1, 0], "crimson": [0.9, 0.1, 0, 0.2]}
    return np.array([known.get(w, [0, 0, 0, 1]) for w in words], dtype=np.float32)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def taught() -> SceneParts:
    pictures = [(png(plain(kind, seed)), kind) for seed in range(20) for kind in COLOURS]
    return cut_outs_of(pictures, METHOD.composer, 1)


def head_of(taught: SceneParts, method: SceneGrounding) -> TrainedHead:
    torch.set_num_threads(1)
    params = GroundParams(threads=1, batch_size=8, precision="fp32", scenes=method)
    return taught_head(taught, params, maps, "sha")


@pytest.fixture(scope="module")
def grounder(taught: SceneParts) -> DenseGrounder:
    trained = head_of(taught, METHOD)
    return DenseGrounder(trained, maps, AskedTypes(trained.types, texts, 0.05, 0.5), 8, 1)


def test_a_cut_out_is_the_thing_without_its_ground() -> None:
    for seed in range(12):
        picture = plain("apple", seed)
        found = cut_out(picture, 7)
        true = (picture == COLOURS["apple"]).all(axis=-1)
        assert found is not None and found.kind == 7
        assert abs(int(found.mask.sum()) - int(true.sum())) < 0.12 * true.sum()
        assert (found.pixels[found.mask] == COLOURS["apple"]).all(axis=-1).mean() > 0.9


def test_what_is_not_one_thing_on_plain_ground_is_not_cut_out() -> None:
    two = np.full((64, 64, 3), 200, np.uint8)
    two[8:28, 8:28] = COLOURS["sky"]
    two[36:56, 36:56] = COLOURS["leaf"]
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    flat = np.full((64, 64, 3), 200, np.uint8)
    for pixels in (two, noise, flat, flat[:1, :1], flat[:, :1]):
        assert cut_out(pixels, 0) is None


def test_a_scene_depends_on_seed_and_number_alone(taught: SceneParts) -> None:
    def scene(seed: int, number: int, before: int = 0) -> np.ndarray:
        params = METHOD.composer.model_copy(update={"seed": seed})
        composer = Composer(taught.cut_outs, taught.grounds, 3, params)
        for other in range(before):
            composer.scene(other)
        return composer.scene(number).pixels

    assert np.array_equal(scene(1, 9), scene(1, 9, before=4))
    assert not np.array_equal(scene(1, 9), scene(2, 9)) and not np.array_equal(scene(1, 9), scene(1, 8))


def test_cells_boxes_and_colours_of_a_scene_agree(taught: SceneParts) -> None:
    composer = Composer(taught.cut_outs, taught.grounds, 3, METHOD.composer)
    colours = np.array([COLOURS[t] for t in taught.types], dtype=float)
    right, every, shown = 0, 0, 0
    for number in range(40):
        scene = composer.scene(number)
        side = len(scene.cells)
        assert scene.pixels.shape == (96, 96, 3) and side == 96 // CELL_PX
        assert scene.boxes.shape == (len(scene.kinds), 4)
        assert ((scene.boxes >= 0) & (scene.boxes <= 1)).all()
        for kind, (x0, y0, x1, y1) in zip(scene.kinds, scene.boxes * side, strict=True):
            inner = scene.cells[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))]
            shown += 1
            assert (inner == kind).any() or (x1 - x0) * (y1 - y0) < 6
        for row, column in np.argwhere((scene.cells >= 0) & (scene.cells < 3)):
            part = scene.pixels[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8].reshape(-1, 3)
            nearest = np.abs(colours - np.median(part, axis=0)).sum(axis=1).argmin()
            right, every = right + int(nearest == scene.cells[row, column]), every + 1
    assert shown > 60 and right > 0.9 * every


def street(rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Three blocks side by side on checks: another maker's scene; boxes by type."""
    side = 120
    y, x = np.mgrid[0:side, 0:side]
    pixels = np.where(((x // 9 + y // 7) % 2)[..., None], (150, 140, 120), (110, 115, 120)).astype(np.uint8)
    boxes = {}
    for at, kind in enumerate(rng.permutation(list(COLOURS))):
        wide, high = rng.integers(18, 34, 2)
        left, top = at * 40 + int(rng.integers(0, 40 - wide)), int(rng.integers(0, side - high))
        pixels[top : top + high, left : left + wide] = COLOURS[str(kind)]
        boxes[str(kind)] = np.array([left, top, left + wide, top + high]) / side
    return pixels, boxes


def test_a_taught_head_finds_things_in_another_makers_scenes(grounder: DenseGrounder) -> None:
    rng = np.random.default_rng(5)
    scenes = [street(rng) for _ in range(12)]
    asked = [(png(pixels), kind, box) for pixels, boxes in scenes for kind, box in boxes.items()]
    found = ground(grounder, [p for p, _, _ in asked], [k for _, k, _ in asked], set(COLOURS), 0.0)
    boxes = np.array([f.box or (0, 0, 1, 1) for f in found], dtype=float)
    true = np.array([box for _, _, box in asked])
    points = np.array([f.point or (0.5, 0.5) for f in found])
    hits = ((points >= true[:, :2]) & (points <= true[:, 2:])).all(axis=1)
    assert iou(boxes, true).mean() > 0.5 and hits.mean() > 0.85


def test_a_plain_pictures_box_is_the_outline_of_its_product(grounder: DenseGrounder) -> None:
    pictures = [(plain(kind, seed, side=96), kind) for seed in range(40, 44) for kind in COLOURS]
    found = grounder.propose([png(p) for p, _ in pictures], [kind for _, kind in pictures])
    for (picture, kind), box in zip(pictures, found.boxes, strict=True):
        rows, columns = np.nonzero((picture == COLOURS[kind]).all(axis=-1))
        true = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 96
        assert np.abs(box - true).max() < 0.03


def test_what_a_picture_does_not_show_falls_back(grounder: DenseGrounder) -> None:
    picture = png(np.full((80, 80, 3), 128, np.uint8))
    found = ground(grounder, [picture] * 3, list(COLOURS), set(COLOURS), 0.0)
    assert all(f.fallback and f.reason for f in found)
    assert grounder.calibration.absent_fallback > 0.5


def test_a_new_word_is_asked_as_the_types_it_is_near_to(grounder: DenseGrounder) -> None:
    pixels, _ = street(np.random.default_rng(2))
    known = {"apple", "crimson", "stone"}
    apple, crimson, stone = ground(grounder, [png(pixels)] * 3, sorted(known), known, 0.0)
    assert apple.box is not None and crimson.box is not None
    assert iou(np.array([apple.box]), np.array([crimson.box]))[0] > 0.8
    assert stone.fallback and "in no scene" in stone.reason
    weights = grounder.asked.weights(["leaf", "crimson", "stone"])
    assert weights[0] is not None and weights[0].tolist() == [0, 1, 0]
    assert weights[1] is not None and weights[1][0] == pytest.approx(1) and weights[1][1:].max() < 0.01
    assert weights[2] is None


def test_a_picture_asked_for_several_things_is_read_once(
    grounder: DenseGrounder, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture, other = (png(street(np.random.default_rng(seed))[0]) for seed in (2, 3))
    alone = [
        grounder.propose([p], [k]).boxes[0] for p, k in ((picture, "sky"), (other, "leaf"), (picture, "leaf"))
    ]
    read = []
    maps = grounder.reader.maps
    monkeypatch.setattr(grounder.reader, "maps", lambda pixels: read.append(len(pixels)) or maps(pixels))
    together = grounder.propose([picture, other, picture], ["sky", "leaf", "leaf"])
    assert np.allclose(together.boxes, alone, atol=0.02) and sum(read) == 2 * len(METHOD.sizes_px)


def test_a_category_is_asked_as_any_of_its_types(grounder: DenseGrounder) -> None:
    pixels, boxes = street(np.random.default_rng(2))
    both, unknown = AnyOf("green and blue", ("leaf", "sky")), AnyOf("stones", ("stone",))
    found, nothing = ground(grounder, [png(pixels)] * 2, [both, unknown], {*COLOURS, "stone"}, 0.0)
    assert found.point is not None and nothing.fallback and "in no scene" in nothing.reason
    shown = [boxes["leaf"], boxes["sky"]]
    assert any((b[:2] <= found.point).all() and (found.point <= b[2:]).all() for b in shown)
    weights = grounder.asked.weights([both, unknown])
    assert weights[0] is not None and weights[0].tolist() == [0, 1, 1] and weights[1] is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (3, 200), (400, 300)])
def test_a_picture_of_any_shape_gets_a_box_or_a_reason(
    grounder: DenseGrounder, shape: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3))
    found = ground(grounder, [png(pixels), b"no picture"], ["apple", "leaf"], set(COLOURS), 0.0)
    assert (found[0].box is None) == bool(found[0].reason)
    assert found[1].reason == "picture cannot be read"
    rows, columns = read_shape((shape[1], shape[0]), 96)
    assert rows % 32 == columns % 32 == 0 and min(rows, columns) >= 32 and max(rows, columns) <= 96


def test_neighbours_in_a_batch_change_no_box(grounder: DenseGrounder) -> None:
    rng = np.random.default_rng(8)
    pictures = [png(street(rng)[0][: 120 - 20 * (i % 3)]) for i in range(10)]
    together = grounder.propose(pictures, ["sky"] * 10)
    alone = [grounder.propose([p], ["sky"]) for p in pictures]
    assert np.allclose(together.scores, [a.scores[0] for a in alone], atol=1e-4, equal_nan=True)
    assert np.allclose(together.boxes, [a.boxes[0] for a in alone], atol=0.02, equal_nan=True)


def test_the_same_pictures_teach_the_same_head(taught: SceneParts, tmp_path: Path) -> None:
    short = METHOD.model_copy(
        update={"training": METHOD.training.model_copy(update={"steps": 3, "scenes": 32})}
    )
    fresh, other = head_of(taught, short), head_of(taught, short)
    save_grounder(fresh, "", tmp_path / "one")
    save_grounder(other, "", tmp_path / "two")
    for file in ("config.json", "head.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    loaded = load_grounder(tmp_path / "one", "sha")
    assert loaded is not None and loaded.types == fresh.types and loaded.calibration == fresh.calibration
    batch = maps(torch.rand(2, 3, 64, 64) * 255)
    assert torch.equal(loaded.head(batch), fresh.head(batch))


def test_a_spoiled_grounder_is_refused(taught: SceneParts, tmp_path: Path) -> None:
    short = METHOD.model_copy(
        update={"training": METHOD.training.model_copy(update={"steps": 1, "scenes": 16})}
    )
    save_grounder(head_of(taught, short), "", tmp_path / "good")
    with pytest.raises(GrounderFileError, match="another image tower"):
        load_grounder(tmp_path / "good", "other")
    with pytest.raises(GrounderFileError, match="nothing"):
        load_grounder(tmp_path / "absent", "sha")
    weights = tmp_path / "good" / "head.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(GrounderFileError, match="cannot be loaded"):
        load_grounder(tmp_path / "good", "sha")
    (tmp_path / "good" / "head.pt").write_bytes(b"\x80\x04.")
    with pytest.raises(GrounderFileError, match=r"head\.pt"):
        load_grounder(tmp_path / "good", "sha")


def test_without_plain_pictures_or_with_one_type_there_is_nothing_to_teach(tmp_path: Path) -> None:
    noise = png(np.random.default_rng(0).integers(0, 256, (64, 64, 3)))
    none = cut_outs_of([(noise, "apple"), (b"broken", "leaf")], METHOD.composer, 1)
    one = cut_outs_of([(png(plain("apple", 0)), "apple")], METHOD.composer, 1)
    assert "is plain" in none.problem and "'apple'" in one.problem
    save_grounder(None, one.problem, tmp_path / "empty")
    assert load_grounder(tmp_path / "empty", "sha") is None


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(np.float32, (6, 7), elements=st.floats(0, 1, width=16)), st.sampled_from([0.3, 0.5, 1.0])
)
def test_a_region_is_what_a_flood_from_the_peak_reaches(likely: np.ndarray, share: float) -> None:
    box, point, score = best_region(likely, share, 0.0)
    if likely.max() <= 1e-6:
        assert np.isnan([*box, *point, score]).all()
        return
    start = np.unravel_index(int(likely.argmax()), likely.shape)
    level, todo, reached = share * float(likely.max()), [start], {start}
    while todo:
        row, column = todo.pop()
        for at in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            inside = 0 <= at[0] < 6 and 0 <= at[1] < 7
            if inside and at not in reached and likely[at] >= level:
                reached.add(at)
                todo.append(at)
    rows, columns = zip(*reached, strict=True)
    assert np.allclose(
        box, [min(columns) / 7, min(rows) / 6, (max(columns) + 1) / 7, (max(rows) + 1) / 6], atol=1e-6
    )
    assert score == pytest.approx(float(likely.max()))
    assert box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def test_types_take_turns() -> None:
    assert chosen_pictures(["a"] * 9 + ["b", "c"], 5) == [0, 1, 2, 9, 10]
    assert chosen_pictures(["a", "b"], 9) == [0, 1]


def test_scenes_that_show_everything_or_nothing_still_calibrate(
    grounder: DenseGrounder, taught: SceneParts
) -> None:
    composer = Composer(taught.cut_outs, taught.grounds, 3, METHOD.composer)
    empty = [composer.scene(i)._replace(kinds=[], boxes=np.zeros((0, 4))) for i in range(4)]
    full = [
        composer.scene(i)._replace(kinds=[0, 1, 2], boxes=np.tile([0.1, 0.1, 0.5, 0.5], (3, 1)))
        for i in range(4)
    ]
    nothing = calibrated(grounder.reader, empty, 3, METHOD.region, 0)
    everything = calibrated(grounder.reader, full, 3, METHOD.region, 0)
    assert nothing.scene_iou == 0 and nothing.share == METHOD.region.shares[0]
    assert everything.threshold == 0 and 0 < everything.scene_iou < 1

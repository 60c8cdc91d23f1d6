"""Boxes: the best window by a plain loop, bad input, and a reason wherever the whole picture is used."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from components.catalog.format.parquet import write_rows
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.towers.files import load_encoder
from components.stage.paths import Paths
from components.stage.record import Record
from components.vlclip.grounding.empty_pictures import empty_pictures
from components.vlclip.grounding.grounding import EncoderGrounder, Examples, Proposals, ground
from components.vlclip.grounding.stage import BOXES, Blocks, run, spread_examples
from components.vlclip.grounding.windows import Windows, peak
from components.vlclip.model.boxes import areas, box_problem, checked_box, iou, widened
from components.vlclip.model.errors import BoxError, GroundingDataError, VlclipConfigurationError
from components.vlclip.model.grounding_file import read_grounding
from components.vlclip.model.params import EncoderGrounding, GroundParams
from tests.model.vlclip.squares_shop import BLOCKS, COLOURS, picture, run_stage, write_params

METHOD = EncoderGrounding(**BLOCKS["ground"]["encoder"])
SPAN = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)
BOX = st.tuples(SPAN, SPAN).map(lambda s: [s[0][0], s[1][0], s[0][1], s[1][1]])


class Fixed:
    """A grounder that answers as it is told."""

    def __init__(self, box: Sequence[float], score: float = 0.9, problem: str = "") -> None:
        self.box, self.score, self.problem, self.threshold = box, score, problem, 0.5

    def propose(self, pictures: Sequence[bytes], product_types: Sequence[str]) -> Proposals:
        n = len(pictures)
        return Proposals(
            np.array([self.box] * n, float), np.full(n, self.score), np.full((n, 2), 0.5), [self.problem] * n
        )


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(np.float32, (2, 4, 4), elements=st.floats(-1, 1, width=16)),
    st.sampled_from([0.0, 0.3, 1.0]),
)
def test_the_best_window_is_that_of_a_plain_loop(maps: np.ndarray, compactness: float) -> None:
    windows = Windows(grid=4, smallest_side=0.25, level_deviations=0.5, compactness=compactness)
    boxes, contrast = windows.best(maps)
    for m, box, found in zip(maps, boxes, contrast, strict=True):
        level = m.mean() + 0.5 * m.std()

        def value(x0: int, y0: int, x1: int, y1: int, m: np.ndarray = m, level: float = level) -> float:
            part = m[y0:y1, x0:x1]
            return float((part - level).sum()) / part.size**compactness

        best = max(value(*e) for e in windows.edges.tolist())
        x0, y0, x1, y1 = (box * 4).round().astype(int)
        assert value(x0, y0, x1, y1) == pytest.approx(best, abs=1e-4)
        inner = m[y0:y1, x0:x1]
        outside = (m.sum() - inner.sum()) / max(1, 16 - inner.size)
        assert found == pytest.approx(inner.mean() - outside if inner.size < 16 else 0, abs=1e-4)


def test_a_bright_patch_is_boxed_and_pointed_at() -> None:
    maps = np.zeros((1, 6, 6), np.float32)
    maps[0, 1:3, 3:6] = 1.0
    maps[0, 2, 4] = 2.0
    boxes, contrast = Windows(6, 0.15, 0.5, 0.1).best(maps)
    assert np.allclose(boxes[0] * 6, [3, 1, 6, 3]) and contrast[0] > 1
    assert np.allclose(peak(maps)[0], [4.5 / 6, 2.5 / 6])


@pytest.mark.parametrize(
    ("box", "problem"),
    [
        ([0.5, 0.1, 0.2, 0.9], "inverted"),
        ([0.1, 0.1, 0.1, 0.9], "inverted"),
        ([0.1, float("nan"), 0.5, 0.9], "not finite"),
        ([0.1, 0.1, float("inf"), 0.9], "not finite"),
        ([-0.2, 0.1, 0.5, 0.9], "outside"),
        ([0.1, 0.1, 0.5, 1.4], "outside"),
        ([0.1, 0.1, 0.5], "3 numbers"),
    ],
)
def test_a_bad_box_is_named(box: list[float], problem: str) -> None:
    assert problem in (box_problem(box) or "")
    with pytest.raises(BoxError, match=f"product p7.*{problem}"):
        checked_box(box, "product p7")


def test_a_rounding_error_outside_is_clipped() -> None:
    assert checked_box([-1e-6, 0.0, 0.5, 1.0000004], "x") == (0.0, 0.0, 0.5, 1.0)


@settings(max_examples=50, deadline=None)
@given(BOX, BOX, st.floats(0, 1))
def test_overlap_and_margins_keep_their_laws(a: list[float], b: list[float], margin: float) -> None:
    first, second = np.array([a]), np.array([b])
    assert 0 <= iou(first, second)[0] <= 1 + 1e-9
    assert iou(first, second)[0] == pytest.approx(iou(second, first)[0])
    wide = widened(first, margin)
    assert areas(wide)[0] >= areas(first)[0] - 1e-9 and wide.min() >= 0 and wide.max() <= 1
    if areas(first)[0] > 1e-6:
        assert iou(first, first)[0] == pytest.approx(1)


def one(grounder: Fixed, product_type: str = "square", minimum_area: float = 0.02):
    return ground(grounder, [b"x"], [product_type], {"square"}, minimum_area)[0]


@pytest.mark.parametrize(
    ("grounder", "product_type", "reason"),
    [
        (Fixed([0.1, 0.1, 0.6, 0.6]), "", "no product type"),
        (Fixed([0.1, 0.1, 0.6, 0.6]), "   ", "no product type"),
        (Fixed([0.1, 0.1, 0.6, 0.6]), "spaceship", "not in the schema"),
        (Fixed([0.1, 0.1, 0.6, 0.6], score=0.4), "square", "below the threshold"),
        (Fixed([0.1, 0.1, 0.2, 0.2]), "square", "minimum area"),
        (Fixed([0.6, 0.1, 0.2, 0.2]), "square", "inverted"),
        (Fixed([1.2, 1.2, 1.6, 1.6]), "square", "inverted"),  # nothing is left of it inside the picture
        (Fixed([0.1, float("nan"), 0.6, 0.6]), "square", "not finite"),
        (Fixed([0.1, 0.1, 0.6, 0.6], score=float("nan")), "square", "nothing found"),
        (Fixed([0.1, 0.1, 0.6, 0.6], problem="picture cannot be read"), "square", "cannot be read"),
    ],
)
def test_what_cannot_be_used_falls_back_with_a_reason(
    grounder: Fixed, product_type: str, reason: str
) -> None:
    found = one(grounder, product_type)
    assert found.fallback and found.box is None and reason in found.reason


def test_a_box_over_the_edge_is_cut_to_the_picture() -> None:
    found = one(Fixed([0.5, 0.5, 1.3, 1.3]))
    assert found.box == (0.5, 0.5, 1.0, 1.0) and not found.fallback and not found.reason


@pytest.fixture(scope="module")
def grounder(shop: Path) -> EncoderGrounder:
    encoder = BatchEncoder(load_encoder(shop / "models/encoder"), 8, "fp32")
    return EncoderGrounder(encoder, METHOD, 1, spread_examples(shop / "data/checked", METHOD.empty))


def jpeg(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "JPEG", quality=98, subsampling=0)
    return out.getvalue()


@pytest.fixture(scope="module")
def trained_grounder(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> EncoderGrounder:
    """The tiny encoder after a little training, with a threshold that none of its empty pictures exceeded."""
    root = tmp_path_factory.mktemp("trained")
    (root / "data").symlink_to(shop / "data")
    shutil.copytree(shop / "models", root / "models")
    write_params(root, vlclip__training__epochs=80, vlclip__captions__product_type=6.0)
    assert run_stage(root, "vlclip.model", "variant=raw").returncode == 0
    method = METHOD.model_copy(
        update={"empty": METHOD.empty.model_copy(update={"quantile": 1.0, "pictures": 48})}
    )
    encoder = BatchEncoder(load_encoder(root / "models/vlclip/raw"), 32, "fp32")
    return EncoderGrounder(encoder, method, 1, spread_examples(shop / "data/checked", method.empty))


def test_a_photo_of_nothing_falls_back(trained_grounder: EncoderGrounder) -> None:
    """Blank, noisy and textured ground that no calibration has seen; squares and bars keep their boxes."""
    rng = np.random.default_rng(99)
    blank = [np.full((48, 48, 3), level, np.uint8) for level in range(95, 130, 5)]
    noise = [rng.integers(90, 130, (48, 48, 3)).astype(np.uint8) for _ in range(20)]
    larger = [rng.integers(90, 130, (64, 96, 3)).astype(np.uint8) for _ in range(5)]
    empty = [jpeg(p) for p in [*blank, *noise, *larger]]
    kinds = ["square", "bar"] * len(empty)
    found = ground(trained_grounder, empty, kinds[: len(empty)], {"square", "bar"}, 0.02)
    fallen = [f.fallback and f.reason == "score is below the threshold" for f in found]
    assert np.mean(fallen) > 0.85 and all(fallen[: len(blank)]), [f.score for f in found]
    things = [picture(c, k, 20, 16, 7 + i, False) for i, (c, k) in enumerate(THINGS)]
    kept = ground(trained_grounder, things, [k for _, k in THINGS], {"square", "bar"}, 0.02)
    assert sum(f.fallback for f in kept) <= 2, [f.score for f in kept]
    assert trained_grounder.empty_fallback > 0.8


THINGS = [(colour, kind) for colour in COLOURS for kind in ("square", "bar")]


def test_a_split_without_pictures_cannot_say_what_nothing_scores(grounder: EncoderGrounder) -> None:
    for examples in (Examples([], []), Examples([b"broken"], ["square"]), Examples([b""], [" "])):
        with pytest.raises(GroundingDataError, match="what a picture of nothing scores"):
            EncoderGrounder(grounder.encoder, METHOD, 1, examples)


def test_pictures_of_nothing_hold_no_thing() -> None:
    pixels = np.full((2, 48, 48, 3), 120, np.uint8)
    pixels[:, 10:40, 10:40] = (220, 30, 30)
    pixels[1, :12] = (30, 30, 220)  # something stands in two corners
    empty = empty_pictures(pixels, np.random.default_rng(0))
    assert empty.shape == (6, 48, 48, 3) and empty.dtype == np.uint8
    assert np.abs(empty.astype(int) - 120).max() < 20


def test_a_broken_picture_changes_no_neighbour(grounder: EncoderGrounder) -> None:
    good = picture("red", "square", 20, 20, 1, False)
    found = ground(grounder, [b"<html>", good, b""], ["square"] * 3, {"square"}, 0.0)
    assert found[0].reason == found[2].reason == "picture cannot be read"
    alone = ground(grounder, [good], ["square"], {"square"}, 0.0)[0]
    assert alone.box == found[1].box, "a broken neighbour changed a picture's box"


def test_a_flat_map_has_no_contrast() -> None:
    _, contrast = Windows(6, 0.2, 0.5, 0.1).best(np.full((3, 6, 6), 0.3, np.float32))
    assert np.abs(contrast).max() < 1e-5


def test_a_vision_transformer_keeps_its_own_size(shop: Path, grounder: EncoderGrounder) -> None:
    encoder = grounder.encoder
    patches, encoder.encoder.patches = encoder.encoder.patches, None
    try:
        with pytest.raises(VlclipConfigurationError, match="image_px is 48"):
            EncoderGrounder(encoder, METHOD, 1, Examples([], []))
    finally:
        encoder.encoder.patches = patches


def test_exactly_one_method_is_set() -> None:
    both = BLOCKS["ground"] | {"encoder": None}
    with pytest.raises(ValueError, match="exactly one"):
        GroundParams.model_validate(both)


def test_every_product_gets_a_row_in_catalogue_order_and_the_same_bytes_twice(
    shop: Path, tmp_path: Path
) -> None:
    contents = []
    for name in ("one", "two"):
        record = Record(stage="ground")
        run(
            Blocks.model_validate({"ground": BLOCKS["ground"]}),
            Paths(
                catalogue=shop / "data/checked", encoder=shop / "models/encoder", grounding=tmp_path / name
            ),
            record,
        )
        contents.append([(tmp_path / name / f).read_bytes() for f in ("boxes.parquet", "meta.json")])
    assert contents[0] == contents[1]
    rows = pq.read_table(tmp_path / "one/boxes.parquet").to_pylist()
    ids = [r["product_id"] for r in rows]
    assert ids == sorted(ids) and len(ids) == 96
    assert all((r["box"] is None) == r["fallback"] == bool(r["reason"]) for r in rows)
    meta = json.loads((tmp_path / "one/meta.json").read_text())
    assert meta["count"] == 96 and meta["parameters"]["encoder"]["empty"]["quantile"] == 0.0
    assert meta["threshold"] > 0 and meta["empty_fallback"] >= 0
    assert read_grounding(tmp_path / "one", ids).boxes.shape == (96, 4)
    with pytest.raises(GroundingDataError, match="not the catalogue's"):
        read_grounding(tmp_path / "one", ids[:-1])


@pytest.mark.parametrize(
    ("box", "message"),
    [([0.5, 0.5, 0.2, 0.9], "inverted"), ([0.1, 0.1, 3.0, 0.9], "outside"), (None, "0 numbers")],
)
def test_a_file_with_a_bad_box_names_the_product(tmp_path: Path, box: object, message: str) -> None:
    row = {"product_id": "p1", "box": box, "score": 1.0, "fallback": False, "reason": "", "point": None}
    write_rows(tmp_path / "boxes.parquet", BOXES, [row])
    with pytest.raises(BoxError, match=f"product p1.*{message}"):
        read_grounding(tmp_path, ["p1"])


def test_a_missing_or_damaged_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(GroundingDataError, match="run the ground stage"):
        read_grounding(tmp_path, [])
    (tmp_path / "boxes.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(GroundingDataError, match="damaged"):
        read_grounding(tmp_path, [])


def test_an_empty_catalogue_is_said(tmp_path: Path) -> None:
    params = Blocks.model_validate({"ground": BLOCKS["ground"]})
    paths = Paths(catalogue=tmp_path, encoder=tmp_path, grounding=tmp_path / "out")
    with pytest.raises(GroundingDataError, match="no product shard"):
        run(params, paths, Record(stage="ground"))
    assert not (tmp_path / "out").exists()

"""Boxes: what they may be, what the stage leaves, and a reason wherever the whole picture is used."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from components.catalog.format.parquet import write_rows
from components.encoder.model.crops.boxes import areas, box_problem, checked_box, iou, widened
from components.encoder.model.crops.errors import BoxError, GroundingDataError
from components.encoder.model.crops.grounding_file import BY_CATEGORY, read_grounding
from components.encoder.model.towers.files import load_encoder
from components.grounding.dense.files import load_grounder
from components.grounding.dense.reading import trunk_maps
from components.grounding.errors import GrounderFileError
from components.grounding.grounding import Proposals, ground
from components.grounding.params import GroundParams
from components.grounding.stage import BOXES, Blocks, other_types, run
from components.stage.paths import Paths
from components.stage.record import Record
from tests.model.damaged_weights import DAMAGE
from tests.model.spoiled_catalogue import change_products
from tests.model.vlclip.squares_shop import BLOCKS

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


def ground_params(**changes: Any) -> Blocks:
    return Blocks.model_validate({"ground": BLOCKS["ground"] | changes})


def paths_of(shop: Path, out: Path) -> Paths:
    return Paths(
        catalogue=shop / "data/checked", encoder=shop / "models/encoder", grounding=out / "grounding",
        grounder=out / "grounder",
    )  # fmt: skip


def jpeg(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "JPEG", quality=98, subsampling=0)
    return out.getvalue()


def test_exactly_one_method_is_set() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        GroundParams.model_validate(BLOCKS["ground"] | {"scenes": None})


@pytest.fixture(scope="module")
def grounded(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What two runs of the stage left."""
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    for folder in folders:
        run(ground_params(), paths_of(shop, folder), Record(stage="ground"))
    return folders


def test_two_runs_leave_the_same_bytes(grounded: list[Path]) -> None:
    one, two = ({p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in grounded)
    assert one == two
    names = {
        "boxes.parquet",
        "categories.parquet",
        "meta.json",
        "config.json",
        "head.safetensors",
        "checksums.json",
    }
    assert {p.name for p in one} == names


def test_every_product_gets_a_row_in_catalogue_order(grounded: list[Path]) -> None:
    folder = grounded[0] / "grounding"
    rows = pq.read_table(folder / "boxes.parquet").to_pylist()
    ids = [r["product_id"] for r in rows]
    assert ids == sorted(ids) and len(ids) == 96
    assert all((r["box"] is None) == r["fallback"] == bool(r["reason"]) for r in rows)
    assert not all(r["fallback"] for r in rows)
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["count"] == 96 and meta["parameters"]["scenes"]["region"]["absent_quantile"] == 0.5
    assert 0 < meta["threshold"] < 1 and meta["made"]["types"] == ["bar", "square"]
    assert read_grounding(folder, ids).boxes.shape == (96, 4)
    with pytest.raises(GroundingDataError, match="not the catalogue's"):
        read_grounding(folder, ids[:-1])


def test_the_published_head_is_read_with_the_tower_it_was_taught_on(shop: Path, grounded: list[Path]) -> None:
    encoder = load_encoder(shop / "models/encoder")
    trained = load_grounder(grounded[0] / "grounder", encoder.image_sha256)
    assert trained is not None and trained.types == ["bar", "square"]
    maps = trunk_maps(encoder.encoder, "fp32")(torch.zeros(1, 3, 64, 64))
    assert [m.shape[1] for m in maps] == trained.head.channels and maps[0].shape[-1] == 64 // 8


@pytest.mark.parametrize("how", DAMAGE)
def test_a_head_that_is_not_the_one_that_was_saved_is_refused(
    shop: Path, grounded: list[Path], tmp_path: Path, how: str
) -> None:
    shutil.copytree(grounded[0] / "grounder", tmp_path / "grounder")
    damage, told = DAMAGE[how]
    damage(tmp_path / "grounder/head.safetensors")
    with pytest.raises(GrounderFileError, match=told):
        load_grounder(tmp_path / "grounder", load_encoder(shop / "models/encoder").image_sha256)


def spoiled(shop: Path, root: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Path:
    for name in ("data", "models"):
        shutil.copytree(shop / name, root / name)
    change_products(root, change)
    return root


def test_a_catalogue_without_plain_pictures_gets_centre_crops(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)

    def noisy(row: dict[str, Any]) -> dict[str, Any]:
        pixels = rng.integers(0, 256, (48, 48, 3)).astype(np.uint8)
        return {"image": {"bytes": jpeg(pixels), "path": None}}

    root = spoiled(shop, tmp_path, noisy)
    run(ground_params(), paths_of(root, tmp_path), Record(stage="ground"))
    assert "no picture of the train split is plain" in capsys.readouterr().err
    meta = json.loads((tmp_path / "grounding/meta.json").read_text())
    assert meta["made"]["method"] == "centre" and "plain" in meta["made"]["why"]
    boxes = pq.read_table(tmp_path / "grounding/boxes.parquet")["box"].to_pylist()
    assert all(np.allclose(box, [0.125, 0.125, 0.875, 0.875]) for box in boxes)
    assert {p.name for p in (tmp_path / "grounder").iterdir()} == {"config.json", "checksums.json"}
    assert not (tmp_path / "grounding" / BY_CATEGORY).exists(), "listings read whole pictures then"


def test_one_type_has_nothing_to_compete_with(shop: Path, tmp_path: Path) -> None:
    root = spoiled(shop, tmp_path, lambda row: {"product_type": "square"})
    run(ground_params(), paths_of(root, tmp_path), Record(stage="ground"))
    meta = json.loads((tmp_path / "grounding/meta.json").read_text())
    assert "only 'square' could be cut out" in meta["made"]["why"]


def test_pictures_of_one_pixel_and_of_a_strip_are_grounded_or_said(shop: Path, tmp_path: Path) -> None:
    odd = {"p0000": (1, 1), "p0001": (2, 100), "p0002": (100, 2)}

    def change(row: dict[str, Any]) -> dict[str, Any]:
        shape = odd.get(row["product_id"])
        pixels = np.zeros((*(shape or (1, 1)), 3), np.uint8)
        return {} if shape is None else {"image": {"bytes": jpeg(pixels), "path": None}}

    root = spoiled(shop, tmp_path, change)
    run(ground_params(), paths_of(root, tmp_path), Record(stage="ground"))
    rows = pq.read_table(tmp_path / "grounding/boxes.parquet").to_pylist()
    assert all((r["box"] is None) == bool(r["reason"]) for r in rows[:3])


def test_a_type_is_never_asked_of_its_own_picture() -> None:
    kinds = ["a", "b", "c", "", "a", "a"]
    assert all(asked != kind and asked for kind, asked in zip(kinds, other_types(kinds), strict=True) if kind)
    assert other_types(["a", "a"]) == ["", ""]


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
    with pytest.raises(GroundingDataError, match="run 'vitrine run --until ground'"):
        read_grounding(tmp_path, [])
    (tmp_path / "boxes.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(GroundingDataError, match="damaged"):
        read_grounding(tmp_path, [])


def test_an_empty_catalogue_is_said(tmp_path: Path) -> None:
    params = Blocks.model_validate({"ground": BLOCKS["ground"]})
    paths = Paths(catalogue=tmp_path, encoder=tmp_path, grounding=tmp_path / "out", grounder=tmp_path / "g")
    with pytest.raises(GroundingDataError, match="no product shard"):
        run(params, paths, Record(stage="ground"))
    assert not (tmp_path / "out").exists()

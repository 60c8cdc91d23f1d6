"""A listing model that reads the box of its photo's category: of the catalogue and of new photos."""

from __future__ import annotations

import copy
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from components.catalog.format.params import ImageLimits
from components.catalog.format.schema import read_schema
from components.encoder.model.crops.errors import GroundingDataError
from components.encoder.model.crops.grounding_file import BY_CATEGORY, by_dense_head, read_grounding
from components.encoder.model.features.rows import read_rows
from components.grounding.errors import GrounderFileError
from components.grounding.stage import Blocks as GroundBlocks
from components.grounding.stage import run as ground
from components.opal.describe.__main__ import main as describe
from components.opal.describe.photos import PhotoReader, read_photo
from components.opal.model.errors import ListingModelFileError
from components.opal.model.language.files import check_listing_folder, load_listing_model, read_note
from components.opal.model.language.pictures import catalogue_pixels, reads_crops
from components.opal.model.params import ListingParams
from components.opal.model.writing.generate import Decoding, ListingGenerator
from components.stage.paths import Paths
from components.stage.record import Record
from tests.model.opal.listing_shop import blocks, paths_of, run_stage, write_workspace
from tests.model.vlclip import squares_shop


def listing(**vision: Any) -> dict[str, Any]:
    block = blocks()["listing"]
    return block | {"vision": block["vision"] | {"crop": True} | vision}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with boxes, a model tuned on crops, and one that went on from it."""
    root = tmp_path_factory.mktemp("crops")
    write_workspace(root)
    paths = paths_of(root)
    block = copy.deepcopy(squares_shop.BLOCKS["ground"])
    block["scenes"]["training"] |= {"scenes": 64, "steps": 60}  # until it finds a thing on wide ground
    ground(GroundBlocks.model_validate({"ground": block}), paths, Record(stage="ground"))
    run_stage("opal.model.sft", paths, variant="refined", listing=listing())
    run_stage("opal.model.preferences", paths)
    run_stage("opal.model.dpo", paths, listing=listing())
    return root


def reader(shop: Path, name: str = "sft_refined") -> PhotoReader:
    folder = shop / "models/listing" / name
    model, note = load_listing_model(folder), read_note(folder)
    schema = read_schema(shop / "data/checked/schema.json")
    generator = ListingGenerator(model, note, schema, Decoding(8, note["max_new_tokens"], "fp32"))
    return PhotoReader(folder, generator, ImageLimits(), 1)


def photos(shop: Path, count: int) -> list[bytes]:
    table = pq.read_table(sorted((shop / "data/checked/products").glob("*.parquet"))[0], columns=["image"])
    return [row["image"]["bytes"] for row in table.slice(0, count).to_pylist()]


@pytest.mark.parametrize("name", ["sft_refined", "dpo"])
def test_a_new_photo_is_cropped_as_the_catalogues_are(shop: Path, name: str) -> None:
    paths, found = paths_of(shop), reader(shop, name)
    ids = [row["product_id"] for row in read_rows(paths.catalogue)]
    known = read_grounding(paths.grounding, ids, BY_CATEGORY)
    assert not all(known.fallback), "or nothing is cropped at all"
    data = photos(shop, 24)
    boxes = found.boxes(data, ["shapes"] * 24)
    assert np.allclose(boxes, known.boxes[:24], atol=0.02)  # other neighbours in a batch, other roundings
    shown = found.read(data, ["shapes"] * 24).pixels.astype(int)
    kept = catalogue_pixels(paths, found.image_px, crop=True).take(np.arange(24)).astype(int)
    same = (boxes == known.boxes[:24]).all(axis=1)
    assert same.mean() > 0.8 and np.array_equal(shown[same], kept[same])
    whole = catalogue_pixels(paths, found.image_px, crop=False).take(np.arange(24)).astype(int)
    assert np.abs(shown - whole).mean() > 1


def test_a_models_folder_holds_what_finds_its_crops(shop: Path, tmp_path: Path) -> None:
    folder = shop / "models/listing/dpo"
    assert read_note(folder)["crop"] and (folder / "grounder/head.safetensors").is_file()
    for name in ("dpo", "sft_refined"):
        found = (shop / "models/listing" / name / "grounder/head.safetensors").read_bytes()
        assert found == (shop / "models/grounder/head.safetensors").read_bytes()
    shutil.copytree(folder, tmp_path / "models/listing/dpo")
    shutil.copytree(shop / "data/checked", tmp_path / "data/checked")
    assert reader(tmp_path, "dpo").boxes(photos(shop, 1), ["shapes"]).shape == (
        1,
        4,
    )  # and nothing else is needed
    head = tmp_path / "models/listing/dpo/grounder/head.safetensors"
    head.write_bytes(head.read_bytes()[:-8] + b"damaged!")
    with pytest.raises(ListingModelFileError, match="is not the file that was saved"):
        check_listing_folder(tmp_path / "models/listing/dpo")
    shutil.rmtree(head.parent)
    with pytest.raises(GrounderFileError, match="nothing"):
        reader(tmp_path, "dpo")
    (tmp_path / "models/listing/dpo/other").mkdir()
    (tmp_path / "models/listing/dpo/other/config.json").write_text("{}")
    with pytest.raises(ListingModelFileError, match=r"other/config\.json"):
        check_listing_folder(tmp_path / "models/listing/dpo")


def test_describe_says_the_same_of_a_photo_on_wide_empty_ground(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The crop is what counts, not what is around it."""
    monkeypatch.chdir(shop)
    plain = Image.open(io.BytesIO(photos(shop, 2)[1])).convert("RGB")
    ground_colour = plain.getpixel((0, 0))
    wide = Image.new("RGB", (plain.width * 2, plain.height), ground_colour)
    wide.paste(plain, (0, 0))
    said = []
    for name, image in (("plain", plain), ("wide", wide)):
        image.save(tmp_path / f"{name}.png")
        folder = shop / "models/listing/sft_refined"
        assert describe([str(tmp_path / f"{name}.png"), "--category", "shapes", "--model", str(folder)]) == 0
        said.append(json.loads(capsys.readouterr().out))
    assert said[0]["listing"] == said[1]["listing"]
    left, top, right, bottom = said[0]["box"]
    assert np.allclose(said[1]["box"], [left / 2, top, right / 2, bottom], atol=0.05)


def test_every_row_of_the_table_reads_the_crops(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop)
    if not Path("models/listing/sft_raw").exists():
        Path("models/listing/sft_raw").symlink_to(shop / "models/listing/sft_refined")
    shutil.rmtree("data/embeddings")  # of whole pictures: nothing may be read from there
    run_stage("opal.evaluate.listings", Paths(), listing=listing())
    metrics = json.loads(Path("metrics/listing.json").read_text())
    assert {"nearest_vote", "linear_probe", "sft_refined", "dpo"} < set(metrics)


def test_whole_pictures_are_read_where_nothing_could_find_crops(shop: Path, tmp_path: Path) -> None:
    paths = paths_of(shop)
    asked = ListingParams.model_validate(listing())
    pretrained = {"model": "some/model", "dtype": "fp32"}
    assert reads_crops(asked, paths) and by_dense_head(paths.grounding)
    for other in (listing(crop=False), listing(frozen=False), listing() | {"pretrained": pretrained}):
        assert not reads_crops(ListingParams.model_validate(other), paths)
    for method, expected in (("centre", False), ("grounding-dino", False), ("scenes", True)):
        (tmp_path / method).mkdir()
        (tmp_path / method / "meta.json").write_text(json.dumps({"made": {"method": method}}))
        assert reads_crops(asked, Paths(grounding=tmp_path / method)) is expected
    with pytest.raises(GroundingDataError, match=r"categories\.parquet does not exist"):
        catalogue_pixels(paths_of(shop, grounding=tmp_path / "scenes"), 32, crop=True)


def test_a_photo_that_shows_nothing_of_the_category_is_read_whole(shop: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), (128, 128, 128)).save(tmp_path / "nothing.png")
    data = read_photo(tmp_path / "nothing.png", ImageLimits())
    found = reader(shop)
    assert found.boxes([data], ["shapes"]).tolist() == [[0, 0, 1, 1]]
    read = found.read([data], ["shapes"])
    assert read.pixels.shape == (1, found.image_px, found.image_px, 3) and read.boxes == [None]

"""A catalogue built with careless photos: same bytes whatever the workers, the right share, truth."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw

from components.catalog.format.records import SPLITS, Product, Truth
from components.catalog.format.schema import Attribute, CatalogSchema, Category, write_schema
from components.catalog.format.shards import Catalogue, CatalogueWriter, write_qrels, write_queries
from components.catalog.format.truth import read_truth
from components.stage.frame import main
from tests.data.parameter_blocks import catalog_block

COUNT = 300
TYPES = ("mug", "lamp", "chair", "plate")
NOISE: dict[str, Any] = {"share": 0.4, "longest_side_px": 64, "others": [1, 2], "pool": 10}
ROOT = Path(__file__).parents[2]


def photo(number: int) -> bytes:
    """A product on white; every tenth on a ground of many colours."""
    rng = np.random.default_rng(number)
    image = Image.new("RGB", (48, 64), "white")
    if number % 10 == 0:
        image = Image.fromarray(rng.integers(0, 255, (64, 48, 3), np.uint8))
    colour = tuple(int(value) for value in rng.integers(0, 180, 3))
    ImageDraw.Draw(image).rectangle((10, 12, 36, 50), fill=colour)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the form of a catalogue, whose last row repeats an id."""
    folder = tmp_path_factory.mktemp("source")
    with CatalogueWriter(folder, rows_per_shard=100) as writer:
        for number in [*range(COUNT), COUNT - 1]:
            writer.add(
                Product(
                    product_id=f"p{number:04d}",
                    image=photo(number),
                    title=f"Thing {number}",
                    category="House",
                    product_type=TYPES[number % 4],
                    attributes={"colour": "red"},
                    group_id=f"p{number:04d}",
                    split=SPLITS[number % 3],
                )
            )
    attribute = Attribute(type="enum", values=("red",))
    category = Category(product_types=TYPES, attributes={"colour": attribute})
    write_schema(folder / "schema.json", CatalogSchema(categories={"House": category}))
    write_queries(folder, [])
    write_qrels(folder, [])
    return folder


def build(root: Path, source: Path, **params: Any) -> dict[str, str]:
    """Build in ``root``; returns digests of all files."""
    (root / "data/source").mkdir(parents=True, exist_ok=True)
    (root / "data/source/manifest.yaml").write_text(
        yaml.safe_dump({"kind": "catalogue", "folder": str(source)})
    )
    (root / "params.yaml").write_text(yaml.safe_dump({"catalog": catalog_block(**params)}))
    assert main(["catalog.build"]) == 0
    files = [p for name in ("catalog", "truth") for p in (root / "data" / name).rglob("*") if p.is_file()]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(files)}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(root: Path) -> tuple[list[Product], list[Truth]]:
    return list(Catalogue(root / "data/catalog").products()), list(
        read_truth(root / "data/truth/truth.parquet")
    )


def test_any_number_of_workers_gives_the_same_bytes(here: Path, source: Path) -> None:
    one = build(here, source, photo_noise=NOISE, workers=1)
    two = build(here, source, photo_noise=NOISE, workers=2)
    assert one == two
    assert {name for name in one if name.startswith("data/catalog")} == {
        f"data/catalog/{name}" for name in (
            "manifest.json", "qrels.parquet", "queries.parquet", "rejects.parquet", "schema.json",
            *(f"products/part-0000{n}.parquet" for n in range(4)),
        )
    }  # fmt: skip


def test_the_share_holds_in_every_split_and_truth_says_what_became_of_each(here: Path, source: Path) -> None:
    build(here, source, photo_noise=NOISE)
    products, truths = contents(here)
    assert len(products) == COUNT + 1 and len(truths) == COUNT
    clean = {n: photo(n) for n in range(COUNT)}
    made = Counter[str]()
    for number, (listed, known) in enumerate(zip(products, truths, strict=False)):
        assert listed.product_id == known.product_id
        changed = listed.image != clean[number]
        expected = "cluttered" if changed else "unknown" if number % 10 == 0 else "plain"
        assert known.scene == expected and (known.box is None) == (expected == "unknown")
        assert [act.field for act in known.noise] == ["image"] * changed
        made[f"{listed.split} {changed}"] += 1
    for split in SPLITS:  # nine tenths of a hundred can be cut out: 36 ± 4 standard deviations of 4.6
        assert 18 <= made[f"{split} True"] <= 54
    assert products[-1].image == products[-2].image
    (path,) = (here / ".vitrine/records/catalog.build").glob("*.json")
    told = {k: v for k, v in json.loads(path.read_text())["metrics"].items() if k.startswith("photos.")}
    assert sum(told.values()) == COUNT + 1 and told["photos.no_plain_ground"] == COUNT / 10
    grounds = {act.kind for known in truths[0::3] + truths[1::3] for act in known.noise}
    assert not grounds & {"scene.lawn", "scene.shelf"}  # train and validation


def test_without_photo_noise_the_catalogue_has_the_pictures_of_the_source(here: Path, source: Path) -> None:
    without = build(here, source)
    products, truths = contents(here)
    assert [p.image for p in products[:COUNT]] == [photo(n) for n in range(COUNT)]
    assert {(known.box, known.scene) for known in truths} == {(None, "unknown")}
    none_chosen = build(here, source, photo_noise={**NOISE, "share": 0.0})
    changed = {name for name in without if without[name] != none_chosen[name]}
    assert changed == {"data/truth/truth.parquet"}  # where products are in plain pictures is known now


def test_seller_noise_in_texts_does_not_depend_on_it(here: Path, source: Path) -> None:
    texts = {"misspelling": 0.5, "shouting": 0.5}
    build(here, source, noise=texts)
    titles = [p.title for p in contents(here)[0]]
    build(here, source, noise=texts, photo_noise=NOISE)
    products, truths = contents(here)
    assert [p.title for p in products] == titles
    assert any({act.field for act in known.noise} == {"title", "image"} for known in truths)


def test_a_catalogue_of_one_type_is_photographed_alone(here: Path, source: Path, tmp_path: Path) -> None:
    single = tmp_path / "single"
    with CatalogueWriter(single, rows_per_shard=100) as writer:
        for listed in Catalogue(source).products():
            if listed.product_type == "mug":
                writer.add(listed)
    for name in ("schema.json", "queries.parquet", "qrels.parquet"):
        (single / name).write_bytes((source / name).read_bytes())
    build(here, single, photo_noise=NOISE)
    acts = [act for known in contents(here)[1] for act in known.noise]
    assert acts and {act.detail for act in acts} == {"0 other things"}


def test_the_parameters_import_no_imaging_library() -> None:
    code = "import sys; import components.catalog.build.params; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"PIL", "numpy", "pyarrow"} & {name.split(".")[0] for name in done.stdout.split()}

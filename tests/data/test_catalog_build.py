"""The stage: a whole build from a source folder, its record, its errors; half a build is never seen."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from components.catalog.format.shards import Catalogue
from components.catalog.format.truth import read_truth
from components.catalog.source import staging
from components.stage.frame import main
from tests.data.parameter_blocks import catalog_block, shop_block
from tests.product_problems import product_problems

ROOT = Path(__file__).parents[2]
NOISE = {
    "attribute_dropped": 0.3,
    "attribute_wrong": 0.3,
    "attribute_free_form": 0.2,
    "title_value_missing": 0.1,
    "synonym": 0.3,
    "misspelling": 0.3,
    "shouting": 0.2,
    "boilerplate": 0.3,
    "keyword_stuffing": 0.2,
    "title_missing": 0.1,
    "description_missing": 0.2,
    "test_only": ["boilerplate.disclaimer"],
}
PARAMS = catalog_block(seed=3, rows_per_shard=40)
MAPPING = {
    "products": "items.jsonl",
    "fields": {
        "product_id": "id",
        "title": "title",
        "description": "text",
        "category": "kind",
        "product_type": "type",
    },
    "image": {"path": "photo"},
    "attributes": ["colour", "size"],
}


def workspace(root: Path, count: int = 100, **params: Any) -> Path:
    """A workspace whose source is ``count`` mapped products, in an order that is not that of their ids."""
    files = root / "data/source/files"
    files.mkdir(parents=True)
    rows = []
    for number in range(count):
        buffer = io.BytesIO()
        Image.new("RGB", (32, 24), (number % 256, 50, 90)).save(buffer, "JPEG")
        (files / f"{number}.jpg").write_bytes(buffer.getvalue())
        rows.append(
            {
                "id": f"p{number:05d}",
                "title": f"Striped leather boot number {number}",
                "text": "Sturdy and warm.",
                "kind": "Shoes",
                "type": ("boot", "pump", "clog")[number % 3],
                "photo": f"{number}.jpg",
                "colour": ("red", "blue", "green")[number % 3],
                "size": str(36 + number % 8),
            }
        )
    random.Random(1).shuffle(rows)
    (files / "items.jsonl").write_text("\n".join(map(json.dumps, rows)))
    configure(root, {"kind": "files", "mapping": MAPPING}, **params)
    return root


def configure(root: Path, manifest: dict[str, Any], **params: Any) -> None:
    (root / "data/source").mkdir(parents=True, exist_ok=True)
    (root / "data/source/manifest.yaml").write_text(yaml.safe_dump(manifest))
    (root / "params.yaml").write_text(yaml.safe_dump({"catalog": {**PARAMS, **params}}))


def digests(root: Path) -> dict[str, str]:
    files = [
        path for name in ("catalog", "truth") for path in (root / "data" / name).rglob("*") if path.is_file()
    ]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(files)}


def record_of(root: Path) -> dict[str, Any]:
    (path,) = (root / ".vitrine/records/catalog.build").glob("*.json")
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_build_writes_every_file_of_the_contract_and_a_record(here: Path) -> None:
    workspace(here)
    assert main(["catalog.build"]) == 0
    catalogue = Catalogue(Path("data/catalog"))
    products = list(catalogue.products())
    assert [p.product_id for p in products] == [f"p{n:05d}" for n in range(100)]
    assert len(catalogue.shards) == 3
    assert sorted(p.name for p in Path("data/catalog").iterdir()) == [
        "manifest.json",
        "products",
        "qrels.parquet",
        "queries.parquet",
        "rejects.parquet",
        "schema.json",
    ]
    assert all(product_problems(catalogue.schema, p, require=True) == [] for p in products)
    assert catalogue.manifest["products"] == sum(catalogue.manifest["splits"].values()) == 100
    record = record_of(here)
    assert record["metrics"]["products"] == 100
    assert record["metrics"]["products_per_s"] > 0
    assert record["parameters"]["catalog"]["seed"] == 3


def test_two_builds_and_any_number_of_workers_give_the_same_bytes(here: Path) -> None:
    workspace(here, noise=NOISE)
    found = []
    for workers in (1, 2):
        configure(here, {"kind": "files", "mapping": MAPPING}, noise=NOISE, workers=workers)
        assert main(["catalog.build"]) == 0
        found.append(digests(here))
    assert found[0] == found[1]
    assert str(here) not in "".join(p.read_text() for p in Path("data/catalog").glob("*.json"))


def test_truth_keeps_the_clean_listing_and_names_the_noise(here: Path) -> None:
    workspace(here)
    assert main(["catalog.build"]) == 0
    clean = {p.product_id: p for p in Catalogue(Path("data/catalog")).products()}
    configure(here, {"kind": "files", "mapping": MAPPING}, noise=NOISE)
    assert main(["catalog.build"]) == 0
    truth = list(read_truth(Path("data/truth/truth.parquet")))
    listed = list(Catalogue(Path("data/catalog")).products())
    changed = 0
    for known, seen in zip(truth, listed, strict=True):
        before = clean[known.product_id]
        assert (known.title, known.description, known.attributes) == (
            before.title,
            before.description,
            before.attributes,
        )
        assert (known.box, known.scene) == (None, "unknown")
        if seen != before:
            changed += 1
            assert known.noise
        if seen.split != "test":
            assert "boilerplate.disclaimer" not in {act.kind for act in known.noise}
    assert changed > 60


def test_rejects_are_written_for_the_gate(here: Path) -> None:
    workspace(here)
    Path("data/source/files/7.jpg").write_bytes(b"no picture")
    Path("data/source/files/8.jpg").unlink()
    assert main(["catalog.build"]) == 0
    rows = pq.read_table("data/catalog/rejects.parquet").to_pylist()
    assert {row["product_id"] for row in rows} == {"p00007", "p00008"}
    assert {(row["kind"], row["field"], row["file"]) for row in rows} == {("product", "image", "items.jsonl")}
    assert Catalogue(Path("data/catalog")).product_count == 98


def test_rows_with_one_id_stay_and_have_one_truth(here: Path) -> None:
    workspace(here)
    items = Path("data/source/files/items.jsonl")
    lines = items.read_text().split("\n")
    items.write_text("\n".join([*lines, lines[0]]))
    assert main(["catalog.build"]) == 0
    assert Catalogue(Path("data/catalog")).product_count == 101
    ids = [truth.product_id for truth in read_truth(Path("data/truth/truth.parquet"))]
    assert len(ids) == len(set(ids)) == 100


def _no_manifest(root: Path) -> None:
    (root / "data/source/manifest.yaml").unlink()


def _wrong_kind(root: Path) -> None:
    (root / "data/source/manifest.yaml").write_text("kind: magic\n")


def _no_mapping(root: Path) -> None:
    (root / "data/source/manifest.yaml").write_text("kind: files\n")


def _unknown_key(root: Path) -> None:
    configure(root, {"kind": "files", "mapping": MAPPING}, colour="red")


def _unknown_noise(root: Path) -> None:
    configure(root, {"kind": "files", "mapping": MAPPING}, noise={**NOISE, "test_only": ["loudness"]})


def _no_folder(root: Path) -> None:
    configure(root, {"kind": "catalogue"})


def _no_catalogue(root: Path) -> None:
    configure(root, {"kind": "catalogue", "folder": "data/shop"})


def _no_files(root: Path) -> None:
    (root / "data/source/files").rename(root / "elsewhere")


def _no_pictures(root: Path) -> None:
    for picture in (root / "data/source/files").glob("*.jpg"):
        picture.write_bytes(b"GIF89a")


@pytest.mark.parametrize(
    ("break_it", "code", "sentence"),
    [
        (_no_manifest, 2, "manifest.yaml does not exist"),
        (_wrong_kind, 2, "kind"),
        (_no_mapping, 2, "needs a mapping"),
        (_unknown_key, 2, "colour: unknown key"),
        (_unknown_noise, 2, "loudness"),
        (_no_folder, 2, "needs a folder"),
        (_no_catalogue, 4, "data/shop is not a catalogue"),
        (_no_files, 4, "is not a folder"),
        (_no_pictures, 4, "gives no product: image in 12 rows"),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(
    here: Path, capsys: pytest.CaptureFixture[str], break_it: Any, code: int, sentence: str
) -> None:
    break_it(workspace(here, 12))
    assert main(["catalog.build"]) == code
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert sentence in told[0]
    assert not (here / "data/catalog").exists()
    assert not (here / "data/truth/truth.parquet").exists()
    assert record_of(here)["exit_code"] == code


def test_a_failed_build_leaves_the_former_one_and_no_litter(here: Path) -> None:
    workspace(here, 12)
    assert main(["catalog.build"]) == 0
    before = digests(here)
    _no_pictures(here)
    assert main(["catalog.build"]) == 4
    assert digests(here) == before
    assert sorted(p.name for p in (here / "data").iterdir()) == ["catalog", "source", "truth"]
    assert [p.name for p in (here / "data/truth").iterdir()] == ["truth.parquet"]


def test_a_full_disk_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace(here, 100)
    with monkeypatch.context() as patch:  # SQLite says so when a file may not grow
        patch.setattr(staging, "TABLES", staging.TABLES + "PRAGMA max_page_count = 8;")
        assert main(["catalog.build"]) == 1
    assert "the disk is full" in capsys.readouterr().err

    def no_space(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pyarrow.parquet.ParquetWriter.write_table", no_space)
        assert main(["catalog.build"]) == 1
    assert "the disk is full" in capsys.readouterr().err
    assert not (here / "data/catalog").exists()
    assert main(["catalog.build"]) == 0


def shop_workspace(root: Path, manifest: dict[str, Any], **params: Any) -> None:
    configure(root, manifest, **params)
    blocks = yaml.safe_load((root / "params.yaml").read_text())
    blocks["shop"] = shop_block((2, 2, 4), products=200, supersampling=1)
    (root / "params.yaml").write_text(yaml.safe_dump(blocks))


SHOP = {"kind": "catalogue", "folder": "data/shop"}


def test_the_synthetic_shop_is_a_source_like_any_other(here: Path) -> None:
    shop_workspace(here, SHOP, noise=NOISE)
    assert main(["shop"]) == 0
    assert main(["catalog.build"]) == 0
    catalogue = Catalogue(Path("data/catalog"))
    assert catalogue.product_count == 200
    assert catalogue.queries("test")
    assert all(product_problems(catalogue.schema, product) == [] for product in catalogue.products())
    truth = list(read_truth(Path("data/truth/truth.parquet")))
    assert all(known.box and known.scene != "unknown" for known in truth)
    assert any(known.noise for known in truth)


def test_a_folder_in_the_form_of_a_catalogue_comes_out_as_it_is(here: Path) -> None:
    shop_workspace(here, SHOP)
    assert main(["shop"]) == 0
    assert main(["catalog.build"]) == 0
    first = digests(here)
    Path("data/catalog").rename("elsewhere")  # without truth.parquet: all that is known is the listing
    configure(here, {"kind": "catalogue", "folder": "elsewhere"})
    assert main(["catalog.build"]) == 0
    again = digests(here)
    assert {name: again[name] for name in first if "catalog" in name} == {
        name: digest for name, digest in first.items() if "catalog" in name
    }
    known = next(read_truth(Path("data/truth/truth.parquet")))
    assert (known.box, known.scene) == (None, "unknown") and known.attributes


def test_a_truth_of_other_products_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop_workspace(here, SHOP)
    assert main(["shop"]) == 0
    file = Path("data/shop/truth.parquet")
    pq.write_table(pq.read_table(file).slice(1), file)
    assert main(["catalog.build"]) == 4
    assert "does not tell of the products" in capsys.readouterr().err


def test_a_shop_that_is_not_the_source_is_not_drawn(here: Path) -> None:
    shop_workspace(here, {"kind": "files", "mapping": MAPPING})
    assert main(["shop"]) == 0
    assert list(Path("data/shop").iterdir()) == []


def test_rejects_of_every_kind_are_the_same_bytes_each_time(here: Path) -> None:
    files = workspace(here, 100) / "data/source/files"
    pictures = [
        b"", b"GIF89a", b"RIFF0000WEBPVP8 ", b"\x89PNG\r\n\x1a\n" + b"\0" * 40,
        b"\xff\xd8\xff" + b"\0" * 40, (files / "9.jpg").read_bytes()[:300], bytes(200_000),
    ]  # fmt: skip
    for number, data in enumerate(pictures):
        (files / f"{number}.jpg").write_bytes(data)
    Image.new("RGB", (4, 4)).save(files / "7.jpg")
    Image.new("RGB", (600, 600)).save(files / "8.jpg")
    (files / "10.jpg").unlink()
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    frames[0].save(files / "11.jpg", "WEBP", save_all=True, append_images=frames[1:])
    broken = ["{", "[1]", '{"title": "no id"}', '{"id": "x", "kind": {"a": 1}, "type": "boot"}']
    lines = (files / "items.jsonl").read_text()
    (files / "items.jsonl").write_text("\n".join([lines, *broken]))
    (files / "queries.jsonl").write_text('{"q": "q1", "text": "boot"}\n{"q": "q2"}\n')
    (files / "qrels.csv").write_text("q,id,grade\nq1,p00020,3\nq1,p00021,7\nq1,p00022,high\n")
    ask = {"query_id": "q", "text": "text", "kind": {"constant": "textual"}, "split": {"constant": "test"}}
    judge = {"query_id": "q", "product_id": "id", "relevance": "grade"}
    mapping = {
        **MAPPING,
        "queries": {"file": "queries.jsonl", "fields": ask},
        "qrels": {"file": "qrels.csv", "fields": judge},
    }
    configure(here, {"kind": "files", "mapping": mapping})
    assert main(["catalog.build"]) == 0
    found = digests(here)
    command = [sys.executable, "-m", "components.stage", "catalog.build"]  # where objects lie elsewhere
    subprocess.run(command, cwd=here, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    assert digests(here) == found
    rejects = pq.read_table("data/catalog/rejects.parquet").to_pylist()
    assert {row["kind"] for row in rejects} == {"product", "query", "qrel"}
    assert len(rejects) == 11 + len(broken) + 1 + 2
    assert not [row["reason"] for row in rejects if " at 0x" in row["reason"] or str(here) in row["reason"]]


@pytest.mark.slow
def test_a_killed_build_leaves_nothing_half_and_a_rerun_is_whole(tmp_path: Path) -> None:
    workspace(tmp_path, 3000, noise=NOISE)
    command = [sys.executable, "-m", "components.stage", "catalog.build"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    data = tmp_path / "data"
    for _ in range(3):
        litter = set(data.glob(".catalog.*.tmp/products/part-*"))
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
        while process.poll() is None and set(data.glob(".catalog.*.tmp/products/part-*")) == litter:
            time.sleep(0.01)
        assert process.poll() is None, "the build was over before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "data/catalog").exists()
    assert subprocess.run(command, cwd=tmp_path, env=environment).returncode == 0
    first = digests(tmp_path)
    assert subprocess.run(command, cwd=tmp_path, env=environment).returncode == 0
    assert digests(tmp_path) == first
    assert Catalogue(tmp_path / "data/catalog").product_count == 3000

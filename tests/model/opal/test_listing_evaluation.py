"""The evaluation stages and the describe command."""

from __future__ import annotations

import io
import json
import os
from contextlib import chdir
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from components.opal.describe.__main__ import main as describe
from components.stage.paths import Paths
from tests.model.opal.listing_shop import blocks, paths_of, picture, run_stage, write_workspace
from tests.model.opal.test_printed_text import photo

# until a model states values: without any there is no hallucination to compare
LONGER = blocks()["sft"] | {"training": blocks()["sft"]["training"] | {"steps": 40, "learning_rate": 0.01}}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one tuned model under all names."""
    root = tmp_path_factory.mktemp("evaluation")
    write_workspace(root)
    run_stage("opal.model.sft", paths_of(root), variant="refined", sft=LONGER)
    for name in ("sft_raw", "dpo"):
        (root / "models/listing" / name).symlink_to(root / "models/listing/sft_refined")
    return root


@pytest.fixture(scope="module")
def evaluated(shop: Path) -> Path:
    """The workspace with its figures."""
    with chdir(shop):
        run_stage("opal.evaluate.listings", Paths())
    return shop


def test_every_row_is_measured_and_kept(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(evaluated)
    metrics = json.loads(Path("metrics/listing.json").read_text())
    rows = {"nearest_neighbour", "nearest_vote", "linear_probe", "sft_raw", "sft_refined", "dpo"}
    assert set(metrics) == rows | {"_tests"}, "without pretrained weights there is no zero_shot"
    for name in rows:
        assert metrics[name]["constrained_valid"]["value"] == 1.0, name
        assert metrics[name]["attribute_macro_f1"]["n"] > 0
        assert {"raw_valid", "completion_rate", "constrained_attribute_f1_category_shapes"} <= set(
            metrics[name]
        )
    tested = {(t["a"], t["b"], t["metric"]) for t in metrics["_tests"]}
    assert ("sft_refined", "nearest_neighbour", "constrained_attribute_macro_f1") in tested
    assert ("sft_refined", "linear_probe", "attribute_macro_f1") in tested
    assert ("dpo", "sft_refined", "constrained_hallucination_rate") in tested
    kept = pq.read_table("results/per_query/listing/dpo.parquet").to_pylist()
    assert len(kept) == 12 and kept[0]["constrained_text"].startswith('{"type":"')
    assert {p["name"] for p in kept[0]["truth_attributes"]} == {"brand", "colour", "size_cm"}
    for row in kept:
        stated, sure = json.loads(row["constrained_text"]), {p["name"]: p["value"] for p in row["confidence"]}
        left_out = {pair["name"]: pair["value"] for pair in row["left_out"]}
        assert all(sure.get(name, 0.0) == chance for name, chance in left_out.items())
        assert set(left_out) <= {"type", *stated["attributes"]}
        assert row["stated_title"] and row["point"].startswith(("Stated are", "This model cannot promise"))
    assert "left_out" not in pq.read_schema("results/per_query/listing/nearest_vote.parquet").names
    risk = {"risk_coverage_area", "calibration_error", "hallucination_at_equal"}
    assert all(risk <= set(metrics[name]) for name in ("nearest_vote", "linear_probe", "dpo"))
    assert ("dpo", "sft_refined", "risk_coverage_area") in tested
    for name in ("risk", "reliability"):
        lines = Path(f"plots/listing_{name}.csv").read_text().splitlines()
        assert lines[0].split(",")[0] == "step" and "dpo" in lines[0] and len(lines) > 10


def described(shop: Path, monkeypatch: pytest.MonkeyPatch, *words: str, **changes: object) -> int:
    monkeypatch.chdir(shop)
    made = blocks()
    made["describe"] |= changes
    (shop / "params.yaml").write_text(yaml.safe_dump(made))
    return describe([*words, "--category", "shapes"])


def test_a_photo_becomes_a_listing(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(picture("red", True, 1))
    assert described(shop, monkeypatch, str(tmp_path / "a.png")) == 0
    printed = capsys.readouterr()
    shown = json.loads(printed.out)
    assert "cannot promise" in printed.err and "--completion" in printed.err
    assert "No value was sure enough" not in printed.err  # told once, and with what can be promised
    assert shown["listing"] == {"attributes": {}, "title": "Shapes"} and shown["category"] == "shapes"
    assert described(shop, monkeypatch, str(tmp_path / "a.png"), "--completion", "0") == 0
    assert "asked for: --completion 0" in capsys.readouterr().err
    (tmp_path / "noise.png").write_bytes(_noise())
    for words, stated in ((["--precision", "0.9"], 0), (["--precision", "0"], 1), (["--completion", "1"], 1)):
        assert described(shop, monkeypatch, str(tmp_path / "a.png"), *words) == 0
        said = capsys.readouterr()
        shown = json.loads(said.out)
        assert ("cannot promise that 90%" in said.err) != stated
        assert bool(shown["listing"]["attributes"]) == stated == ("type" in shown["listing"]), (
            "six validation products can promise nothing"
        )
        assert set(shown["not_visible"]) <= {"type", "brand", "colour", "size_cm"}
    assert described(shop, monkeypatch, str(tmp_path / "noise.png"), "--completion", "1") == 0
    printed = capsys.readouterr()
    shown = json.loads(printed.out)
    assert shown["unlike_training"] and not shown["listing"]["attributes"]
    assert "This photo is unlike every picture that the model has learned from" in printed.err
    assert described(shop, monkeypatch, str(tmp_path / "a.png"), "--precision", "2") == 2
    assert described(shop, monkeypatch, "a.png", "--precision", "1", "--completion", "1") == 2
    assert capsys.readouterr().err.endswith("error: Give --precision or --completion, not both.\n")


def test_without_a_catalogue_the_missing_schema_is_named(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(picture("red", True, 1))
    assert described(shop, monkeypatch, str(tmp_path / "a.png"), "--schema", "nowhere.json") == 2
    assert "There is no schema at nowhere.json; run 'vitrine run" in capsys.readouterr().err


def test_what_is_printed_on_a_photo_is_told(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("rapidocr", reason="the extra 'ocr' is not installed")
    (tmp_path / "a.png").write_bytes(photo("ROSVIK", "ignore all"))
    assert described(shop, monkeypatch, str(tmp_path / "a.png"), printed_text={"longest_side_px": 320}) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["printed"].keys() == {"all", "ignore", "rosvik"}
    assert shown["listing"]["title"] == "Shapes", "a composed title says what the listing says"


def _noise() -> bytes:
    """A picture unlike every coloured shape."""
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def test_a_folder_becomes_lines_and_a_page_and_bad_photos_are_told(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "a<b>.png").write_bytes(picture("red", True, 1))
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    for name, content in (
        (b"caf\xe9.png", picture("red", True, 1)),
        (b"caf\xe8.png", b"nothing"),
    ):  # no UTF-8
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(content)
    noise = np.random.default_rng(0).integers(0, 255, (600, 600, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    assert described(shop, monkeypatch, str(tmp_path)) == 0
    lines = [json.loads(x) for x in (tmp_path / "listings/listings.jsonl").read_text().splitlines()]
    problems = {line["photo"]: line.get("error", "") for line in lines}
    assert sorted(bool(line.get("error")) for line in lines if line["photo"] == "caf\ufffd.png") == [
        False,
        True,
    ]
    assert "more than max_bytes" in problems["large.png"] and "header" in problems["broken.jpg"]
    page = (tmp_path / "listings/index.html").read_text()
    assert (
        "a&lt;b&gt;.png" in page
        and "data:image/jpeg" in page
        and "http" not in page.replace("http-equiv", "")
    )
    assert "3 photos refused" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "photo", "told"),
    [
        ({}, "nowhere.jpg", "no photo or folder"),
        ({}, "broken.jpg", "header"),
        ({"max_bytes": 10}, "good.png", "more than max_bytes=10"),
        ({"model": "models/nothing"}, "good.png", "There is no model"),
    ],
)
def test_what_cannot_be_described_is_one_clear_error(
    shop: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    change: dict[str, object],
    photo: str,
    told: str,
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (tmp_path / "good.png").write_bytes(picture("blue", False, 1))
    assert described(shop, monkeypatch, str(tmp_path / photo), **change) == 4
    assert told in capsys.readouterr().err


def test_a_study_tests_each_claim_in_each_seed_and_pooled(
    evaluated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(evaluated)
    model, other = evaluated / "models/listing/sft_refined", Path("models/study/opal/59")
    other.mkdir(parents=True)
    (other.parent / "own").mkdir()
    for name in ("dpo_control", "sft_on_policy", "grpo"):
        (other.parent / "own" / name).symlink_to(model)
    for name in ("sft_raw", "sft_refined", "dpo", "dpo_control"):
        (other / name).symlink_to(model)
    run_stage("opal.evaluate.study", Paths(listing=other.parent))
    metrics = json.loads(Path("metrics/study_opal.json").read_text())
    claims = {(t["claim"], t["seed"]) for t in metrics["_tests"]}
    wanted = [
        "sft_refined > sft_raw",
        "dpo hallucinates less than sft_refined",
        "dpo hallucinates less than its control",
        "dpo rests more on the picture than its control",
        "dpo: risk_coverage_area below that of dpo_control",
        "dpo: hallucination_at_equal below that of sft_refined",
    ]
    assert {(claim, seed) for claim in wanted for seed in ("own", "59", "pooled")} <= claims
    assert ("refined > seller", "own") in claims, "the seeds share one refinement"
    alone = {"sft_on_policy against sft_refined", "grpo against sft_refined", "grpo against dpo"}
    assert {(claim, seed) for claim, seed in claims if "against" in claim} == {(c, "own") for c in alone}
    assert {"risk_coverage_area", "picture_reliance"} <= set(metrics["grpo"])
    same = [t for t in metrics["_tests"] if t["a"].startswith("dpo")]
    assert same and all(t["difference"] == 0 for t in same), "one model under three names"
    assert metrics["dpo_59"]["attribute_f1"] == metrics["dpo"]["attribute_f1"]
    assert "nearest_neighbour_59" not in metrics, "the baseline trains nothing: it is one row"


def test_a_photo_of_40_megabytes_becomes_a_listing_and_one_over_the_limit_is_told(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "large.png"
    pixels = np.random.default_rng(0).integers(0, 256, (3700, 3700, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(photo, compress_level=0)
    size = photo.stat().st_size
    assert size > 40_000_000
    roomy = {"max_bytes": 67_108_864, "max_pixels": 200_000_000}
    assert described(shop, monkeypatch, str(photo), **roomy) == 0
    assert set(json.loads(capsys.readouterr().out)) >= {"listing", "confidence"}
    assert described(shop, monkeypatch, str(photo), **(roomy | {"max_bytes": size - 1})) == 4
    assert f"{size:,} bytes, more than max_bytes" in capsys.readouterr().err

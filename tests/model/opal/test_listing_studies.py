"""What only the studies run: a category left out, corrected own answers, and practice for rewards."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.catalog.format.schema import CatalogSchema, write_schema
from components.opal.model.grpo.reward import reward
from components.opal.model.language.files import read_note
from components.opal.model.listing_text import Listing
from components.opal.model.params import ListingParams
from components.opal.model.sft.samples import read_lessons
from components.stage.paths import Paths
from tests.model.opal.listing_shop import BLOCKS, SCHEMA, paths_of, run_stage, write_workspace

SHAPES = CatalogSchema.model_validate(SCHEMA).categories["shapes"]
LISTING = BLOCKS["listing"] | {"certainty": {"products": 12, "batch_size": 12}}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """A catalogue of two categories with the same schema; tests must not change it."""
    root = tmp_path_factory.mktemp("studies")
    write_workspace(root)
    for table in (
        *(root / "data/checked/products").glob("*.parquet"),
        root / "data/refined/products.parquet",
    ):
        read = pq.read_table(table)
        rows = [
            row | {"category": "others"} if int(row["product_id"][1:]) % 2 else row
            for row in read.to_pylist()
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=read.schema), table)
    both = CatalogSchema(categories={"others": SHAPES, "shapes": SHAPES})
    write_schema(root / "data/checked/schema.json", both)
    return paths_of(root)


@pytest.mark.parametrize(
    ("text", "earned"),
    [
        ('{"type":"bar","attributes":{"colour":"red","size_cm":10}}', 3.0),
        ('{"type":"bar","attributes":{"colour":"blue"}}', 1 - 0.5),
        ('{"attributes":{"brand":"Acme"}}', -0.5),  # nobody knows it: it cannot be seen
        ('{"attributes":{}}', 0.0),
        ('{"attributes":{"colour":', -1.5),
    ],
)
def test_a_right_value_earns_one_and_a_wrong_one_costs_the_penalty(text: str, earned: float) -> None:
    known = Listing("", {"colour": "red", "size_cm": "10"}, "bar")
    assert reward(text, known, SHAPES, 0.5) == earned


@pytest.mark.parametrize("variant", ["raw", "refined"])
def test_of_a_category_that_is_left_out_nothing_is_taught(shop: Paths, variant: str) -> None:
    params = ListingParams.model_validate(LISTING)
    lessons = read_lessons(variant, params, shop.catalogue, shop.refined, "others")  # type: ignore[arg-type]
    assert lessons.whole and {s.category for s in (*lessons.whole, *lessons.asked)} == {"shapes"}
    every = read_lessons(variant, params, shop.catalogue, shop.refined)  # type: ignore[arg-type]
    assert [s for s in every.whole if s.category == "shapes"] == lessons.whole


@pytest.mark.slow
def test_a_model_is_measured_on_the_category_that_it_lacks(shop: Paths, tmp_path: Path) -> None:
    study = {name: tmp_path / name for name in ("metrics", "per_query", "plots")}
    taught = shop.model_copy(update={**study, "listing": tmp_path / "taught"})
    run_stage("opal.model.sft", taught, variant="refined", listing=LISTING)
    lacks = shop.model_copy(update={**study, "listing": tmp_path / "left_out/others"})
    run_stage("opal.model.sft", lacks, variant="refined", left_out="others", listing=LISTING)
    measured = shop.model_copy(update={**study, "listing": tmp_path / "left_out"})
    run_stage("opal.evaluate.left_out", measured, taught=tmp_path / "taught/sft_refined")
    metrics = json.loads((tmp_path / "metrics/study_left_out.json").read_text())
    rows = {f"{row}_others" for row in ("left_out", "sft_refined", "probe_of_others", "vote_of_others")}
    assert set(metrics) == rows | {"_tests"} and {t["category"] for t in metrics["_tests"]} == {"others"}
    assert all(metrics[f"{r}_others"]["constrained_valid"]["value"] == 1 for r in ("left_out", "sft_refined"))
    for row in ("probe_of_others_others", "vote_of_others_others"):
        assert metrics[row]["completion_rate"]["value"] == pytest.approx(1 / 3)  # the colour alone is closed


@pytest.mark.slow
def test_a_tuned_model_practises_and_is_corrected(shop: Paths, tmp_path: Path) -> None:
    places = {"listing": tmp_path / "models", "preferences": tmp_path / "pairs", "plots": tmp_path / "plots"}
    paths, start = shop.model_copy(update=places), tmp_path / "models/sft_refined"
    run_stage("opal.model.sft", paths, variant="refined", listing=LISTING, sft=LONGER)
    grpo = {
        "answers": 4,
        "temperature": 0.7,
        "training": {"steps": 3, "batch_size": 4, "learning_rate": 0.003},
    }
    record = run_stage("opal.model.grpo", paths, start=start, listing=LISTING, grpo=grpo)
    run_stage("opal.model.preferences", paths)
    run_stage("opal.model.dpo", paths, variant="sft_on_policy", start=start, listing=LISTING)
    assert len(record.curves["reward"]) == 3 and record.metrics["final_reward"] > -3
    notes = [read_note(tmp_path / "models" / name) for name in ("sft_refined", "grpo", "sft_on_policy")]
    assert notes[0] == notes[1] == notes[2]
    weights = [(tmp_path / "models" / n / "model.safetensors").read_bytes() for n in ("sft_refined", "grpo")]
    assert weights[0] != weights[1]


# until most sampled answers are listings: where all earn the same nothing is learned
LONGER = BLOCKS["sft"] | {"training": BLOCKS["sft"]["training"] | {"steps": 200, "learning_rate": 0.01}}

"""Examples, won and lost queries and confusions of an evaluation, as MLflow shows them."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from components.retrieval.significance import paired_bootstrap
from components.stage.sample import sampled
from components.tracking.compare.catalogue import Products
from components.tracking.compare.compare import Wanted, compare
from components.tracking.compare.gallery import Example, SideAnswer
from components.tracking.compare.page import write_page
from components.tracking.compare.per_query import read_results
from components.tracking.examples.beside import beside, confusion
from components.tracking.examples.cards import WIDE, box_card, card
from components.tracking.examples.shown import StageEvaluation, key_of
from components.tracking.params import Headline, TrackingParams
from components.tracking.publish.models import write_signature
from components.tracking.publish.publish import publish
from tests.accessible import grave_findings, needs_chromium
from tests.unit.tracking.conftest import as_parquet

PRODUCTS = [f"P{i:02}" for i in range(14)]
HEADLINE = Headline(variant="fine_tuned", baseline="colours", metrics=("mrr",))


def picture(number: int) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (40, 30), (number * 15, 80, 200)).save(sink, "JPEG")
    return sink.getvalue()


def ranked(variant: str, first: int) -> list[dict[str, Any]]:
    """Each query asks for its own product; a system has it at place ``first`` (0: never)."""

    def top(own: str) -> list[str]:
        others = [p for p in PRODUCTS if p != own][: first - 1 if first else 5]
        return [*others, own] if first else others

    return [
        {"variant": variant, "task": "queries", "query_id": f"q{i:02}", "kind": "visual",
         "text": f"blue thing {i}", "mrr": 1 / first if first else 0.0,
         "top": top(PRODUCTS[i])}
        for i in range(len(PRODUCTS))
    ]  # fmt: skip


def write_products(workspace: Any) -> None:
    """A checked catalogue of test products with a picture each."""
    rows = [
        {"product_id": p, "split": "test", "title": f"Title of {p}", "category": "things", "group_id": p,
         "image": {"bytes": picture(i), "path": ""}}
        for i, p in enumerate(PRODUCTS)
    ]  # fmt: skip
    workspace.write("data/checked/products/part-0.parquet", as_parquet(rows))


def write_evaluation(workspace, seed: int = 0, **record: Any) -> None:
    """A checked catalogue with pictures, an encoder trained on it, and its evaluation."""
    write_products(workspace)
    asked = [{"query_id": f"q{i:02}", "text": f"blue thing {i}", "split": "test"} for i in range(14)]
    workspace.write("data/checked/queries.parquet", as_parquet(asked))
    exact = [{"query_id": f"q{i:02}", "product_id": p, "relevance": 3} for i, p in enumerate(PRODUCTS)]
    workspace.write("data/checked/qrels.parquet", as_parquet(exact))
    workspace.stage("catalog_quality", ["data/checked"], **record)
    workspace.write(
        "models/encoder/config.json", {"architecture": {"embed_dim": 384, "heads": {"embed_dim": 24}}}
    )
    workspace.write("models/encoder/model.safetensors", bytes(8) + bytes([seed]))
    curves = {"loss": [{"step": float(i), "value": 1 / (i + 1)} for i in range(5)]}
    trained = record | {"curves": curves}
    workspace.stage("encoder", ["models/encoder"], ["data/checked"], {"encoder.seed": seed}, **trained)
    figures = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 14}
    workspace.write("metrics/encoder.json", {"fine_tuned": {"mrr": figures}, "colours": {"mrr": figures}})
    per_query = as_parquet(ranked("fine_tuned", 1 + seed) + ranked("colours", 0))
    workspace.write("results/per_query/encoder/encoder.parquet", per_query)
    outs = ["metrics/encoder.json", "results/per_query/encoder"]
    workspace.stage("encoder_eval", outs, ["models/encoder", "data/checked"], **record)


@pytest.fixture(scope="module")
def params() -> TrackingParams:
    headline = {"encoder": HEADLINE.model_dump()}
    return TrackingParams.model_validate({"models": {"encoder": "models/encoder"}, "headline": headline})


@pytest.fixture(scope="module")
def done(new_workspace, params):
    """A workspace whose two pipeline runs are published, and MLflow's client for it."""
    from mlflow.tracking import MlflowClient

    workspace = new_workspace()
    for seed in (0, 1):
        write_evaluation(workspace, seed, parent=f"p{seed}")
        assert publish(workspace.root, params=params).warnings == []
    return workspace, MlflowClient(f"sqlite:///{workspace.root}/mlruns/mlflow.db")


def evaluations(client) -> list[Any]:
    query = "tags.`vitrine.kind` = 'evaluation'"
    experiments = [e.experiment_id for e in client.search_experiments()]
    return list(client.search_runs(experiments, query, order_by=["attributes.start_time ASC"]))


def names(client, run) -> list[str]:
    return sorted(Path(file.path).name for file in client.list_artifacts(run.info.run_id, "images"))


def test_two_runs_show_the_same_products_in_the_image_grid(done) -> None:
    _, client = done
    first, second = evaluations(client)
    keys = [[name.split("+")[0] for name in names(client, run)] for run in (first, second)]
    wanted = {f"query - blue thing {PRODUCTS.index(p)}" for p in sampled(PRODUCTS, 10)}
    assert keys[0] == keys[1] and set(keys[0]) == wanted and len(keys[0]) == 2 * len(wanted)
    assert names(client, first) != names(client, second)
    assert first.data.tags["mlflow.loggedImages"] == "True"


def test_pictures_are_named_as_mlflows_client_names_them(done, tmp_path: Path) -> None:
    _, client = done
    run = client.create_run("0")
    client.log_image(run.info.run_id, Image.new("RGB", (4, 4)), key="query - blue thing 3", step=0)
    theirs = {re.sub(r"\d{13}|[0-9a-f-]{36}", "", name) for name in names(client, run)}
    (measured, _) = evaluations(client)
    ours = {re.sub(r"\d{13}|[0-9a-f-]{36}", "", n) for n in names(client, measured) if "thing 3+" in n}
    assert ours == theirs and client.get_run(run.info.run_id).data.tags["mlflow.loggedImages"] == "True"


def test_a_run_written_again_after_a_kill_has_no_picture_twice(workspace, params) -> None:
    from mlflow.tracking import MlflowClient

    write_evaluation(workspace)
    publish(workspace.root, params=params)
    client = MlflowClient(f"sqlite:///{workspace.root}/mlruns/mlflow.db")
    (run,) = evaluations(client)
    before = names(client, run)
    for one in client.search_runs([run.info.experiment_id]):  # as if it had been killed before its last call
        client.delete_tag(
            one.info.run_id, "vitrine.complete"
        ) if "vitrine.complete" in one.data.tags else None
    for mark in (workspace.root / ".vitrine/published").rglob("*.json"):
        mark.unlink()
    assert publish(workspace.root, params=params).warnings == []
    assert names(client, evaluations(client)[0]) == before and len(evaluations(client)) == 1


def test_the_model_has_a_page_and_a_table_of_its_examples(done, tmp_path: Path) -> None:
    _, client = done
    (model, *_) = client.search_logged_models([evaluations(client)[0].info.experiment_id])
    (place,) = client.list_logged_model_artifacts(model.model_id, "examples")
    files = client.list_logged_model_artifacts(model.model_id, place.path)
    assert {Path(file.path).name for file in files} == {"examples.html", "examples.json"}
    folder = Path(model.artifact_location.removeprefix("file://")) / place.path
    page, table = ((folder / f"examples.{kind}").read_text() for kind in ("html", "json"))
    assert page.count("<article>") == 10 and page.count("data:image/webp") >= 10
    assert (
        "Content-Security-Policy" in page
        and "<script" not in page
        and "http" not in page.split("</style>")[1]
    )
    assert len(json.loads(table)["data"]) == 10


def test_the_model_tells_what_goes_in_and_comes_out_and_how_its_training_went(done) -> None:
    from mlflow.models import Model

    _, client = done
    (model, *_) = client.search_logged_models([evaluations(client)[0].info.experiment_id])
    told = Model.load(f"{model.artifact_location}/MLmodel".removeprefix("file://"))
    assert told.signature.inputs.input_names() == ["image", "text"]
    assert str(told.signature.outputs) == "['vector': Tensor('float32', (-1, 24))]"
    assert told.model_id == model.model_id and list(told.flavors) == ["safetensors"]
    assert "loss  █" in model.tags["mlflow.note.content"]


@pytest.mark.parametrize(
    "path", ["vlclip/full", "fusion/align_text", "fusion/moe", "grounder", "listing/dpo"]
)
def test_every_system_has_a_signature_and_a_broken_configuration_no_size(path: str, tmp_path: Path) -> None:
    from mlflow.models import Model

    (tmp_path / "config.json").write_text("{")
    system, *_, name = path.split("/") * 2
    write_signature(tmp_path, (system, name), SimpleNamespace(source_run_id="r", model_id="m-1"), ["a"])
    signature = Model.load(str(tmp_path / "MLmodel")).signature
    assert signature.inputs.inputs and signature.outputs.inputs


def test_what_is_no_known_system_has_no_signature(tmp_path: Path) -> None:
    write_signature(tmp_path, ("other", "other"), SimpleNamespace(source_run_id="r", model_id="m-1"), ["a"])
    assert not list(tmp_path.iterdir())


def test_won_and_lost_queries_are_tables_beside_the_baseline(done, tmp_path: Path) -> None:
    _, client = done
    stages = client.search_runs(
        [evaluations(client)[0].info.experiment_id], "tags.`vitrine.stage` = 'encoder_eval' AND "
        "tags.`vitrine.kind` = 'stage'", order_by=["attributes.start_time ASC"],
    )  # fmt: skip
    shown = [one["path"] for one in json.loads(stages[0].data.tags["mlflow.loggedArtifacts"])]
    assert {"figures.json", "encoder_won.json"} <= set(shown) and "encoder_lost.json" not in shown
    table = client.download_artifacts(stages[0].info.run_id, "encoder_won.json", str(tmp_path))
    won = json.loads(Path(table).read_text())
    row = dict(zip(won["columns"], won["data"][0], strict=True))
    assert (row["asked"], row["kind"], row["fine_tuned"], row["colours"]) == (
        "blue thing 0",
        "visual",
        1.0,
        0.0,
    )
    assert row["answer of fine_tuned"] == "✓ Title of P00" and "✓" not in row["answer of colours"]
    assert len(won["data"]) == 14


def test_a_lost_query_is_one_that_the_baseline_answers_better() -> None:
    measured = read_results(
        {"encoder/encoder.parquet": as_parquet(ranked("fine_tuned", 2) + ranked("colours", 1))}
    )
    found = beside(measured, "encoder", "fine_tuned", HEADLINE)
    tables = found.won_and_lost(Products({}))
    assert list(tables) == ["encoder_lost.json"]
    assert json.loads(tables["encoder_lost.json"])["data"][0][2] == -0.5


def test_values_taken_for_others_are_counted_with_several_true_values() -> None:
    said = [
        ("colour", "red", "red"),
        ("colour", "red", "pink"),
        ("colour", "red", "pink"),
        ("use", '["a", "b"]', "b"),
    ]
    rows = [
        {"variant": "fine_tuned", "product_id": f"P{i}", "attribute": a, "truth": t, "predicted": p}
        for i, (a, t, p) in enumerate(said)
    ]
    table = confusion(read_results({"encoder/attributes.parquet": as_parquet(rows)}), "encoder", "fine_tuned")
    (text,) = table.values()
    assert json.loads(text)["data"] == [["colour", "red", "pink", 2, 0.6667]]


def test_a_listing_confuses_what_it_says_and_leaves_out() -> None:
    pairs = pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("variant", "product_id")),
            ("attribute_f1", pa.float64()),
            *((name, pairs) for name in ("generated_attributes", "truth_attributes")),
        ]
    )
    true = (("colour", "red"), ("cut", "slim"), ("use", "work"))
    row = {
        "variant": "dpo", "product_id": "P1", "attribute_f1": 0.5,
        "generated_attributes": [{"name": "colour", "value": "pink"}, {"name": "cut", "value": "slim"}],
        "truth_attributes": [{"name": n, "value": v} for n, v in true],
    }  # fmt: skip
    measured = read_results({"listing/dpo.parquet": as_parquet([row], schema)})
    (text,) = confusion(measured, "listing", "dpo").values()
    assert json.loads(text)["data"] == [
        ["colour", "red", "pink", 1, 1.0],
        ["use", "work", "(nothing)", 1, 1.0],
    ]


def test_cards_say_right_and_wrong_without_colour_and_bear_any_text() -> None:
    words = "an endless word " * 30 + "x" * 300
    facts = tuple((f"name_{i}", "v" * 80, i % 2 == 0) for i in range(12))
    listing = Example(
        "P1", words, "P1", 0.0, (SideAnswer(0.1), SideAnswer(0.5, title=words, attributes=facts))
    )
    made = card(listing, "attribute F1", {})
    assert made.width == WIDE and made.height < 600
    found = Example(
        "q", "ü 電 \u202e", "", 0.0, (SideAnswer(0.0), SideAnswer(1.0, (("P1", True), ("P2", False))))
    )
    grey = np.asarray(card(found, "MRR", {}).convert("L"), dtype=int)
    half = WIDE // 3
    assert (grey[:, :half] < 150).sum() > (
        grey[:, half : 2 * half] < 150
    ).sum() + 200  # a tick and a thick frame


def test_a_box_outside_of_its_picture_is_drawn_all_the_same(tmp_path: Path) -> None:
    rows = [
        {"variant": v, "product_id": "P1", "iou": 0.2, "box": [0.1, 0.1, 0.5, 0.5],
         "found_box": [0.9, 0.2, 1.4, 0.1]}
        for v in ("head", "whole")
    ]  # fmt: skip
    measured, known = (
        read_results({"vlclip/pointing.parquet": as_parquet(rows)}),
        Products({}, {"P1": "Red mug"}),
    )
    headline = Headline(variant="head", baseline="whole", metrics=("iou",))
    (box,) = beside(measured, "ground", "head", headline).boxes(10, known)
    assert (box.asked, box.value) == ("Red mug", 0.2)
    assert box_card(box, "IoU", Image.new("RGB", (60, 90))).width == WIDE
    shown = StageEvaluation(
        measured, known, TrackingParams(headline={"ground": headline}), {"P1": picture(1)}
    )
    assert shown.lay_out_page(tmp_path, ("ground", "head"), "demo-test")
    page = (tmp_path / "examples.html").read_text()
    assert page.count('class="drawn"') == 1 and "the dashes" in page


@pytest.mark.parametrize(
    "text", ["query - a/b", "query - ab", "query - é", "query - è", "x" * 80, "x" * 81, "電"]
)
def test_names_of_pictures_are_taken_by_mlflow_and_tell_texts_apart(text: str) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9_\-./ ]+", key_of(text)) and "+" not in key_of(text)
    others = {key_of(other) for other in ("query - a b", "query - e", "x" * 82, "子")}
    assert key_of(text) not in others


def wrote(seed: int) -> bytes:
    """Listings of six products, of which either seed gets other ones right."""
    true = [{"name": "colour", "value": "red"}]
    rows = [
        {"variant": "dpo", "product_id": p, "attribute_f1": float(i % 2 == seed % 2), "truth_title": p,
         "generated_title": f"Hat {i}", "truth_attributes": true,
         "generated_attributes": true if i % 2 == seed % 2 else [{"name": "colour", "value": "blue"}]}
        for i, p in enumerate(PRODUCTS[:6])
    ]  # fmt: skip
    return as_parquet(rows)


@pytest.mark.slow
@needs_chromium
def test_axe_finds_nothing_grave_on_a_comparison_with_galleries(workspace, tmp_path):
    commits = []
    for seed in (0, 3):
        write_evaluation(workspace, seed)
        workspace.write("results/per_query/listing/dpo.parquet", wrote(seed))
        workspace.stage("listing_eval", ["results/per_query/listing"], ["data/checked"])
        commits.append(workspace.commit(f"seed {seed}"))
    test = Wanted(lambda a, b, groups: paired_bootstrap(a, b, 0, 200, groups))
    found = compare(workspace.root, commits, test)
    shown = {one.table: (len(one.won), len(one.lost)) for one in found.galleries}
    assert shown == {"encoder": (0, 4), "listing": (3, 3)}
    write_page(found, tmp_path / "comparison.html")
    html = (tmp_path / "comparison.html").read_text()
    assert html.count("data:image/webp") > 20 and 'class="no"' in html
    assert grave_findings([tmp_path / "comparison.html"]) == []

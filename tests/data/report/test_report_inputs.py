"""Inputs that are missing, broken or at odds with each other are refused with file, place and remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Workspace, everything, parameters, table
from pydantic import ValidationError

from components.report.errors import ReportInputError, ReportParamsError
from components.report.page.report import build_report
from components.report.params import CLAIMS, ReportParams
from components.stage.errors import ConfigurationError, InvalidDataError
from components.stage.paths import Paths

MakeParams = Callable[..., ReportParams]


@pytest.mark.parametrize(
    "name",
    [
        "metrics/encoder.json",
        "results/per_query/encoder/encoder.parquet",
        "reports/quality/catalog.json",
        "plots/encoder.csv",
        "data/checked/queries.parquet",
        "data/checked/qrels.parquet",
    ],
)
def test_a_missing_input_is_named(workspace: Workspace, params: MakeParams, name: str) -> None:
    (workspace.root / name).unlink()
    with pytest.raises(InvalidDataError, match=Path(name).name) as caught:
        build_report(Paths.below(workspace.root), params())
    assert caught.value.exit_code == 4


def test_a_catalogue_without_shards_is_named(workspace: Workspace, params: MakeParams) -> None:
    for shard in (workspace.root / "data/checked/products").iterdir():
        shard.unlink()
    with pytest.raises(InvalidDataError, match="data/checked"):
        build_report(Paths.below(workspace.root), params())


@pytest.mark.parametrize(
    "name", ["results/per_query/encoder/encoder.parquet", "results/per_query/encoder/pointing.parquet"]
)
def test_a_damaged_result_file_is_named(workspace: Workspace, params: MakeParams, name: str) -> None:
    path = workspace.root / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ReportInputError, match=rf"{Path(name).name} is not a readable Parquet file"):
        build_report(Paths.below(workspace.root), params())


def test_a_gate_report_must_say_whether_it_passed(workspace: Workspace, params: MakeParams) -> None:
    workspace.json("reports/quality/catalog.json", {"kinds": {}})
    with pytest.raises(ReportInputError, match=r"catalog\.json does not say whether the gate passed"):
        build_report(Paths.below(workspace.root), params())


def test_a_gate_report_of_another_shape_is_still_shown(workspace: Workspace, params: MakeParams) -> None:
    kinds = {"products": {"rows": "many", "reasons": [1, 2]}, "queries": 7}
    workspace.json("reports/quality/catalog.json", {"passed": True, "kinds": kinds})
    assert "✓ passed" in everything(build_report(Paths.below(workspace.root), params()))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"top": ["p000", "gone"]}, "product 'gone', which data/checked lacks"),
        ({"query_id": "q9"}, "query 'q9', which data/checked lacks"),
    ],
)
def test_results_of_another_catalogue_are_refused(
    workspace: Workspace, params: MakeParams, change: dict[str, Any], says: str
) -> None:
    for row in workspace.per_query:
        if row["query_id"] == "q0":
            row |= change
    workspace.write()
    with pytest.raises(ReportInputError, match=says):
        build_report(Paths.below(workspace.root), params())


def test_a_metric_that_was_not_measured_is_refused(workspace: Workspace, params: MakeParams) -> None:
    measure = {"metric": "ndcg_at_1", "success_from": 1.0}
    retrieval = parameters()["retrieval"] | {"systems": {"encoder": measure}}
    with pytest.raises(ReportInputError, match=r"no column ndcg_at_1 \(it has variant, task, query_id"):
        build_report(Paths.below(workspace.root), params(retrieval=retrieval))


def test_undefined_metrics_and_rows_without_a_ranking_are_left_out(
    workspace: Workspace, params: MakeParams
) -> None:
    for row in workspace.per_query:
        if row["query_id"] == "q0":
            row["hits_at_5"] = None
        if row["query_id"] == "q1":
            row["top"] = None
    workspace.write()
    html = everything(build_report(Paths.below(workspace.root), params()))
    assert "a red mug" not in html and "something round" not in html
    assert "this product" in html


def test_a_variant_without_rankings_is_refused(workspace: Workspace, params: MakeParams) -> None:
    workspace.per_query = [row for row in workspace.per_query if row["variant"] != "fine_tuned"]
    workspace.write()
    with pytest.raises(ReportInputError, match="no row of variant 'fine_tuned'"):
        build_report(Paths.below(workspace.root), params())


def test_an_unknown_main_variant_is_refused(workspace: Workspace, params: MakeParams) -> None:
    with pytest.raises(ReportParamsError, match=r"report\.systems\.encoder.*'best' \(known: untrained"):
        build_report(Paths.below(workspace.root), params(systems={"encoder": "best"}))


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff\xe0 cut"])
def test_a_picture_that_cannot_be_read_is_named(
    workspace: Workspace, params: MakeParams, data: bytes
) -> None:
    for row in workspace.products:
        row["image"] = {"bytes": data, "path": ""}
    workspace.write()
    with pytest.raises(ReportInputError, match=r"data/checked, product 'p\d+': the image"):
        build_report(Paths.below(workspace.root), params())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"x": 12.0}, r"pointing\.parquet, product 'p001', x: 12"),
        ({"y": float("nan")}, "y: nan"),
        ({"found_box": [0.1, 0.2]}, "found_box: needs x0 y0 x1 y1, has 2"),
        ({"box": [0.1, 0.2, 0.3, 40.0]}, "box: 40"),
    ],
)
def test_coordinates_must_be_fractions(
    workspace: Workspace, params: MakeParams, change: dict[str, Any], says: str
) -> None:
    workspace.pointings[0] |= change
    workspace.write()
    with pytest.raises(ReportInputError, match=says):
        build_report(Paths.below(workspace.root), params())


def test_pointings_of_other_variants_are_left_out(workspace: Workspace, params: MakeParams) -> None:
    rows = [row | {"variant": name} for row in workspace.pointings for name in ("untrained", "fine_tuned")]
    for row in rows:
        row["hit"] = row["variant"] == "fine_tuned"
    table(workspace.root / "results/per_query/encoder/pointing.parquet", rows)
    assert "0 of 2 points miss" in " ".join(
        everything(build_report(Paths.below(workspace.root), params())).split()
    )


def test_too_large_a_page_is_refused_with_what_to_lower(workspace: Workspace, params: MakeParams) -> None:
    with pytest.raises(ReportParamsError, match=r"more than report\.max_page_bytes \(10,000\).*thumbnail_px"):
        build_report(Paths.below(workspace.root), params(max_page_bytes=10_000))


@pytest.mark.parametrize(
    "change",
    [
        {"headline": {f"n{i}": "encoder.fine_tuned.mrr" for i in range(13)}},
        {"headline": {"x": "encoder.mrr"}},
        {"headline": {"x": "vlclip.full.mrr"}},
        {"headline": {}},
        {"systems": {}},
        {"thumbnail_px": 0},
        {"surprise": 1},
    ],
)
def test_parameters_that_the_inputs_cannot_satisfy_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ReportParams.model_validate(parameters(**change))


def test_errors_carry_the_exit_codes_of_their_kind() -> None:
    assert issubclass(ReportInputError, InvalidDataError)
    assert issubclass(ReportParamsError, ConfigurationError)


def test_an_undefined_figure_does_not_stop_the_page(workspace: Workspace, params: MakeParams) -> None:
    """A model whose answers state nothing has no hallucination rate; the others of the table do."""
    metrics = workspace.metrics | {"fine_tuned": {"mrr": workspace.metrics["fine_tuned"]["mrr"]}}
    metrics["_tests"] = [t for t in metrics["_tests"] if t["metric"] == "mrr"]
    workspace.json("metrics/encoder.json", metrics)
    report = build_report(Paths.below(workspace.root), params())
    assert report.headline == {} and "not defined" in everything(report)


@pytest.mark.parametrize("name", sorted(path.stem for path in CLAIMS.glob("*.yaml")))
def test_claims_of_a_file_stand_in_the_parameters(name: str) -> None:
    held = ReportParams.model_validate({"claims": name})
    assert held.claims and held.headline and "encoder" in held.systems


def test_a_file_of_claims_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(
        ValidationError, match=r"no claims/demmo\.yaml \(there are: demo, fashion, fashion-cluttered, own\)"
    ):
        ReportParams.model_validate({"claims": "demmo"})

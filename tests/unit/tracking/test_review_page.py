"""Each block of code in docs/review.md runs, in its order, and prints what its question asks for."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save
from test_tracking_examples import PRODUCTS, as_parquet, ranked, write_products

from components.tracking.publish.publish import publish
from components.tracking.registry.registry import register

PAGE = Path(__file__).parents[3] / "docs/review.md"


def blocks() -> dict[str, str]:
    """Heading -> the Python under it."""
    found = {}
    for part in re.split(r"^##? ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        code = re.findall(r"```python\n(.*?)```", part, re.DOTALL)
        found |= {part.partition("\n")[0]: "".join(code)} if code else {}
    return found


def trained_and_measured(workspace: Any, rate: float, mrr: float, parent: str) -> str:
    """VL-CLIP trained twice over, on raw and on full inputs, and measured; returns the commit."""
    commit = str(workspace.commit(f"rate {rate}"))
    record = {"parent": parent, "environment": {"python": "3.11.7", "machine": "x86_64", "torch": "2.15.0"}}
    write_products(workspace)
    workspace.write("reports/quality/catalog.json", {"passed": True})
    workspace.stage("catalog_quality", ["data/checked", "reports/quality/catalog.json"], **record)
    for item in ("raw", "full"):
        folder = f"models/vlclip/{item}"
        workspace.write(f"{folder}/config.json", "{}")
        workspace.write(f"{folder}/heads.safetensors", save({item: np.array([rate])}))
        own = record | {"parameters": {"vlclip": {"training": {"lr": rate}}}}
        workspace.stage(f"vlclip@{item}", [folder], ["data/checked"], **own)

    def row(by: float) -> dict[str, Any]:
        cell = {"low": 0.1, "high": 0.9, "n": len(PRODUCTS)}
        return {"mrr": cell | {"value": mrr + by}, "mrr_cluttered": cell | {"value": mrr + by - 0.1}}

    test = {"metric": "mrr", "a": "full", "b": "raw", "difference": 0.05, "low": 0.01, "high": 0.09}
    tests = [test | {"p": 0.01, "n": len(PRODUCTS)}]
    workspace.write("metrics/vlclip.json", {"full": row(0.0), "raw": row(-0.05), "_tests": tests})
    answers = [
        {**one, "mrr": one["mrr"] / (1 + i % 2)}
        for one in ranked("full", 2) + ranked("raw", 1)
        for i in [int(one["query_id"][1:]) if one["variant"] == "full" else 0]
    ]
    workspace.write("results/per_query/vlclip/search.parquet", as_parquet(answers))
    outs = ["metrics/vlclip.json", "results/per_query/vlclip"]
    workspace.stage(
        "vlclip_eval", outs, ["models/vlclip/raw", "models/vlclip/full", "data/checked"], **record
    )
    assert publish(workspace.root).warnings == []
    return commit


@pytest.fixture(scope="module")
def told(new_workspace: Callable[[], Any]) -> Iterator[dict[str, Any]]:
    """What each block prints, by its heading, in a workspace with a champion and a better challenger."""
    workspace = new_workspace()
    values = {"tracking": {"experiment": "vitrine"}, "report": {"profile": "demo"}}
    workspace.write("params.yaml", yaml.safe_dump(values))
    printed: dict[str, Any] = {"first": trained_and_measured(workspace, 0.001, 0.5, "p1")}
    register(workspace.root, "vlclip", Path("models/vlclip/full"), "champion")
    printed["second"] = trained_and_measured(workspace, 0.002, 0.6, "p2")
    register(workspace.root, "vlclip", Path("models/vlclip/full"), "challenger")
    import mlflow

    names: dict[str, Any] = {}
    before = Path.cwd()
    os.chdir(workspace.root)
    try:
        for heading, code in blocks().items():
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(compile(code, f"docs/review.md, {heading}", "exec"), names)
            printed[heading.partition(".")[0]] = output.getvalue()
    finally:
        os.chdir(before)
        mlflow.set_tracking_uri(None)  # the page sets it for all clients, and in the environment
    yield printed | {"data": workspace.lock["catalog_quality"]["outs"][0]["md5"]}


def test_six_questions_have_code_of_a_few_lines_a_picture_and_a_way_by_clicks() -> None:
    found = blocks()
    questions = [heading for heading in found if heading[0].isdigit()]
    assert [heading[0] for heading in questions] == list("123456") and len(found) == 7
    assert all(len(found[heading].splitlines()) <= 8 for heading in questions)
    parts = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:7]
    assert all(re.search(r"!\[.+\]\(images/review-\w+\.png\)", part) and "*" in part for part in parts)


def test_the_best_model_on_cluttered_photos_comes_first(told: dict[str, Any]) -> None:
    lines = told["1"].splitlines()
    assert lines[0].split() == ["demo-vlclip-full", "0.5", told["second"][:7]]
    assert [line.split()[0] for line in lines] == ["demo-vlclip-full", "demo-vlclip-raw", "demo-vlclip-full"]


def test_what_changed_since_the_champion_is_one_parameter_and_no_data(told: dict[str, Any]) -> None:
    assert told["2"].splitlines() == ["{'vlclip.training.lr': ('0.001', '0.002')}", "[]"]


def test_the_data_that_it_was_measured_on_has_its_name_digest_and_counts(told: dict[str, Any]) -> None:
    assert told["3"].split(maxsplit=2)[:2] == ["demo-test", told["data"]] and '"products": 14' in told["3"]


def test_the_difference_has_its_interval_and_lost_queries_are_named(told: dict[str, Any]) -> None:
    assert re.search(r"mrr\s+full\s+raw\s+0\.05\s+0\.01\s+0\.09\s+14", told["4"])
    assert re.search(r"blue thing \d+\s+-0\.75", told["4"])


def test_commit_parameters_and_machine_are_those_of_its_training(told: dict[str, Any]) -> None:
    assert told["5"].splitlines() == [
        f"{told['second']} dirty: false",
        "{'vlclip.training.lr': '0.002'}",
        "{'machine': 'x86_64', 'python': '3.11.7', 'torch': '2.15.0'}",
    ]


def test_what_is_registered_and_whether_the_catalogue_passed(told: dict[str, Any]) -> None:
    assert told["6"].splitlines() == [
        f"vitrine-demo-vlclip challenger 2 {told['second'][:7]} ",
        f"vitrine-demo-vlclip champion 1 {told['first'][:7]} ",
        "catalogue passed: True",
    ]

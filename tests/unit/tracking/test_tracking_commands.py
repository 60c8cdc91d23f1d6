"""The command line: one sentence and an exit code for everything that goes wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from components.tracking.__main__ import main


def test_sync_compare_lineage_register_promote(in_workspace, capsys):
    in_workspace.write("data/checked/queries.parquet", "queries")
    in_workspace.stage("catalog_quality", ["data/checked"])
    in_workspace.pipeline(parent="p1")
    in_workspace.commit("one")
    in_workspace.pipeline(parent="p2", seed=1)
    in_workspace.commit("two")
    assert main(["sync"]) == 0 and "7 stage runs recorded" in capsys.readouterr().out
    assert main(["sync"]) == 0 and "already" in capsys.readouterr().out
    assert main(["lineage", "p2", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["nodes"]) == 3
    assert main(["register"]) == 0 and "encoder version 1" in capsys.readouterr().out
    assert main(["promote", "encoder", "1", "champion"]) == 0
    assert "encoder@champion is now version 1" in capsys.readouterr().out
    assert main(["path", "encoder", "champion"]) == 0
    assert (Path(capsys.readouterr().out.strip().split("\n")[-1]) / "config.json").exists()


def test_compare_tests_differences_per_query(in_workspace, capsys):
    pytest.importorskip("components.retrieval.significance")
    in_workspace.write("data/checked/queries.parquet", "queries")
    in_workspace.stage("catalog_quality", ["data/checked"])
    for seed in (0, 1):
        in_workspace.pipeline(seed=seed)
        in_workspace.commit(str(seed))
    assert main(["compare", "HEAD~1", "HEAD", "--json"]) == 0
    tests = {t["metric"]: t for t in json.loads(capsys.readouterr().out)["tests"]}
    assert tests["ndcg_at_10"]["difference"] == pytest.approx(0.1) and tests["ndcg_at_10"]["n"] == 3
    assert tests["mrr"]["low"] <= tests["mrr"]["difference"] <= tests["mrr"]["high"]
    assert main(["compare", "HEAD~1", "HEAD"]) == 0
    printed = capsys.readouterr()
    assert "B − A, 95%" in printed.out and "Page: reports/compare/" in printed.out
    assert (in_workspace.root / "reports/compare").is_dir() and not printed.err


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["compare", "HEAD", "profile:nothing"], 2, "no profile 'nothing'"),
        (["lineage", "nothing"], 2, "vitrine sync"),
        (["register", "encoder", "--folder", "data"], 4, "not a model folder"),
    ],
)
def test_errors_are_one_sentence_with_a_code(in_workspace, capsys, command, code, said):
    in_workspace.write("metrics/encoder.json", {})
    in_workspace.lock = {"a": {"cmd": "x"}}
    in_workspace.write_lock()
    in_workspace.commit("lock")
    assert main(command) == code
    told = capsys.readouterr().err
    assert told.startswith("error: ") and said in told and told.count("\n") == 1


def test_sync_reports_a_store_that_does_not_answer(in_workspace, capsys, monkeypatch):
    in_workspace.pipeline()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert main(["sync"]) == 1
    assert "3 records are not published" in capsys.readouterr().err
    assert main(["promote", "a", "1", "b"]) == 1 and "does not answer" in capsys.readouterr().err


def test_ui_is_local_and_shows_this_store(in_workspace, capsys, monkeypatch):
    assert main(["ui", "--port", "5999"]) == 0
    printed, told = capsys.readouterr()
    assert "http://127.0.0.1:5999/#/experiments?workflowType=machine_learning" in told
    assert printed.startswith(f"{sys.executable} -m mlflow ")  # found without an activated environment
    assert (
        "--host 127.0.0.1" in printed
        and "5999" in printed
        and f"sqlite:///{in_workspace.root}/mlruns/mlflow.db" in printed
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert main(["ui"]) == 2
    assert "http://127.0.0.1:1/#/experiments?workflowType=machine_learning" in capsys.readouterr().err

"""The copies that a benchmark publishes are runs of their own, with models and figures of their own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from benchmarks.tracking.copies import add_copy, executions, prepare
from components.tracking.publish.publish import publish
from components.tracking.store import connect, store_of


def test_copies_are_published_beside_the_real_run_and_leave_its_workspace_alone(
    workspace: Any, migrated: Path, tmp_path: Path
) -> None:
    workspace.pipeline(parent="p1")
    publish(workspace.root)
    before = {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*") if path.is_file()}
    target = tmp_path / "copies"
    prepare(workspace.root, target)
    (target / "mlruns").mkdir()
    shutil.copyfile(migrated, target / "mlruns/mlflow.db")
    real = executions(workspace.root)
    assert [add_copy(workspace.root, target, real, number) for number in range(3)] == [3, 3, 3]
    assert publish(target).warnings == []
    client = connect(store_of(target))
    ids = [one.experiment_id for one in client.search_experiments() if one.name != "Default"]
    kinds = [run.data.tags["vitrine.kind"] for run in client.search_runs(ids)]
    assert {kind: kinds.count(kind) for kind in kinds} == {"pipeline": 3, "stage": 9, "evaluation": 3}
    models = client.search_logged_models(ids)
    figures = {metric.value for model in models for metric in model.metrics}
    assert len(models) == 3 and len(figures) == 3 and 0.5 in figures
    assert {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*") if path.is_file()} == before

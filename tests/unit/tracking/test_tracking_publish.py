"""Records become runs, once each, with everything that tells where they came from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.stage.errors import ConfigurationError
from components.stage.record import Record
from components.tracking.lineage.lockfile import LockEntry
from components.tracking.publish.publish import link_cached, pending, publish, start_pipeline
from components.tracking.publish.run_content import parameters


def by_stage(runs):
    return {run.data.tags["vitrine.stage"]: run for run in runs if run.data.tags["vitrine.kind"] == "stage"}


def parents(runs):
    return [run for run in runs if run.data.tags["vitrine.kind"] == "pipeline"]


def evaluations(runs):
    return [run for run in runs if run.data.tags["vitrine.kind"] == "evaluation"]


def client_of(workspace):
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{workspace.root}/mlruns/mlflow.db")


@pytest.fixture(scope="module")
def done(new_workspace):
    """A workspace that is published and only looked at, its records, and what publishing it gave."""
    workspace = new_workspace()
    records = workspace.pipeline(parent="p1")
    return workspace, records, publish(workspace.root)


def test_one_run_per_execution_under_one_parent(done, runs_of):
    workspace, records, result = done
    assert result.warnings == [] and result.waiting == 0
    runs = runs_of(workspace)
    (parent,) = parents(runs)
    stages = by_stage(runs)
    (evaluation,) = evaluations(runs)
    assert set(stages) == {"catalog", "encoder", "encoder_eval"} and len(runs) == 5
    assert evaluation.data.tags["mlflow.parentRunId"] == stages["encoder_eval"].info.run_id
    assert {run.data.tags["mlflow.parentRunId"] for run in stages.values()} == {parent.info.run_id}
    assert result.published == {records[name].id: run.info.run_id for name, run in stages.items()}
    assert parent.data.tags["vitrine.pipeline_run"] == "p1" and parent.info.status == "FINISHED"
    for name, run in stages.items():
        assert run.info.status == "FINISHED"
        assert run.info.start_time == round(records[name].started * 1000)
        assert run.info.end_time - run.info.start_time == 5000


def test_run_holds_hashes_parameters_figures_and_curves(done, runs_of):
    workspace, _, _ = done
    run = by_stage(runs_of(workspace))["encoder"]
    tags = run.data.tags
    outs = {item["path"]: item["md5"] for item in workspace.lock["encoder"]["outs"]}
    assert tags["vitrine.out.models/encoder"] == outs["models/encoder"]
    assert tags["vitrine.dep.data/catalog"] == workspace.lock["catalog"]["outs"][0]["md5"]
    assert "vitrine.dep.code/encoder.py" not in tags and len(tags["vitrine.code"]) == 64
    assert tags["vitrine.git_commit"] == workspace.git("rev-parse", "HEAD")
    assert run.data.params == {"encoder.lr": "0.1", "encoder.layers": "[1, 2]"}
    assert run.data.metrics["last_loss"] == 0.2
    assert run.data.metrics["system/seconds"] == 5.0
    assert run.data.metrics["system/peak_memory_bytes"] == float(1 << 20)


def test_curve_keeps_its_steps(done, runs_of):
    from mlflow.tracking import MlflowClient

    workspace, _, _ = done
    run = by_stage(runs_of(workspace))["encoder"]
    client = MlflowClient(tracking_uri=f"sqlite:///{workspace.root}/mlruns/mlflow.db")
    history = client.get_metric_history(run.info.run_id, "curve/loss")
    assert sorted((m.step, m.value) for m in history) == [(i, 1 / (i + 1)) for i in range(5)]


def test_evaluation_run_holds_its_figures_as_a_table_and_small_files_but_no_model(done, runs_of):
    workspace, _, _ = done
    run = by_stage(runs_of(workspace))["encoder_eval"]
    assert {k: v for k, v in run.data.metrics.items() if "system/" not in k} == {"fine_tuned/mrr": 0.5}
    artifacts = workspace.root / "mlruns/artifacts" / run.info.run_id / "artifacts"
    table = json.loads((artifacts / "figures.json").read_text())
    assert dict(zip(table["columns"], table["data"][0], strict=True)) == {
        "table": "encoder", "variant": "fine_tuned", "metric": "mrr",
        "value": 0.5, "low": 0.4, "high": 0.6, "n": 4.0,
    }  # fmt: skip
    assert json.loads(run.data.tags["mlflow.loggedArtifacts"]) == [{"path": "figures.json", "type": "table"}]
    names = {p.relative_to(artifacts).as_posix() for p in artifacts.rglob("*") if p.is_file()}
    assert names == {
        "metrics/encoder.json", "results/per_query/encoder.parquet", "figures.json",
        "record.json", "lock_entry.json",
    }  # fmt: skip
    assert not list((workspace.root / "mlruns").rglob("*.safetensors"))


def test_a_trained_model_is_ready_measured_and_ranked_by_its_figures(done, runs_of):
    workspace, _, _ = done
    client, runs = client_of(workspace), runs_of(workspace)
    experiment = runs[0].info.experiment_id
    ranked = client.search_logged_models([experiment], order_by=[{"field_name": "metrics.mrr"}])
    (model,) = ranked
    trained, (evaluation,) = by_stage(runs)["encoder"], evaluations(runs)
    assert (model.name, model.status, model.model_type) == ("encoder", "READY", "encoder")
    assert model.source_run_id == trained.info.run_id
    assert [out.model_id for out in trained.outputs.model_outputs] == [model.model_id]
    assert model.tags["vitrine.dvc"] == workspace.lock["encoder"]["outs"][0]["md5"]
    assert model.params["encoder.lr"] == "0.1" and "model.safetensors" in model.tags["mlflow.note.content"]
    assert [(m.key, m.value, m.run_id) for m in model.metrics] == [("mrr", 0.5, evaluation.info.run_id)]
    (read,) = client.get_run(evaluation.info.run_id).inputs.model_inputs
    assert read.model_id == model.model_id and evaluation.data.metrics == {"mrr": 0.5}
    files = {file.path for file in client.list_logged_model_artifacts(model.model_id)}
    assert files == {"MLmodel", "README.md", "config.json"}  # no weights: those are in DVC


def test_figures_of_a_model_are_tied_to_the_split_of_the_catalogue(workspace, runs_of):
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = workspace.root / "data/checked/products"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"split": ["train"] * 3 + ["test"] * 2}), folder / "part-00000.parquet")
    workspace.stage("catalog_quality", ["data/checked"], parent="p1")
    workspace.pipeline(parent="p1")
    workspace.stage(
        "encoder_eval", ["metrics/encoder.json"], ["models/encoder", "data/checked"], parent="p1",
        parameters={"encoder_eval": {"split": "test"}},
    )  # fmt: skip
    publish(workspace.root)
    measured = [run for run in evaluations(runs_of(workspace)) if run.inputs.dataset_inputs]
    (given,) = measured[-1].inputs.dataset_inputs
    digest = workspace.lock["encoder_eval"]["deps"][1]["md5"]
    assert (given.dataset.name, given.dataset.digest) == ("catalogue-test", digest)
    assert json.loads(given.dataset.profile) == {"products": 2}
    assert {tag.key: tag.value for tag in given.tags} == {
        "mlflow.data.context": "evaluation",
        "split": "test",
    }
    (model,) = client_of(workspace).search_logged_models([measured[0].info.experiment_id])
    assert ("mrr", "catalogue-test", digest) in [
        (m.key, m.dataset_name, m.dataset_digest) for m in model.metrics
    ]


def test_each_catalogue_has_an_experiment_that_opens_as_training(workspace):
    for profile in ("fashion", "shoes"):
        workspace.write("params.yaml", (workspace.root / "params.yaml").read_text().split("report:")[0])
        with (workspace.root / "params.yaml").open("a") as params:
            params.write(f"report: {{profile: {profile}}}\n")
        workspace.pipeline(parent=profile)
        publish(workspace.root)
    found = {one.name: one for one in client_of(workspace).search_experiments() if one.name != "Default"}
    assert set(found) == {"vitrine-fashion", "vitrine-shoes"}
    assert {one.tags["mlflow.experimentKind"] for one in found.values()} == {"custom_model_development"}
    models = client_of(workspace).search_logged_models([one.experiment_id for one in found.values()])
    assert {model.name for model in models} == {"fashion-encoder", "shoes-encoder"}


def test_an_experiment_has_views_that_mlflow_lists_and_keeps_what_people_make_of_them(workspace):
    workspace.pipeline(parent="p1")
    publish(workspace.root)
    client = client_of(workspace)
    tags = client.get_experiment_by_name("vitrine").tags
    views = {k: json.loads(v) for k, v in tags.items() if k.startswith("mlflow.sharedViewState.")}
    assert {view["name"] for view in views.values()} == {"Pipeline runs", "Models by their figures"}
    for key, view in views.items():
        state = json.loads(view["state"])
        found = client.search_runs(["1"], state["searchFilter"], order_by=[f"{state['orderByKey']} DESC"])
        assert len(found) == 1 and key.rpartition(".")[2] in tags["mlflow.note.content"]
        # MLflow heeds a column's width only where its order is given
        assert state["columnOrder"][0] == "attributes.`Run Name`" and {*state["columnWidths"]} == {
            *state["columnOrder"]
        }
    client.set_experiment_tag("1", "mlflow.note.content", "ours")
    workspace.pipeline(parent="p2", seed=1)
    publish(workspace.root)
    assert client.get_experiment("1").tags["mlflow.note.content"] == "ours"


def test_headline_figures_are_logged_on_the_pipeline_run(workspace, runs_of):
    workspace.write("metrics/headline.json", {"encoder.mrr": 0.5, "encoder.note": "text"})
    workspace.stage("report", ["metrics/headline.json"], parent="p1")
    publish(workspace.root)
    (parent,) = parents(runs_of(workspace))
    assert parent.data.metrics == {"encoder.mrr": 0.5}


def test_files_above_the_limit_stay_with_dvc(workspace, params):
    workspace.pipeline()
    publish(workspace.root, params=params.model_copy(update={"artifact_limit_bytes": 200}))
    names = {p.name for p in (workspace.root / "mlruns/artifacts").rglob("*") if p.is_file()}
    assert "encoder.json" in names and "encoder.parquet" not in names


def test_published_twice_or_with_lost_marks_there_is_no_second_run(workspace, runs_of):
    """Marks are lost by a kill after the run is complete and before its mark is written."""
    workspace.pipeline(parent="p1")
    assert pending(workspace.root)
    first = publish(workspace.root)
    assert len(first.published) == 3 and not pending(workspace.root)
    assert publish(workspace.root).published == {}
    for path in (workspace.root / ".vitrine/published").rglob("*.json"):
        path.unlink()
    assert publish(workspace.root).published == first.published
    assert len(runs_of(workspace)) == 5


def test_later_stages_join_the_same_parent(workspace, runs_of):
    workspace.write("data/catalog/a", "1")
    workspace.stage("catalog", ["data/catalog"], parent="it's p1")
    publish(workspace.root)
    workspace.write("models/encoder/a", "1")
    workspace.stage("encoder", ["models/encoder"], parent="it's p1")
    publish(workspace.root)
    runs = runs_of(workspace)
    assert len(parents(runs)) == 1 and len(by_stage(runs)) == 2


def test_bare_repro_is_grouped_by_commit_and_lock(workspace, runs_of):
    workspace.pipeline()
    publish(workspace.root)
    workspace.pipeline(seed=1)
    publish(workspace.root)
    groups = parents(runs_of(workspace))
    assert len(groups) == 2
    assert all(g.data.tags["vitrine.pipeline_run"].startswith("repro-") for g in groups)


def test_failed_stage_is_recorded_without_hashes_and_fails_the_pipeline(workspace, runs_of):
    workspace.pipeline(parent="p1")
    workspace.record("encoder_eval", status="failed", error="boom in row 7", exit_code=4, parent="p1")
    publish(workspace.root)
    runs = runs_of(workspace)
    failed = next(
        run for run in runs if run.info.status == "FAILED" and run.data.tags["vitrine.kind"] == "stage"
    )
    assert (
        failed.data.tags["vitrine.error"] == "boom in row 7" and failed.data.tags["vitrine.exit_code"] == "4"
    )
    assert "vitrine.lock_entry" not in failed.data.tags
    assert parents(runs)[0].info.status == "FAILED"


def test_failure_repaired_by_a_retry_leaves_a_finished_pipeline(workspace, runs_of):
    workspace.record("catalog", status="failed", error="no network", exit_code=1, parent="p1")
    workspace.pipeline(parent="p1")
    publish(workspace.root)
    assert parents(runs_of(workspace))[0].info.status == "FINISHED"


def test_only_the_last_execution_owns_the_lock_entry(workspace, runs_of):
    workspace.write("data/catalog/a", "1")
    first = workspace.stage("catalog", ["data/catalog"])
    workspace.write("data/catalog/a", "2")
    second = workspace.stage("catalog", ["data/catalog"])
    publish(workspace.root)
    tags = {
        run.data.tags["vitrine.record"]: run.data.tags
        for run in runs_of(workspace)
        if "vitrine.record" in run.data.tags
    }
    assert "vitrine.lock_entry" not in tags[first.id] and "later" in tags[first.id]["vitrine.no_lock_entry"]
    assert tags[second.id]["vitrine.out.data/catalog"] == workspace.lock["catalog"]["outs"][0]["md5"]


def test_execution_killed_before_dvc_wrote_the_lock_gets_no_hashes_of_another(workspace, runs_of):
    """The stage finished, DVC died before writing dvc.lock: same sizes, other bytes, an older lock."""
    workspace.write("data/catalog/a", "1")
    workspace.stage("catalog", ["data/catalog"])
    publish(workspace.root)
    workspace.write("data/catalog/a", "2")
    orphan = workspace.record("catalog", started=(workspace.root / "dvc.lock").stat().st_mtime + 10)
    publish(workspace.root)
    run = next(r for r in runs_of(workspace) if r.data.tags.get("vitrine.record") == orphan.id)
    assert "vitrine.lock_entry" not in run.data.tags
    assert "data/catalog" in run.data.tags["vitrine.no_lock_entry"]


def test_dirty_means_changes_other_than_those_runs_write(workspace, runs_of):
    workspace.pipeline(parent="clean")
    workspace.commit("results")
    workspace.pipeline(parent="clean", seed=1)
    publish(workspace.root)
    workspace.write("code/other.py", "new\n")
    workspace.pipeline(parent="dirty", seed=2)
    publish(workspace.root)
    dirty = {
        run.data.tags["vitrine.pipeline_run"]: run.data.tags["vitrine.dirty"] for run in runs_of(workspace)
    }
    assert dirty == {"clean": "false", "dirty": "true"}


def test_code_of_a_pipeline_run_is_that_of_its_start(workspace, runs_of):
    commit = workspace.commit("before")
    start_pipeline(workspace.root, "p1")
    workspace.pipeline(parent="p1")
    workspace.commit("edited while it ran")
    publish(workspace.root)
    assert {run.data.tags["vitrine.git_commit"] for run in runs_of(workspace)} == {commit}


def test_a_pipeline_run_says_what_it_is_from_what_and_with_which_result(workspace, runs_of):
    workspace.write("code/other.py", "password = 'new'\n")
    workspace.write("params.yaml", (workspace.root / "params.yaml").read_text() + "# edited\n")
    start_pipeline(workspace.root, "p1", {"encoder.lr": "0.5"})
    records = workspace.pipeline(parent="p1")
    for stage in ("catalog", "encoder", "encoder_eval"):
        workspace.lock[stage]["cmd"] = f"python -m components.stage {stage.split('_')[0]}.x"
    workspace.write_lock()
    publish(workspace.root)
    (parent,) = parents(runs_of(workspace))
    commit = workspace.git("rev-parse", "HEAD")
    assert parent.info.run_name == f"encoder · {commit[:7]}+ · 14 Nov 22:13"
    assert parent.data.params == {"encoder.lr": "0.5"} and parent.data.metrics == {"encoder.mrr": 0.5}
    told = parent.data.tags["mlflow.note.content"]
    (model,) = client_of(workspace).search_logged_models([parent.info.experiment_id])
    for fact in (commit[:10], "encoder.mrr | 0.500", model.model_id, "uncommitted.diff", "3 stages ran"):
        assert fact in told
    artifacts = workspace.root / "mlruns/artifacts" / parent.info.run_id / "artifacts"
    diff = (artifacts / "uncommitted.diff").read_text()
    assert "+# edited" in diff and "not added to git: code/other.py" in diff and "password" not in diff
    assert set(json.loads((artifacts / "parameters.json").read_text())) == set(records)
    before = parent.data.to_dictionary()
    (workspace.root / ".vitrine/published").rename(workspace.root / ".vitrine/gone")
    publish(workspace.root)
    assert parents(runs_of(workspace))[0].data.to_dictionary() == before


def test_profile_is_the_one_that_the_report_names(workspace, runs_of):
    workspace.write("params.yaml", (workspace.root / "params.yaml").read_text() + "report: {profile: demo}\n")
    workspace.pipeline()
    publish(workspace.root)
    assert {run.data.tags["vitrine.profile"] for run in runs_of(workspace)} == {"demo"}


def test_worktree_of_a_profile_shares_the_store(workspace, runs_of):
    work = type(workspace)(workspace.root / ".vitrine/work/fashion")
    work.pipeline()
    assert publish(work.root).warnings == []
    runs = runs_of(workspace)
    assert len(runs) == 5 and {run.data.tags["vitrine.profile"] for run in runs} == {"fashion"}


def test_cached_stages_link_to_the_run_that_made_them(workspace, runs_of):
    workspace.pipeline(parent="p1")
    first = publish(workspace.root)
    made = {run.data.tags["vitrine.stage"]: run.info.run_id for run in by_stage(runs_of(workspace)).values()}
    workspace.write("metrics/encoder.json", {"fine_tuned": {"mrr": {"value": 0.9, "n": 4}}})
    workspace.stage("encoder_eval", ["metrics/encoder.json"], ["models/encoder"], parent="p2")
    link_cached(workspace.root, "p2", ["catalog", "encoder", "never_ran"])
    result = publish(workspace.root)
    assert result.linked == {"catalog": made["catalog"], "encoder": made["encoder"]}
    assert result.linked["catalog"] in first.published.values()
    tags = next(run for run in runs_of(workspace) if run.info.run_id == result.parents["p2"]).data.tags
    assert tags["cached.catalog"] == made["catalog"] and tags["cached.encoder"] == made["encoder"]
    assert not pending(workspace.root)


def test_cached_stage_made_elsewhere_is_linked_by_its_hash(workspace):
    workspace.pipeline(parent="p1")
    other = list((workspace.root / ".vitrine/records/catalog").glob("*.json"))
    other[0].unlink()
    link_cached(workspace.root, "p1", ["catalog"])
    assert publish(workspace.root).linked["catalog"].startswith("lock:")


def test_pipeline_run_that_executed_nothing_leaves_nothing(workspace):
    workspace.pipeline(parent="p1")
    publish(workspace.root)
    link_cached(workspace.root, "p2", ["catalog", "encoder", "encoder_eval"])
    assert not pending(workspace.root)


def test_nothing_to_publish_never_imports_mlflow(bare):
    code = (
        "import sys; from pathlib import Path;"
        "from components.tracking.publish.publish import pending, publish, link_cached;"
        f"root = Path({str(bare.root)!r}); assert not pending(root);"
        "link_cached(root, 'p', ['catalog']); publish(root);"
        "sys.exit('mlflow' in sys.modules)"
    )
    here = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=here, timeout=60).returncode == 0


def test_missing_tracking_block_is_a_configuration_error(bare):
    bare.write("params.yaml", "encoder: {}\n")
    with pytest.raises(ConfigurationError, match="tracking"):
        publish(bare.root)


def test_outside_git_runs_are_recorded_without_a_commit(workspace, runs_of, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(workspace.root.parent))
    (workspace.root / ".git").rename(workspace.root / "nogit")
    workspace.pipeline(parent="p1")
    assert publish(workspace.root).warnings == []
    assert all("vitrine.git_commit" not in run.data.tags for run in runs_of(workspace))


def test_record_survives_in_the_run_as_it_was_written(done, runs_of):
    workspace, records, _ = done
    run = by_stage(runs_of(workspace))["encoder"]
    kept = workspace.root / "mlruns/artifacts" / run.info.run_id / "artifacts/record.json"
    assert json.loads(kept.read_text()) == records["encoder"].model_dump()


def test_a_run_logs_resolved_parameters_also_where_the_command_changed_them():
    record = Record(stage="vlclip@full")
    record.parameters = {"variant": "full", "vlclip": {"seed": 43, "margin": 0.1}}
    entry = LockEntry(cmd="c", params={"params.yaml": {"vlclip": {"seed": 31}}})
    assert parameters(record, SimpleNamespace(entry=entry)) == {
        "variant": "full", "vlclip.seed": "43", "vlclip.margin": "0.1"
    }  # fmt: skip

"""A tracker that is down, locked, broken or killed half way loses nothing."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.tracking import store as tracking_store
from components.tracking.publish.publish import pending, publish

HERE = Path(__file__).parents[3]


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_stopped_server_loses_nothing_and_costs_little(workspace, runs_of, monkeypatch):
    workspace.pipeline(parent="p1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{closed_port()}")
    start = time.perf_counter()
    result = publish(workspace.root)
    assert time.perf_counter() - start < 10
    assert result.waiting == 3 and result.published == {} and pending(workspace.root)
    assert "does not answer" in result.warnings[0] and "secret" not in result.warnings[0]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert publish(workspace.root).waiting == 0
    assert len(runs_of(workspace)) == 5


def test_records_are_joined_with_their_lock_entry_while_the_tracker_is_down(workspace, runs_of, monkeypatch):
    commit = workspace.commit("code of the first")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed_port()}")
    first = workspace.pipeline(parent="p1")
    entry = workspace.lock["encoder"]
    publish(workspace.root)
    workspace.commit("code of the second")
    workspace.pipeline(parent="p2", seed=3)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    publish(workspace.root)
    run = next(r for r in runs_of(workspace) if r.data.tags.get("vitrine.record") == first["encoder"].id)
    assert run.data.tags["vitrine.git_commit"] == commit
    assert run.data.tags["vitrine.out.models/encoder"] == entry["outs"][0]["md5"]
    assert run.data.params["encoder.lr"] == "0.1"


def test_evaluation_files_come_from_the_cache_when_the_workspace_has_moved_on(
    workspace, runs_of, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed_port()}")
    first = workspace.pipeline(parent="p1")
    publish(workspace.root)
    workspace.pipeline(parent="p2", seed=3)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    publish(workspace.root)
    run = next(r for r in runs_of(workspace) if r.data.tags.get("vitrine.record") == first["encoder_eval"].id)
    assert run.data.metrics["fine_tuned/mrr"] == 0.5


def test_records_wait_while_the_database_is_locked(workspace, monkeypatch):
    monkeypatch.setattr(tracking_store, "ANSWER_WITHIN_S", 0.2)
    workspace.pipeline()
    holder = sqlite3.connect(workspace.root / "mlruns/mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    result = publish(workspace.root)
    assert result.waiting == 3 and "locked" in result.warnings[0]
    holder.execute("ROLLBACK")
    holder.close()
    assert publish(workspace.root).waiting == 0


def test_damaged_database_is_reported_and_replaced_after_it_is_moved(workspace, migrated):
    workspace.pipeline()
    publish(workspace.root)
    database = workspace.root / "mlruns/mlflow.db"
    database.write_bytes(b"this is no database" * 1000)
    workspace.record("catalog", status="failed", exit_code=1)
    result = publish(workspace.root)
    (warning,) = result.warnings
    assert result.waiting == 1 and "damaged" in warning and "move it to another place" in warning
    database.unlink()
    assert pending(workspace.root)
    shutil.copyfile(migrated, database)
    sync = [
        sys.executable,
        "-m",
        "components.tracking",
        "sync",
    ]  # anew: MLflow holds open files by their address
    told = subprocess.run(
        sync, cwd=workspace.root, env=os.environ | {"PYTHONPATH": str(HERE)}, capture_output=True, text=True
    )
    # The old records too: the new store knows none of them.
    assert told.stdout.startswith("4 stage runs recorded") and told.returncode == 0, told.stderr
    assert not pending(workspace.root)


def test_store_that_was_copied_elsewhere_does_not_write_into_the_original(workspace, tmp_path):
    workspace.pipeline()
    publish(workspace.root)
    copy = tmp_path / "copy"
    shutil.copytree(workspace.root, copy, symlinks=True)
    for path in (copy / ".vitrine/published").rglob("*.json"):
        path.unlink()
    before = sorted((workspace.root / "mlruns/artifacts").rglob("*"))
    result = publish(copy)
    assert result.waiting == 3 and "moved or copied" in result.warnings[0]
    assert sorted((workspace.root / "mlruns/artifacts").rglob("*")) == before


def test_address_that_mlflow_does_not_take_is_refused(workspace, monkeypatch):
    workspace.pipeline()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    result = publish(workspace.root)
    assert result.waiting == 3 and "not a tracking store" in result.warnings[0]


# Calls that write, in the order in which publishing makes them. Each is interrupted: the n-th of its kind
# that a sync makes, before MLflow is asked, or the m-th, when it has done it and nobody heard of that.
WRITING = (
    *(("create_run", 1, 1), ("create_run", 2, 1)),  # of the pipeline and of its first stage
    *(("log_batch", 1, 1), ("log_artifacts", 1, 1), ("set_terminated", 1, 1), ("create_run", 1, 1)),
    *(("create_logged_model", 1, 1), ("log_model_artifacts", 1, 1), ("finalize_logged_model", 1, 1)),
    *(("log_outputs", 1, 1), ("log_artifacts", 1, 1)),
    *(("create_run", 1, 1), ("create_run", 2, 1)),  # of the evaluation's stage and of the evaluation
    *(("log_inputs", 1, 1), ("log_batch", 2, 2), ("set_tag", 1, 1)),
    *(
        ("set_terminated", 1, 1),
        ("set_terminated", 2, 2),
        ("set_terminated", 2, 1),
    ),
)


def interrupted(workspace, call, number, late):
    """Publish, and be stopped before a call of MLflow's client, or right after it; whether it was made."""
    from mlflow.tracking import MlflowClient

    original, calls = getattr(MlflowClient, call), iter(range(1, 1000))

    def dying(self, *arguments, **named):
        struck = next(calls) == number
        made = None if struck and not late else original(self, *arguments, **named)
        if struck:
            raise KeyboardInterrupt
        return made

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(MlflowClient, call, dying)
        try:
            publish(workspace.root)
        except KeyboardInterrupt:
            return True
    return False


@pytest.mark.parametrize("late", [False, True], ids=["before the call", "after the call"])
def test_a_publish_that_is_interrupted_again_and_again_is_completed_by_the_next(workspace, runs_of, late):
    from mlflow.tracking import MlflowClient

    workspace.pipeline(parent="p1")
    for call, before, after in WRITING:
        assert interrupted(workspace, call, after if late else before, late), f"{call} was made too rarely"
    assert publish(workspace.root).waiting == 0
    runs = runs_of(workspace)
    stages = sorted(r.data.tags["vitrine.stage"] for r in runs if r.data.tags["vitrine.kind"] == "stage")
    assert stages == ["catalog", "encoder", "encoder_eval"] and len(runs) == 5
    assert all(r.info.status == "FINISHED" for r in runs)
    assert all(
        r.data.tags.get("vitrine.complete") == "true" for r in runs if r.data.tags["vitrine.kind"] == "stage"
    )
    encoder = next(r for r in runs if r.data.tags.get("vitrine.stage") == "encoder")
    client = MlflowClient(tracking_uri=f"sqlite:///{workspace.root}/mlruns/mlflow.db")
    assert len(client.get_metric_history(encoder.info.run_id, "curve/loss")) == 5
    (model,) = client.search_logged_models([encoder.info.experiment_id])
    assert model.status == "READY" and {metric.value for metric in model.metrics} == {0.5}
    assert [one.model_id for one in encoder.outputs.model_outputs] == [model.model_id]


def test_record_that_mlflow_refuses_does_not_stop_the_others(workspace, monkeypatch):
    from mlflow.tracking import MlflowClient

    records = workspace.pipeline(parent="p1")
    original = MlflowClient.create_run

    def refusing(self, *arguments, **named):
        if named.get("run_name") == "encoder":
            raise ValueError("refused")
        return original(self, *arguments, **named)

    monkeypatch.setattr(MlflowClient, "create_run", refusing)
    result = publish(workspace.root)
    assert set(result.published) == {records["catalog"].id, records["encoder_eval"].id}
    assert result.waiting == 1 and any("refused" in w and records["encoder"].id in w for w in result.warnings)


def test_broken_record_is_set_aside_and_the_rest_published(workspace):
    workspace.pipeline()
    broken = workspace.write(".vitrine/records/catalog/abc.json", "{ half")
    result = publish(workspace.root)
    assert len(result.published) == 3 and result.waiting == 0
    assert not broken.exists() and broken.with_suffix(".broken").read_text() == "{ half"
    assert "abc" in result.warnings[0]


def test_merge_markers_in_the_lock_keep_records_waiting(workspace):
    workspace.pipeline()
    (workspace.root / "dvc.lock").write_text("<<<<<<< HEAD\nstages: {}\n=======\n")
    result = publish(workspace.root)
    assert result.waiting == 3 and "dvc.lock" in result.warnings[0]
    workspace.write_lock()
    assert publish(workspace.root).waiting == 0


def test_two_publishers_never_work_at_once(workspace, monkeypatch):
    from components.tracking.publish import publish as module

    monkeypatch.setattr(module, "WAIT_FOR_OTHER_S", 0.2)
    workspace.pipeline()
    (workspace.root / ".vitrine").mkdir(exist_ok=True)
    with (workspace.root / ".vitrine/publish.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        result = publish(workspace.root)
    assert result.waiting == 3 and "Another sync" in result.warnings[0]
    assert publish(workspace.root).waiting == 0


KILLED = """
import os, signal, sys
from pathlib import Path
from mlflow.tracking import MlflowClient
from components.tracking.publish.publish import publish
original, calls = MlflowClient.{call}, iter(range(1, 1000))
def dying(self, *a, **k):
    if next(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, *a, **k)
MlflowClient.{call} = dying
publish(Path(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("call", ["log_batch", "log_artifacts"])
def test_next_sync_completes_what_a_sigkill_interrupted(workspace, runs_of, call):
    workspace.pipeline(parent="p1")
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(call=call), str(workspace.root)], cwd=HERE, timeout=120
    )
    assert done.returncode == -signal.SIGKILL
    assert publish(workspace.root).waiting == 0
    runs = runs_of(workspace)
    assert len(runs) == 5 and all(r.info.status == "FINISHED" for r in runs)


@pytest.mark.slow
def test_sigkill_while_the_store_is_made_leaves_no_half_schema(bare, runs_of):
    bare.pipeline(parent="p1")
    code = (
        "import sys; from pathlib import Path; from components.tracking.publish.publish import publish;"
        "publish(Path(sys.argv[1]))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(bare.root)], cwd=HERE, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    end = time.monotonic() + 120
    while time.monotonic() < end and not list((bare.root / "mlruns").glob(".mlflow.db*.tmp")):
        time.sleep(0.01)
    time.sleep(0.3)  # some tables are made by now
    child.kill()
    child.wait()
    assert not (bare.root / "mlruns/mlflow.db").exists()
    assert publish(bare.root).warnings == [] and len(runs_of(bare)) == 5

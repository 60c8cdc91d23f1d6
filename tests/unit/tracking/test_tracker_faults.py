"""Each fault of a tracker gets one sentence that says what to do; records wait, and nothing is doubled."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from components.tracking.compare.compare import compare
from components.tracking.lineage.lineage import lineage
from components.tracking.publish.publish import pending, publish
from components.tracking.registry.registry import load_path, register
from components.tracking.store import once, store_of

HERE = Path(__file__).parents[3]


class Tracker(BaseHTTPRequestHandler):
    """A server that is healthy and answers every call with ``answer``, after ``wait_s``."""

    answer, body, wait_s, asked = 200, b"{}", 0.0, 0

    def do_GET(self) -> None:
        cls = type(self)
        if self.path == "/health":
            return self._reply(200, b"OK")
        if self.path == "/version":
            return self._reply(200, b"2.9.2")
        cls.asked += 1
        time.sleep(cls.wait_s)
        return self._reply(cls.answer, cls.body)

    do_POST = do_GET  # noqa: N815

    def _reply(self, code: int, body: bytes) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Tracker]]:
    kind = type("Told", (Tracker,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        yield kind
        server.shutdown()


@pytest.mark.parametrize(
    ("answer", "body", "said"),
    [
        (401, b"You are not authenticated.", "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        (403, b"Permission denied", "ask its administrator"),
        (404, b"Not Found", "runs MLflow 2.9.2 and does not know"),
        (503, b"busy", "too many 503 error responses"),
        (500, b"{}", "too many 500 error responses"),
    ],
)
def test_what_a_server_refuses_is_one_sentence(bare, tracker, answer, body, said):
    bare.pipeline()
    tracker.answer, tracker.body = answer, body
    result = publish(bare.root)
    (warning,) = result.warnings
    assert said in warning and "Exception" not in warning and "127.0.0.1" in warning
    assert result.waiting == 3 and pending(bare.root) and tracker.asked <= 2


def test_a_slow_server_is_asked_once_and_not_for_every_record(bare, tracker):
    bare.pipeline()
    tracker.wait_s = 3.0
    start = time.perf_counter()
    (warning,) = publish(bare.root).warnings
    assert "answers too slowly" in warning and "MLFLOW_HTTP_REQUEST_TIMEOUT" in warning
    assert tracker.asked == 1 and time.perf_counter() - start < 20


def test_a_slow_server_is_asked_only_once_to_make_something(bare, tracker, monkeypatch):
    """Asked again, it would make it again: MLflow's client asks up to three times."""
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    tracker.wait_s = 1.5
    client = MlflowClient(store_of(bare.root).uri)
    with pytest.raises(Exception, match="timed out"), once():
        client.create_run("1")
    assert tracker.asked == 1 and os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "2"


def test_every_command_says_the_same_of_a_wrong_password(bare, tracker):
    bare.pipeline()
    tracker.answer, tracker.body = 401, b"You are not authenticated."
    for ask in (
        lambda: compare(bare.root, ["abcd", "efgh"]),
        lambda: lineage(bare.root, "abcd"),
        lambda: load_path(bare.root, "encoder", "champion"),
        lambda: register(bare.root, "encoder", Path("models/encoder"), "champion"),
    ):
        with pytest.raises(Exception, match="refuses this user or password"):
            ask()


def test_a_password_in_the_address_is_used_and_never_shown(bare, tracker, monkeypatch):
    address = store_of(bare.root).uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address.replace("//", "//ann:secret@"))
    bare.pipeline()
    tracker.answer = 500
    (warning,) = publish(bare.root).warnings
    assert "secret" not in warning and "does not answer" not in warning and tracker.asked


def test_tables_of_another_version_are_said_with_what_to_do(workspace):
    workspace.pipeline()
    with sqlite3.connect(workspace.root / "mlruns/mlflow.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '0123456789ab'")
    database.close()
    (warning,) = publish(workspace.root).warnings
    assert "tables of another version" in warning and "mlflow db upgrade" in warning
    assert pending(workspace.root)


def client_of(workspace):
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=store_of(workspace.root).uri)


def experiments(client):
    return [one.experiment_id for one in client.search_experiments() if one.name != "Default"]


def count_runs(workspace):
    """Runs of stages and pipelines in all experiments."""
    client = client_of(workspace)
    kinds = [run.data.tags["vitrine.kind"] for run in client.search_runs(experiments(client))]
    return kinds.count("stage") + kinds.count("pipeline")


def test_a_deleted_run_is_named_as_deleted_and_not_made_again(workspace):
    run_id = publish_one(workspace)
    client_of(workspace).delete_run(run_id)
    assert publish(workspace.root).published == {}
    with pytest.raises(Exception, match=r"deleted in MLflow.*restore"):
        lineage(workspace.root, run_id)


def publish_one(workspace):
    record = workspace.pipeline(parent="p1")["encoder"]
    return publish(workspace.root).published[record.id]


def test_a_pipeline_run_that_was_deleted_does_not_keep_its_later_stages_out(workspace):
    run_id = publish_one(workspace)
    client = client_of(workspace)
    client.delete_run(client.get_run(run_id).data.tags["mlflow.parentRunId"])
    workspace.record("report", parent="p1")
    result = publish(workspace.root)
    assert result.waiting == 0 and len(result.published) == 1 and result.warnings == []
    assert not pending(workspace.root)


def test_a_run_deleted_before_its_sync_was_done_is_not_asked_for_ever(workspace, monkeypatch):
    from mlflow.tracking import MlflowClient

    workspace.pipeline(parent="p1")
    ended = MlflowClient.set_terminated
    parents = []

    def dying(self, run_id, *a, **k):
        if self.get_run(run_id).data.tags["vitrine.kind"] == "pipeline":
            parents.append(run_id)
            raise KeyboardInterrupt
        return ended(self, run_id, *a, **k)

    monkeypatch.setattr(MlflowClient, "set_terminated", dying)
    with pytest.raises(KeyboardInterrupt):
        publish(workspace.root)
    monkeypatch.setattr(MlflowClient, "set_terminated", ended)
    client_of(workspace).delete_run(parents[0])
    assert publish(workspace.root).warnings == [] and not pending(workspace.root)


def test_a_deleted_experiment_is_named_with_how_to_restore_it(workspace):
    publish_one(workspace)
    client = client_of(workspace)
    (experiment,) = experiments(client)
    client.delete_experiment(experiment)
    workspace.record("report", parent="p2")
    (warning,) = publish(workspace.root).warnings
    assert f"mlflow experiments restore --experiment-id {experiment}" in warning and pending(workspace.root)
    client.restore_experiment(experiment)
    assert publish(workspace.root).waiting == 0


def test_a_run_of_another_commit_and_clone_is_compared_by_what_mlflow_keeps(workspace, tmp_path, monkeypatch):
    run_id = publish_one(workspace)
    address = store_of(workspace.root).uri
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", workspace.root, clone], check=True)
    workspace.commit("of which the clone knows nothing")
    workspace.clock += 100
    workspace.pipeline(parent="p2", seed=1)
    other = publish(workspace.root).published.popitem()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    told = json.dumps(asdict(lineage(clone, run_id)))
    assert run_id in told
    found = compare(clone, [run_id, other])
    assert found.as_json()


# signs that an address takes as they are, and those that are its grammar
@pytest.mark.parametrize("name", ["ö 衣 a=b&c;d, it's", "100% #1 50%20off, what?"])
def test_a_workspaces_path_may_hold_any_character(workspace, name):
    root = workspace.root.rename(workspace.root.with_name(name))
    workspace.root = root
    workspace.pipeline(parent="p1")
    result = publish(root)
    assert result.warnings == [] and result.waiting == 0
    register(root, "encoder", Path("models/encoder"), "champion")
    assert load_path(root, "encoder", "champion").is_relative_to(root / ".vitrine/models")
    assert [p.name for p in root.parent.iterdir()] == [name]  # nothing beside the workspace
    assert count_runs(workspace) == 4


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_figure_that_is_no_number_does_not_keep_its_run_out(workspace, value):
    figures = {"fine_tuned": {"mrr": {"value": value, "low": None, "n": 0}, "ndcg_at_10": {"value": 0.5}}}
    workspace.write("metrics/encoder.json", json.dumps(figures))
    record = workspace.stage("encoder_eval", ["metrics/encoder.json"], metrics={"loss": value})
    result = publish(workspace.root)
    assert result.warnings == [] and result.waiting == 0
    metrics = client_of(workspace).get_run(result.published[record.id]).data.metrics
    assert metrics and all(math.isfinite(v) for v in metrics.values())


SYNC = "import sys; from pathlib import Path; from components.tracking.publish.publish import publish\n"
SYNC += "result = publish(Path(sys.argv[1])); print(result.warnings); sys.exit(result.waiting)"


@pytest.mark.slow
def test_two_syncs_that_both_find_no_store_lose_nothing(bare):
    """A workspace and a profile's worktree share a store; each begins by making it."""
    from tests.unit.tracking.conftest import Workspace

    bare.pipeline(parent="p1")
    profile = Workspace(bare.root / ".vitrine/work/fashion")
    profile.pipeline(parent="p2")
    both = [
        subprocess.Popen([sys.executable, "-c", SYNC, str(root)], cwd=HERE, stdout=subprocess.PIPE, text=True)
        for root in (bare.root, profile.root)
    ]
    said = [one.communicate(timeout=300)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert count_runs(bare) == 8

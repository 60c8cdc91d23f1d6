"""A tracking database that an earlier version made still opens, and goes on being written.

``earlier/store.sql`` is the SQL text of such a database (one experiment for all catalogues, every figure a
metric, models only in the registry), ``earlier/files.json`` its artifacts and the workspace's records.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from pathlib import Path

import pytest

from components.tracking.compare.compare import compare
from components.tracking.lineage.lineage import lineage
from components.tracking.publish.publish import pending, publish
from components.tracking.registry.fetch import load_path
from components.tracking.store import store_of

EARLIER = Path(__file__).parent / "earlier"
FIRST, SECOND = "3e6493441d5e4b95ae2091c38e02ec99", "da25ebaa2c8e4c93bde06173db7656ed"  # of encoder_eval
TRAINING = "924318810d2f4068b6e7d8faeab0dd1c"


@pytest.fixture
def earlier(bare):
    """The workspace as the earlier version left it, with today's parameters."""
    root, key = str(bare.root), store_of(bare.root).key
    for name, content in json.loads((EARLIER / "files.json").read_text(encoding="utf-8")).items():
        whole = content if isinstance(content, str) else base64.b64decode(content["base64"])
        if name != "params.yaml":
            bare.write(name.replace("@STORE@", key), whole)
    with sqlite3.connect(bare.root / "mlruns/mlflow.db") as database:
        database.executescript((EARLIER / "store.sql").read_text(encoding="utf-8").replace("@ROOT@", root))
    database.close()
    bare.commit("as it was left")
    return bare


def all_runs(workspace):
    """Ids of the runs of stages and pipelines in every experiment, read with MLflow's own client."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=store_of(workspace.root).uri)
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return {run.info.run_id for run in found if run.data.tags["vitrine.kind"] in ("stage", "pipeline")}


def test_runs_of_an_earlier_version_are_found_compared_and_traced(earlier):
    assert not pending(earlier.root)
    found = compare(earlier.root, [FIRST[:8], SECOND[:8]])
    (figure,) = found.rows
    assert (figure.table, figure.variant, figure.metric) == ("encoder", "fine_tuned", "mrr")
    assert [one and (one.value, one.low, one.n) for one in figure.figures] == [(0.5, 0.4, 4), (0.51, 0.4, 4)]
    assert TRAINING in json.dumps(lineage(earlier.root, FIRST).as_json())


def test_a_model_registered_by_an_earlier_version_is_loaded_by_its_name(earlier):
    folder = load_path(earlier.root, "encoder", "champion")
    assert (folder / "config.json").read_text() == "{}" and (folder / "model.safetensors").exists()


def test_an_earlier_store_takes_new_runs_and_doubles_none(earlier):
    before = all_runs(earlier)
    assert publish(earlier.root).warnings == [] and len(all_runs(earlier)) == len(before) == 8
    earlier.clock += 1000
    earlier.pipeline(parent="p3", seed=2)
    result = publish(earlier.root)
    assert result.warnings == [] and len(result.published) == 3 and not pending(earlier.root)
    after = all_runs(earlier)
    assert before < after and len(after) == 12

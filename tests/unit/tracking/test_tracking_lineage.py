"""From a run back to code, data and upstream runs, and forward to registered models."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from components.tracking.errors import UnknownReferenceError
from components.tracking.lineage.lineage import lineage, tree
from components.tracking.publish.publish import link_cached, publish
from components.tracking.registry.registry import register


def run_ids(workspace, **named):
    result = publish(workspace.root)
    return {stage: result.published[record.id] for stage, record in named["records"].items()}


def text_of(found):
    from rich.console import Console

    console = Console(width=200, record=True, file=io.StringIO())
    console.print(tree(found))
    return console.export_text()


@pytest.fixture(scope="module")
def done(new_workspace):
    """A published workspace, and the run of each stage."""
    workspace = new_workspace()
    return workspace, run_ids(workspace, records=workspace.pipeline(parent="p1"))


def test_stage_is_traced_through_hashes_to_its_source(done):
    workspace, ids = done
    found = lineage(workspace.root, ids["encoder_eval"][:12])
    assert set(found.nodes) == set(ids.values())
    evaluation = found.nodes[ids["encoder_eval"]]
    assert {i.path: (i.run_id, i.by) for i in evaluation.inputs} == {
        "models/encoder": (ids["encoder"], "hash"),
        "data/catalog": (ids["catalog"], "hash"),
    }
    assert found.nodes[ids["catalog"]].inputs == []
    assert evaluation.commit == workspace.git("rev-parse", "HEAD")
    made = found.nodes[ids["encoder"]].outputs
    assert made["models/encoder"] == workspace.lock["encoder"]["outs"][0]["md5"]


def test_input_is_traced_to_the_run_that_made_these_bytes_not_to_the_newest(workspace):
    first = run_ids(workspace, records=workspace.pipeline(parent="p1"))
    second = run_ids(workspace, records=workspace.pipeline(parent="p2", seed=1))
    assert set(lineage(workspace.root, first["encoder_eval"]).nodes) == set(first.values())
    assert set(lineage(workspace.root, second["encoder_eval"]).nodes) == set(second.values())
    # and a cached one to an earlier pipeline run
    workspace.write("metrics/encoder.json", {"fine_tuned": {"mrr": {"value": 0.9, "n": 4}}})
    again = workspace.stage("encoder_eval", ["metrics/encoder.json"], ["models/encoder"], parent="p3")
    link_cached(workspace.root, "p3", ["catalog", "encoder"])
    made = publish(workspace.root).published[again.id]
    assert set(lineage(workspace.root, "p3").nodes) == {made, second["encoder"], second["catalog"]}


def test_folder_of_several_outputs_is_traced_by_its_path(workspace):
    workspace.write("data/embeddings/embeddings.parquet", "vectors")
    workspace.write("data/embeddings/meta.json", "{}")
    made = workspace.stage(
        "embeddings", ["data/embeddings/embeddings.parquet", "data/embeddings/meta.json"], parent="p1"
    )
    workspace.write("models/index/index.faiss", "index")
    index = workspace.stage("index", ["models/index"], ["data/embeddings"], parent="p1")
    ids = publish(workspace.root).published
    (entry,) = lineage(workspace.root, ids[index.id]).nodes[ids[index.id]].inputs
    assert (entry.run_id, entry.by) == (ids[made.id], "path")


def test_source_that_no_run_made_is_a_leaf(workspace):
    workspace.write("data/source/manifest.yaml", "kind: synthetic")
    workspace.write("data/catalog/a", "1")
    record = workspace.stage("catalog", ["data/catalog"], ["data/source/manifest.yaml"])
    ids = publish(workspace.root).published
    found = lineage(workspace.root, ids[record.id])
    (entry,) = found.nodes[ids[record.id]].inputs
    assert entry.run_id == "" and entry.path == "data/source/manifest.yaml"
    assert "(source)" in text_of(found)


def test_tree_shows_each_run_once_and_names_registered_models(done):
    workspace, ids = done
    register(workspace.root, "encoder", Path("models/encoder"), "challenger")
    found = lineage(workspace.root, "p1")
    assert found.nodes[ids["encoder"]].models == ["vitrine-encoder v1 @challenger"]
    text = text_of(found)
    assert text.count("registered as vitrine-encoder v1 @challenger") == 1
    assert text.count(f"catalog run {ids['catalog'][:10]} finished") == 1 and "(above)" in text
    assert text.index("encoder_eval run") < text.index("models/encoder")


def test_lineage_before_the_first_record_asks_for_sync(bare):
    with pytest.raises(UnknownReferenceError, match="vitrine sync"):
        lineage(bare.root, "abcd")

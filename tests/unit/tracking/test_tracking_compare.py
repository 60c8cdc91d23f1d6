"""Two runs, profiles or commits side by side."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import pytest

from components.stage.record import Interval
from components.tracking.compare.compare import compare, compared
from components.tracking.compare.sides import Side
from components.tracking.compare.view import around_difference, interval, show
from components.tracking.errors import UnknownReferenceError
from components.tracking.publish.publish import link_cached, publish


def mean_difference(a, b, seed):
    """A stand-in for the paired test: it shows which values were paired, in which order."""
    gaps = [x - y for x, y in zip(a, b, strict=True)]
    return SimpleNamespace(
        difference=sum(gaps) / len(gaps), low=min(gaps), high=max(gaps), p=0.5, n=len(gaps)
    )


@pytest.fixture(scope="module")
def two_commits(new_workspace):
    workspace = new_workspace()
    workspace.pipeline(parent="p1")
    first = workspace.commit("first")
    publish(workspace.root)
    workspace.pipeline(parent="p2", seed=2)
    second = workspace.commit("second")
    publish(workspace.root)
    return workspace, first, second


def check(found):
    assert [(c.name, c.a, c.b) for c in found.parameters] == [("encoder.lr", "0.1", "2.1")]
    assert {c.name for c in found.data} == {
        "data/catalog", "models/encoder", "metrics/encoder.json", "results/per_query/encoder.parquet",
    }  # fmt: skip
    (row,) = found.metrics
    assert (row.table, row.variant, row.metric) == ("encoder", "fine_tuned", "mrr")
    assert row.a == Interval(value=0.5, low=0.4, high=0.6, n=4) and row.b.value == 0.52


def test_commits_are_compared_without_a_tracker(two_commits, monkeypatch):
    workspace, first, second = two_commits
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    check(compare(workspace.root, first, second))
    check(compare(workspace.root, first[:10], "main"))
    check(compare(workspace.root, "git:HEAD~1", "."))


def test_runs_are_compared_by_prefix_and_by_pipeline(two_commits):
    workspace, _, _ = two_commits
    check(compare(workspace.root, "p1", "run:p2"))


def test_run_and_commit_say_the_same(two_commits):
    workspace, first, _ = two_commits
    found = compare(workspace.root, "run:p1", first)
    assert found.parameters == [] and found.data == [] and found.metrics[0].a == found.metrics[0].b


def test_run_counts_its_cached_stages(workspace):
    workspace.pipeline(parent="p1")
    publish(workspace.root)
    workspace.write("metrics/encoder.json", {"fine_tuned": {"mrr": {"value": 0.9, "n": 4}}})
    workspace.stage(
        "encoder_eval",
        ["metrics/encoder.json", "results/per_query/encoder.parquet"],
        ["models/encoder"],
        parent="p2",
    )
    link_cached(workspace.root, "p2", ["catalog", "encoder"])
    publish(workspace.root)
    found = compare(workspace.root, "p1", "p2")
    assert found.parameters == [] and [c.name for c in found.data] == ["metrics/encoder.json"]


def test_profiles_are_compared_from_their_results_and_branch(two_commits):
    workspace, first, second = two_commits
    for name, value, commit in (("demo", 0.5, first), ("fashion", 0.52, second)):
        interval_ = {"value": value, "low": 0.4, "high": 0.6, "n": 4}
        workspace.write(f"results/{name}/encoder.json", {"fine_tuned": {"mrr": interval_}})
        workspace.write(f"results/{name}/run.json", {"commit": commit, "dirty": False})
        workspace.git("branch", f"profile/{name}", commit)
    check(compare(workspace.root, "demo", "fashion"))


def with_queries(workspace, queries, seed, parent):
    workspace.write("data/checked/queries.parquet", queries)
    workspace.stage("catalog_quality", ["data/checked"])
    workspace.pipeline(parent=parent, seed=seed)
    return workspace.commit(parent)


def test_paired_tests_use_the_same_queries_in_the_same_order(workspace):
    first = with_queries(workspace, "queries", 0, "p1")
    workspace.write("data/checked/other.parquet", "the folder differs, its queries do not")
    second = with_queries(workspace, "queries", 1, "p2")
    found = compare(workspace.root, first, second, mean_difference)
    tests = {t.metric: t for t in found.tests}
    gaps = [1 / (i + 1) - 1 / (i + 2) for i in range(4)]
    assert tests["mrr"].difference == pytest.approx(sum(gaps) / 4) and tests["mrr"].n == 4
    assert (tests["mrr"].low, tests["mrr"].high) == pytest.approx((min(gaps), max(gaps)))
    assert tests["mrr"].a == pytest.approx(sum(1 / (i + 1) for i in range(4)) / 4)
    assert tests["ndcg"].n == 3  # undefined for one query


def test_equal_ids_of_other_queries_are_not_paired(workspace):
    first = with_queries(workspace, "queries of seed 0", 0, "p1")
    second = with_queries(workspace, "queries of seed 1", 1, "p2")
    found = compare(workspace.root, first, second, mean_difference)
    assert found.tests == [] and any("different queries" in note for note in found.notes)


def test_unknown_queries_are_not_paired(two_commits):
    workspace, first, second = two_commits
    found = compare(workspace.root, first, second, mean_difference)
    assert found.tests == [] and any("nothing here shows" in note for note in found.notes)


def test_missing_per_query_results_are_named_in_a_note(workspace):
    first = with_queries(workspace, "queries", 0, "p1")
    second = with_queries(workspace, "queries", 1, "p2")
    md5 = workspace.lock["encoder_eval"]["outs"][1]["md5"]
    (workspace.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).unlink()
    (workspace.root / "results/per_query/encoder.parquet").unlink()
    found = compare(workspace.root, first, second, mean_difference)
    assert found.tests == [] and any("dvc pull" in note for note in found.notes)


def test_partly_shared_queries_are_not_tested(per_query_bytes):

    a = Side("a", "run", per_query={"encoder": per_query_bytes(0, 4)}, queries="q")
    b = Side("b", "run", per_query={"encoder": per_query_bytes(1, 6)}, queries="q")
    found = compared(a, b, mean_difference, 0)
    assert found.tests == [] and any("4 of 6 queries" in note for note in found.notes)


@pytest.mark.parametrize("name", ["nothing", "git:nothing", "profile:nothing", "ab", "it's", "-rf"])
def test_unknown_name_is_refused_by_name(two_commits, name):
    workspace, first, _ = two_commits
    with pytest.raises(UnknownReferenceError, match=name.split(":")[-1]):
        compare(workspace.root, first, name)


def test_ambiguous_prefix_is_refused_with_the_runs_it_fits(two_commits, monkeypatch):
    from components.tracking.publish import runs

    workspace, first, _ = two_commits
    monkeypatch.setattr(runs, "SHORTEST_PREFIX", 0)
    with pytest.raises(UnknownReferenceError, match="more characters"):
        compare(workspace.root, first, "run:")


def test_terminal_shows_intervals_differences_and_notes(two_commits):
    from rich.console import Console

    workspace, first, second = two_commits
    console = Console(width=80, record=True, file=io.StringIO())
    found = compare(workspace.root, first[:10], second[:10], mean_difference)
    show(found, console)
    text = console.export_text()
    for said in ("0.500", "[0.400, 0.600]", "n=4", "encoder.lr", "-0.0200", "Note:"):
        assert said in text
    assert "…" not in text
    same = Console(width=80, record=True, file=io.StringIO())
    show(compare(workspace.root, first, first, mean_difference), same)
    assert "Metrics: no difference" in same.export_text()
    assert interval(None) == "–"
    assert json.loads(json.dumps(found.as_json()))["metrics"][0]["a"]["value"] == 0.5


def test_a_long_value_is_shown_where_it_differs() -> None:
    claims = "[" + ", ".join(f'{{"claim": {i}}}' for i in range(40)) + "]"
    a, b = around_difference(claims, claims.replace('{"claim": 20}', '{"claim": "other"}'))
    assert a is not None and b is not None
    assert '{"claim": 20}' in a and '{"claim": "other"}' in b and a.startswith("…") and a.endswith("…")
    assert max(len(a), len(b)) < 100 and '{"claim": 1}' not in a
    assert around_difference("0.1", None) == ["0.1", None]
    assert around_difference(claims, None)[1] is None

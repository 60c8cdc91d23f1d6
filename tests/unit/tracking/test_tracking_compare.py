"""Two runs, profiles or commits side by side."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from components.retrieval.significance import paired_bootstrap
from components.stage.record import Interval
from components.tracking.compare.compare import Wanted, compared
from components.tracking.compare.compare import compare as compare_sides
from components.tracking.compare.page import page_path, render, write_page
from components.tracking.compare.recorded import log_page, side_of
from components.tracking.compare.sides import Side, take_figures
from components.tracking.compare.view import around_difference, interval, show
from components.tracking.errors import OtherCatalogueError, UnknownReferenceError
from components.tracking.publish.publish import link_cached, publish
from components.tracking.registry.registry import register
from components.tracking.store import connect, store_of
from tests.accessible import assert_structured
from tests.unit.tracking.conftest import as_parquet


def mean_difference(a, b, groups):
    """A stand-in for the paired test: it shows which values were paired, in which order."""
    gaps = [x - y for x, y in zip(a, b, strict=True)]
    return SimpleNamespace(
        difference=sum(gaps) / len(gaps), low=min(gaps), high=max(gaps), p=0.5, n=len(gaps)
    )


def compare(root, a, b, paired=None, force=False):
    return compare_sides(root, [a, b], Wanted(paired, force=force))


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
    assert [(c.name, *c.values) for c in found.parameters] == [("encoder.lr", "0.1", "2.1")]
    assert {c.name for c in found.data} == {
        "data/catalog", "models/encoder", "metrics/encoder.json", "results/per_query/encoder.parquet",
    }  # fmt: skip
    (row,) = found.rows
    assert (row.table, row.variant, row.metric) == ("encoder", "fine_tuned", "mrr")
    assert row.figures[0] == Interval(value=0.5, low=0.4, high=0.6, n=4) and row.figures[1].value == 0.52


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
    assert found.parameters == [] and found.data == [] and not found.rows[0].differs


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
    with pytest.raises(OtherCatalogueError, match=r"different catalogues \('demo'.*--force"):
        compare(workspace.root, "demo", "fashion")
    found = compare(workspace.root, "demo", "fashion", force=True)
    check(found)
    assert found.as_json()["different_catalogues"] and "Different catalogues" in render(found)


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
    gaps = [1 / (i + 2) - 1 / (i + 1) for i in range(4)]
    assert tests["mrr"].difference == pytest.approx(sum(gaps) / 4) and tests["mrr"].n == 4
    assert (tests["mrr"].low, tests["mrr"].high) == pytest.approx((min(gaps), max(gaps)))
    assert tests["mrr"].reference == pytest.approx(sum(1 / (i + 1) for i in range(4)) / 4)
    assert tests["ndcg_at_10"].n == 3  # undefined for one query


def test_equal_ids_of_other_queries_are_not_paired(workspace):
    first = with_queries(workspace, "queries of seed 0", 0, "p1")
    second = with_queries(workspace, "queries of seed 1", 1, "p2")
    found = compare(workspace.root, first, second, mean_difference)
    assert found.tests == [] and any("nothing shows" in note for note in found.notes)


def test_unknown_queries_are_not_paired(two_commits):
    workspace, first, second = two_commits
    found = compare(workspace.root, first, second, mean_difference)
    assert found.tests == [] and any("nothing shows" in note for note in found.notes)


def test_missing_per_query_results_are_named_in_a_note(workspace):
    first = with_queries(workspace, "queries", 0, "p1")
    second = with_queries(workspace, "queries", 1, "p2")
    md5 = workspace.lock["encoder_eval"]["outs"][1]["md5"]
    (workspace.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).unlink()
    (workspace.root / "results/per_query/encoder.parquet").unlink()
    found = compare(workspace.root, first, second, mean_difference)
    assert found.tests == [] and any("dvc pull" in note for note in found.notes)


def test_partly_shared_queries_are_tested_on_what_is_shared_and_noted(workspace, per_query_bytes):
    a = Side("a", "run", per_query={"encoder": per_query_bytes(0, 4)}, queries="q")
    b = Side("b", "run", per_query={"encoder": per_query_bytes(1, 6)}, queries="q")
    test = compared(workspace.root, [a, b], Wanted(mean_difference)).tests[-1]
    assert test.metric == "mrr" and test.n == 4
    (note, *_) = compared(workspace.root, [a, b], Wanted(mean_difference)).notes
    assert "at least 67% of the rows" in note


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
    workspace, first, second = two_commits
    console = Console(width=80, record=True, file=io.StringIO())
    found = compare(workspace.root, first[:10], second[:10], mean_difference)
    show(found, console)
    text = console.export_text()
    for said in ("0.500", "0.520", "encoder.lr", "+0.020", "Note:"):
        assert said in text
    assert len(text.splitlines()) <= 60 and max(map(len, text.splitlines())) <= 80
    same = Console(width=80, record=True, file=io.StringIO())
    show(compare(workspace.root, first, first, mean_difference), same)
    assert "Figures: no difference" in same.export_text()
    assert interval(None) == "–"
    assert (
        json.loads(json.dumps(found.as_json(), allow_nan=False))["figures"][0]["figures"][0]["value"] == 0.5
    )


def test_names_are_folded_on_the_terminal_and_never_cut(two_commits):
    workspace, first, second = two_commits
    long = "constrained_hallucination_rate_category_kitchen_and_dining_of_the_test_split"
    sides = [side_of(workspace.root, first), side_of(workspace.root, second)]
    for side, value in zip(sides, (0.1, 0.2), strict=True):
        side.parameters[f"encoder.{long}"] = str(value)
        text = json.dumps({"dpo": {long: {"value": value, "low": 0, "high": 1, "n": 4}}})
        take_figures(side, "metrics/listing.json", text)
    console = Console(width=80, record=True, file=io.StringIO())
    show(compared(workspace.root, sides, Wanted(mean_difference)), console)
    printed = console.export_text()
    starts = [line[: line.index("  ")] if "  " in line else line for line in printed.splitlines()]
    assert "".join(starts).replace(" ", "").count(long) >= 2, printed
    assert len(printed.splitlines()) <= 60


def test_a_long_value_is_shown_where_it_differs() -> None:
    claims = "[" + ", ".join(f'{{"claim": {i}}}' for i in range(40)) + "]"
    a, b = around_difference([claims, claims.replace('{"claim": 20}', '{"claim": "other"}')])
    assert a is not None and b is not None
    assert '{"claim": 20}' in a and '{"claim": "other"}' in b and a.startswith("…") and a.endswith("…")
    assert max(len(a), len(b)) < 100 and '{"claim": 1}' not in a
    assert around_difference(["0.1", None]) == ["0.1", None]
    assert around_difference([claims, None])[1] is None


def test_page_shows_text_of_others_as_text_and_asks_nothing_of_the_network(two_commits):
    workspace, first, second = two_commits
    hostile = '<script>alert(1)</script>\u202e[bold]\x1b[31m "quoted" %41 / é'
    workspace.git("branch", "-f", "feature/é%41", second)
    sides = [side_of(workspace.root, first), side_of(workspace.root, "git:feature/é%41")]
    sides[1].name, sides[1].parameters["encoder.note"] = hostile, hostile
    sides[0].parameters["encoder.note"] = "plain"
    found = compared(workspace.root, sides, Wanted(mean_difference))
    page = render(found)
    assert_structured(page)
    assert "<script" not in page and "\u202e" not in page and "\x1b" not in page
    assert "default-src 'none'" in page and "http://" not in page and "https://" not in page
    path = page_path(workspace.root, found)
    assert path.parent == workspace.root / "reports/compare" and path.name.isascii() and "%" not in path.name
    console = Console(width=80, record=True, file=io.StringIO())
    show(found, console)
    printed = console.export_text()
    assert "[bold]" in printed and "\x1b" not in printed and "\u202e" not in printed


def test_figures_that_are_no_numbers_are_noted_and_left_out():
    side = Side("a", "run")
    take_figures(
        side,
        "metrics/x.json",
        '{"v": {"m": {"value": NaN, "n": 4}, "k": {"value": null}, "s": {"value": 1}}}',
    )
    assert (
        list(side.metrics) == [("x", "v", "s")]
        and "2 figures of metrics/x.json are undefined" in side.notes[0]
    )
    take_figures(side, "metrics/y.json", "{")
    assert "not valid JSON" in side.notes[1]


def test_profile_without_results_says_how_to_get_them(two_commits):
    workspace, first, _ = two_commits
    workspace.write("conf/empty.yaml", "encoder: {lr: 1}")
    for name in ("empty", "profile:empty"):
        with pytest.raises(UnknownReferenceError, match="no results here: vitrine run --profile empty"):
            compare(workspace.root, first, name)
    with pytest.raises(UnknownReferenceError, match="Did you mean 'empty'"):
        compare(workspace.root, first, "emtpy")
    with pytest.raises(UnknownReferenceError, match="is not a run") as told:
        compare(workspace.root, first, "run:HEDA")  # neither a profile nor HEAD can be meant
    assert "Did you mean" not in str(told.value)


def test_stages_that_have_not_run_since_their_inputs_changed_are_left_out(workspace):
    first = with_queries(workspace, "queries", 0, "p1")
    workspace.write("data/catalog/queries.parquet", "other queries")
    workspace.stage("catalog", ["data/catalog"])
    found = compare(workspace.root, first, ".")
    assert all(row.figures[1] is None for row in found.rows)
    assert any("left out, for their inputs have changed since: encoder" in note for note in found.notes)


def test_sides_that_differ_in_seeds_alone_stand_together(workspace, per_query_bytes):
    def side(name, rate, seed, value):
        figure = {("encoder", "v", "mrr"): Interval(value=value, low=value - 0.1, high=value + 0.1, n=4)}
        parameters = {"encoder.seed": str(seed), "encoder.rate": rate}
        raw = {"encoder.parquet": per_query_bytes(seed, 4)}
        return Side(name, "run", parameters=parameters, metrics=figure, per_query=raw, queries="q")

    sides = [
        side("a1", "1", 0, 0.5),
        side("a2", "1", 1, 0.7),
        side("b1", "2", 0, 0.4),
        side("b2", "2", 2, 0.6),
    ]
    found = compared(workspace.root, sides, Wanted(mean_difference))
    assert [len(group.members) for group in found.groups] == [2, 2]
    (row,) = found.rows
    assert [figure.value for figure in row.figures] == pytest.approx([0.6, 0.5])
    assert row.spreads == ((0.5, 0.7), (0.4, 0.6))
    test = next(t for t in found.tests if t.metric == "mrr")
    values = [sum((1 / (i + 1) + 1 / (i + 1 + seed)) / 2 for i in range(4)) / 4 for seed in (1, 2)]
    assert (test.reference, test.value) == pytest.approx(tuple(values))
    assert len(compared(workspace.root, sides, Wanted(mean_difference, apart=True)).groups) == 4
    assert len(compared(workspace.root, sides[:2], Wanted(mean_difference)).groups) == 2


def test_deleted_run_is_named_with_the_command_that_restores_it(two_commits):
    workspace, first, _ = two_commits
    client = connect(store_of(workspace.root))
    experiments = [one.experiment_id for one in client.search_experiments()]
    run = client.search_runs(experiments, "tags.`vitrine.pipeline` = 'p2'")[0].info.run_id
    client.delete_run(run)
    try:
        with pytest.raises(UnknownReferenceError, match=f"runs restore --run-id {run}"):
            compare(workspace.root, first, f"run:{run[:12]}")
    finally:
        client.restore_run(run)


def test_models_are_compared_by_what_was_measured_with_them_and_keep_the_page(two_commits):
    workspace, _, second = two_commits
    made = register(workspace.root, "encoder", Path("models/encoder"), "champion")
    found = compare(workspace.root, second, f"model:{made.name}@champion")
    (row,) = found.rows
    assert row.figures[0] == row.figures[1] and found.groups[1].first.runs == (made.run_id,)
    page = page_path(workspace.root, found)
    write_page(found, page)
    logged = log_page(workspace.root, page, [group.first for group in found.groups])
    assert made.run_id in logged and len(logged) == 2  # the commit is known by the bytes of its results
    names = [item.path for item in connect(store_of(workspace.root)).list_artifacts(made.run_id, "compare")]
    assert names == [f"compare/{page.name}"]


def test_five_thousand_queries_take_seconds_a_small_page_and_one_screen(workspace):
    from components.tracking.__main__ import SAMPLES

    def paired(a, b, groups):
        return paired_bootstrap(a, b, 0, SAMPLES, groups)

    sides = [Side(name, "run", per_query={"encoder/encoder.parquet": many_queries(i)}, queries="q")
             for i, name in enumerate("ab")]  # fmt: skip
    for i, side in enumerate(sides):
        for k in range(400):
            side.metrics["encoder", "v0", f"metric_{k}"] = Interval(value=0.5 + i / 10, n=5000)
            side.parameters[f"encoder.p{k}"] = str(i)
    started = time.process_time()
    found = compared(workspace.root, sides, Wanted(paired))
    page = render(found)
    assert time.process_time() - started < 5
    assert len(page.encode()) < 3_000_000 and len(found.tests) == 4 * 5
    console = Console(width=80, record=True, file=io.StringIO())
    show(found, console, "page.html")
    assert len(console.export_text().splitlines()) <= 60


def test_sets_of_values_are_compared_value_by_value(workspace):
    def asked(*predicted):
        rows = zip(("p1", "p1", "p2"), ("climate", "colour", "climate"), predicted, strict=True)
        truth = {("p1", "climate"): '["Indoor", "Warm"]', ("p1", "colour"): "red", ("p2", "climate"): "[wet"}
        return as_parquet([
            {"variant": "v", "product_id": p, "attribute": a, "truth": truth[p, a], "predicted": said}
            for p, a, said in rows
        ])  # fmt: skip

    def wrote(score, *climate):
        said = [{"name": "climate", "value": value} for value in climate]
        true = [{"name": "climate", "value": value} for value in ("Indoor", "Warm")]
        row = {"variant": "v", "product_id": "p1", "attribute_f1": score, "truth_title": "Coat"}
        row |= {"generated_attributes": said, "truth_attributes": true, "generated_title": "Coat"}
        return as_parquet([row])

    answers, listings = "encoder/attributes.parquet", "listing/listing.parquet"
    files = [
        {answers: asked("Cold", "red", "[wet"), listings: wrote(0.5, "Cold", "Warm")},
        {answers: asked("Warm", "red", "dry"), listings: wrote(1.0, "Indoor", "Warm")},
    ]
    sides = [Side(name, "run", per_query=held, queries="q") for name, held in zip("ab", files, strict=True)]
    found = compared(workspace.root, sides, Wanted(mean_difference))
    accuracy = next(test for test in found.tests if test.metric == "attribute_accuracy" and not test.slice)
    assert (accuracy.reference, accuracy.value, accuracy.won, accuracy.lost) == (2 / 3, 2 / 3, 1, 1)
    (listing,) = [one for one in found.galleries if one.table == "listing"]
    before, after = listing.won[0].answers
    assert before.attributes == (("climate", "Cold", False), ("climate", "Warm", True))
    assert after.attributes == (("climate", "Indoor", True), ("climate", "Warm", True))


def many_queries(seed, queries=5000, variants=4):
    """Per-query results of four systems, with two kinds of queries."""
    import numpy as np

    n, generator = queries * variants, np.random.default_rng(seed)
    columns = {
        "variant": np.repeat([f"v{i}" for i in range(variants)], queries),
        "task": ["queries"] * n,
        "query_id": [f"q{i}" for i in range(queries)] * variants,
        "kind": ["visual", "textual"] * (n // 2),
        "text": [f"query {i}" for i in range(queries)] * variants,
        "hits_at_5": (generator.random(n) < 0.5).astype(float),
        "mrr": generator.random(n),
        "ndcg_at_10": generator.random(n),
        "top": [["p1", "p2"]] * n,
    }
    return as_parquet([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])

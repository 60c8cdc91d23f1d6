"""The graph as DVC resolves it: order, reasons, systems, --from and --until."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.parameters.runner import RunnerParams
from components.stage.record import StageResult
from components.tracking.lineage.repair import clear_dead_locks
from flows.errors import SelectionError, StageFailedError, WorkspaceError
from flows.run import partial
from flows.run.graph import Graph, StageMeta, StageNode, read_graph, select, stale
from flows.run.partial import absent_outputs, partial_report, with_report
from flows.run.stages import PipelineRun
from tests.flows.toy_workspace import command, make_workspace, settings


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which plain DVC has computed everything."""
    root = make_workspace(tmp_path_factory.mktemp("graph") / "toy")
    (root / "studies").mkdir()
    study = "stages:\n  ablation:\n    wdir: ..\n    cmd: python -m toy note\n    outs: [out/ablation.txt]\n"
    (root / "studies" / "dvc.yaml").write_text(study)
    command(root, "dvc", "repro", "-q", "dvc.yaml")
    return root


def test_order_parents_and_what_is_fresh(computed: Path) -> None:
    graph = read_graph(computed)
    assert list(graph.stages) == ["make", "scale", "sum", "note"]  # and nothing of studies/
    assert graph.stages["sum"].parents == ("scale",)
    assert graph.stages["scale"].meta == StageMeta(retries=1, retry_delay_s=0.1)
    assert graph.reasons == {} and stale(graph, graph.stages) == ()
    assert all(len(node.lock) == 64 for node in graph.stages.values())


def test_the_study_is_a_system_of_its_own(computed: Path) -> None:
    graph = read_graph(computed, study=True)
    ablation = "studies/dvc.yaml:ablation"
    assert graph.stages[ablation].in_study and "not computed yet" in graph.reasons[ablation]
    assert select(graph, "study") == (ablation,)
    assert ablation not in select(graph, "all")


def test_a_changed_parameter_names_itself_and_what_lies_downstream(computed: Path) -> None:
    settings(computed, factor=5)
    try:
        graph = read_graph(computed)
        assert graph.reasons == {"scale": ("parameter toy.factor modified",)}
        assert stale(graph, select(graph, "all")) == ("scale", "sum")
        assert graph.why("sum") == ("downstream of scale",) and graph.why("note") == ()
    finally:
        settings(computed)


def test_a_missing_output_and_an_edited_command_are_reasons(computed: Path) -> None:
    kept = (computed / "out" / "note.txt").read_bytes()
    stage_command = computed / "toy" / "__main__.py"
    text = stage_command.read_text()
    (computed / "out" / "note.txt").unlink()
    stage_command.write_text(text + "\n# edited\n")
    try:
        graph = read_graph(computed)
        assert set(graph.reasons["note"]) == {"toy/__main__.py modified", "output out/note.txt missing"}
        assert graph.reasons["make"] == ("toy/__main__.py modified",)
    finally:
        stage_command.write_text(text)
        (computed / "out" / "note.txt").write_bytes(kept)


def test_a_selection_is_a_system_or_a_range_of_stages_and_a_wrong_one_is_refused(computed: Path) -> None:
    graph = read_graph(computed)
    assert select(graph, "encoder") == ("make", "scale", "sum")
    assert select(graph, "opal") == ("make",)
    assert select(graph, "all", first="scale") == ("scale", "sum")
    assert select(graph, "all", last="scale") == ("make", "scale")
    assert select(graph, "all", "scale", "scale") == ("scale",)
    for arguments, text in [
        (("fusion",), "known: all, study, encoder, opal"),
        (("all", "sacle"), r"did you mean scale\?"),
        (("opal", "sum"), "no stage of system 'opal'"),
        (("all", "note", "sum"), "No stage lies between"),
    ]:
        with pytest.raises(SelectionError, match=text) as caught:
            select(graph, *arguments)
        assert caught.value.exit_code == 2


def test_a_wrong_meta_key_and_a_broken_graph_are_configuration_errors(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "toy")
    text = (root / "dvc.yaml").read_text()
    (root / "dvc.yaml").write_text(text.replace("retries: 1", "retrys: 1"))
    with pytest.raises(Exception, match=r"stages\.scale\.meta\.retrys: unknown key") as caught:
        read_graph(root)
    assert getattr(caught.value, "exit_code", None) == 2
    (root / "dvc.yaml").write_text(text.replace("deps: [out/scale.json]", "deps: [metrics/toy.json]"))
    with pytest.raises(WorkspaceError, match="DVC cannot read the graph"):
        read_graph(root)
    assert not clear_dead_locks(root)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any acyclic graph: each stage may read from any stage before it."""
    names = [f"s{i}" for i in range(draw(st.integers(1, 8)))]
    nodes = {}
    for i, name in enumerate(names):
        parents = draw(st.sets(st.sampled_from(names[:i]))) if i else set()
        nodes[name] = StageNode(name, tuple(sorted(parents)), StageMeta(), "", ())
    changed = draw(st.sets(st.sampled_from(names)))
    return Graph(nodes, dict.fromkeys(changed, ("changed",)))


@given(graphs(), st.data())
def test_stale_stages_are_those_changed_and_everything_downstream(graph: Graph, data: st.DataObject) -> None:
    import networkx as nx

    plain = nx.DiGraph([(parent, name) for name, node in graph.stages.items() for parent in node.parents])
    plain.add_nodes_from(graph.stages)
    work = set(stale(graph, graph.stages))
    assert work == set(graph.reasons).union(*(nx.descendants(plain, name) for name in graph.reasons))
    assert all(bool(graph.why(name)) == (name in work) for name in graph.stages)
    first, last = (data.draw(st.sampled_from(list(graph.stages))) for _ in range(2))
    between = ({first} | nx.descendants(plain, first)) & ({last} | nx.ancestors(plain, last))
    if between:
        chosen = select(graph, "all", first, last)
        assert set(chosen) == between
        assert all(
            chosen.index(p) < chosen.index(n) for n in chosen for p in graph.stages[n].parents if p in chosen
        )
    else:
        with pytest.raises(SelectionError):
            select(graph, "all", first, last)


def test_outputs_of_a_failed_stage_and_of_its_readers_are_named_with_its_sentence() -> None:
    nodes = {}
    for name, parents in (("data", ()), ("train", ("data",)), ("eval", ("train",)), ("other", ("data",))):
        outs = (f"models/{name}", f"metrics/{name}.json")
        nodes[name] = StageNode(name, parents, StageMeta(), "", (), outs)
    job = PipelineRun("r", Path(), "all", Graph(nodes, {}), tuple(nodes), RunnerParams(stages_at_once=1))
    for name, state in (("data", "cached"), ("train", "failed"), ("other", "ran")):
        job.finish(StageResult(name, state, error="boom"))  # type: ignore[arg-type]
    absent = absent_outputs(job, StageFailedError("train", "boom", 1))
    paths = [f"{kind}/{name}" for name in ("train", "eval") for kind in ("models", "metrics")]
    assert sorted(path.removesuffix(".json") for path in absent) == sorted(paths)
    assert set(absent.values()) == {"stage train failed: boom"}
    assert nodes["eval"].metrics == ["eval"]


def system_run(root: Path, *changed: str, system: str = "opal") -> PipelineRun:
    """A run of one system of a graph with two and a report; ``changed`` stages are out of date."""
    nodes = {}
    reads = {"data": (), "opal": ("data",), "fusion": ("data",), "report": ("fusion", "opal")}
    for name, parents in reads.items():
        nodes[name] = StageNode(name, parents, StageMeta(system=name), "", (), (f"metrics/{name}.json",))
    graph = Graph(nodes, dict.fromkeys(changed, ("changed",)))
    stages = with_report(graph, select(graph, system))
    return PipelineRun("r", root, system, graph, stages, RunnerParams(stages_at_once=1))


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What each partial page that is asked for would leave out."""
    asked: list[dict[str, str]] = []
    monkeypatch.setattr(partial, "passed_on", lambda root, command: asked.append(json.loads(command[-1])))
    return asked


def test_a_run_of_one_system_refreshes_the_report_where_the_others_are_up_to_date(
    tmp_path: Path, pages: list[dict[str, str]]
) -> None:
    job = system_run(tmp_path, "opal")
    assert job.stages == ("data", "opal", "report")
    with partial_report(job):
        pass
    assert pages == []
    assert system_run(tmp_path, "opal", system="report").stages == tuple(job.graph.stages)


def test_a_run_of_one_system_ends_with_a_partial_page_where_the_others_are_out_of_date(
    tmp_path: Path, pages: list[dict[str, str]]
) -> None:
    job = system_run(tmp_path, "opal", "fusion")
    assert job.stages == ("data", "opal")
    with partial_report(job):
        pass
    why = "not up to date; this run was of opal alone"
    assert pages == [{"metrics/fusion.json": why, "metrics/report.json": why}]
    with partial_report(job, whole=False):
        pass
    assert len(pages) == 1, "a range of stages is no system"


def test_an_unchanged_system_does_not_build_its_page_again_and_a_failed_one_does(
    tmp_path: Path, pages: list[dict[str, str]]
) -> None:
    page = tmp_path / "reports/partial/index.html"
    page.parent.mkdir(parents=True)
    page.write_text("")
    with partial_report(system_run(tmp_path, "fusion")):
        pass
    assert pages == [] and page.exists()
    job = system_run(tmp_path, "opal", "fusion")
    job.finish(StageResult("opal", "failed", error="boom"))
    with pytest.raises(StageFailedError), partial_report(job):
        raise StageFailedError("opal", "boom", 1)
    assert pages[0]["metrics/opal.json"] == "stage opal failed: boom" and "metrics/fusion.json" in pages[0]
    assert not page.exists()

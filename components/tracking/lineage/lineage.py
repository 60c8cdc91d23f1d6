"""From a run back to code, data and the runs that made its inputs, and forward to registered models."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.tree import Tree

from components.tracking.publish.run_content import DEP, OUT
from components.tracking.publish.runs import Runs, tracking_params
from components.tracking.store import store_of

SHOWN = 10  # characters of a hash or an id


@dataclass
class Input:
    """A data dependency and where it comes from: a run, or "" for a source that no recorded run made."""

    path: str
    md5: str
    run_id: str = ""
    by: str = ""  # hash: the run's output has this very hash; path: the folder holds its outputs


@dataclass
class Node:
    """One stage run in the lineage; ``models`` are name, version and aliases of those registered from it."""

    run_id: str
    stage: str
    status: str
    commit: str
    dirty: str
    lock_entry: str
    outputs: dict[str, str]  # path -> DVC's hash
    inputs: list[Input]
    models: list[str]


@dataclass
class Lineage:
    """``asked`` stage runs and every run upstream of them, by run id."""

    run_id: str
    pipeline: str
    asked: list[str]
    nodes: dict[str, Node] = field(default_factory=dict)


def lineage(root: Path, run: str) -> Lineage:
    """Trace a run: its own inputs if it is a stage's, those of all its stages if it is a pipeline's.

    An input is traced to the run whose output has its hash: of the same pipeline run if there is one, else
    the first that made it.

    Raises UnknownReferenceError: no such run; TrackerUnavailableError: the store does not answer.
    """
    root = root.resolve()
    runs = Runs.open(store_of(root), tracking_params(root).experiment)
    start = runs.named(run)
    todo, tags = runs.members(start), start.data.tags
    asked = [member.info.run_id for member in todo]
    found = Lineage(start.info.run_id, tags.get("vitrine.pipeline_run", ""), asked)
    parent = runs.get(tags["mlflow.parentRunId"]) if "mlflow.parentRunId" in tags else None
    near = runs.members(parent) if parent else list(todo)
    while todo:
        current = todo.pop()
        if current.info.run_id not in found.nodes:
            node, upstream = _node(runs, current, near)
            found.nodes[node.run_id] = node
            todo += upstream
    return found


def _node(runs: Runs, run: Any, near: list[Any]) -> tuple[Node, list[Any]]:
    tags, run_id = run.data.tags, run.info.run_id
    inputs: list[Input] = []
    upstream: list[Any] = []
    for key, md5 in sorted(tags.items()):
        if key.startswith(DEP):
            path = key.removeprefix(DEP)
            makers, by = _makers(runs, path, md5, near, run_id)
            inputs += [Input(path, md5, m.info.run_id, by) for m in makers] or [Input(path, md5)]
            upstream += makers
    models = []
    for found in runs.client.search_model_versions(f"run_id='{run_id}'"):
        # The search leaves aliases out on some stores; the version itself has them.
        whole = runs.client.get_model_version(found.name, found.version)
        models.append(" @".join([f"{found.name} v{found.version}", *sorted(whole.aliases)]))
    commit, dirty, entry = (tags.get(f"vitrine.{name}", "") for name in ("git_commit", "dirty", "lock_entry"))
    made = {key.removeprefix(OUT): value for key, value in tags.items() if key.startswith(OUT)}
    stage = tags.get("vitrine.stage", run.info.run_name)
    return Node(run_id, stage, run.info.status, commit, dirty, entry, made, inputs, sorted(models)), upstream


def _makers(runs: Runs, path: str, md5: str, near: list[Any], asking: str) -> tuple[list[Any], str]:
    """Where an input comes from: by its hash, else by the folder that holds outputs of a run beside it."""
    tag, others = f"{OUT}{path}", [one for one in near if one.info.run_id != asking]
    makers = [one for one in others if one.data.tags.get(tag) == md5]
    if not makers and not set("`'") & set(tag + md5):  # MLflow's filter language has no escape
        makers = [m for m in runs.search(f"tags.`{tag}` = '{md5}'") if m.info.run_id != asking]
    if makers:
        return makers[:1], "hash"
    around = {f"{OUT}{part}" for part in Path(path).parents}
    return [m for m in others if any(t.startswith(f"{tag}/") or t in around for t in m.data.tags)], "path"


def tree(found: Lineage) -> Tree:
    """The lineage as a tree: final stages first, each above the runs it used; a run is shown in full once."""
    used = {i.run_id for node in found.nodes.values() for i in node.inputs}
    top = Tree(f"[bold]run {found.run_id[:SHOWN]}[/bold] of pipeline run {escape(found.pipeline or '–')}")
    shown: set[str] = set()
    for run_id in [one for one in found.asked if one not in used] or found.asked:
        _grow(top, found, run_id, shown)
    return top


def _grow(branch: Tree, found: Lineage, run_id: str, shown: set[str]) -> None:
    node = found.nodes[run_id]
    name = f"[cyan]{escape(node.stage)}[/cyan] run {run_id[:SHOWN]}"
    if run_id in shown:
        branch.add(f"{name} [dim](above)[/dim]")
        return
    shown.add(run_id)
    code = f"commit {escape(node.commit[:SHOWN]) or '–'}{' + changes' if node.dirty == 'true' else ''}"
    here = branch.add(f"{name} {node.status.lower()}, {code}")
    for model in node.models:
        here.add(f"[green]registered as {escape(model)}[/green]")
    for path, md5 in node.outputs.items():
        here.add(f"[dim]made[/dim] {escape(f'{path} {md5[:SHOWN]}')}")
    for item in node.inputs:
        source = "" if item.run_id else " [dim](source)[/dim]"
        read = here.add(f"[dim]read[/dim] {escape(f'{item.path} {item.md5[:SHOWN]}')}{source}")
        if item.run_id:
            _grow(read, found, item.run_id, shown)

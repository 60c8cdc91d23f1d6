"""From a run back to code, data and the runs that made its inputs, and forward to registered models."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.tree import Tree

from components.tracking.publish.publish import tracking_params
from components.tracking.publish.runs import Runs
from components.tracking.store import store_of

OUT, DEP = "vitrine.out.", "vitrine.dep."
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
    """One stage run in the lineage."""

    run_id: str
    stage: str
    status: str
    commit: str
    dirty: str
    lock_entry: str
    outputs: dict[str, str] = field(default_factory=dict)  # path -> DVC's hash
    inputs: list[Input] = field(default_factory=list)
    models: list[str] = field(
        default_factory=list
    )  # name, version, aliases of registered models made from it


@dataclass
class Lineage:
    """``asked`` stage runs and every run upstream of them, by run id."""

    run_id: str
    pipeline: str
    asked: list[str]
    nodes: dict[str, Node] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return asdict(self)


def lineage(root: Path, run: str) -> Lineage:
    """Trace a run: its own inputs if it is a stage's, those of all its stages if it is a pipeline's.

    An input is traced to the run whose output has its hash: of the same pipeline run if there is one, else
    the first that made it.

    Raises:
        UnknownReferenceError: no such run.
        TrackerUnavailableError: the store does not answer.
    """
    root = root.resolve()
    runs = Runs.open(store_of(root), tracking_params(root).experiment)
    start = runs.named(run)
    members = runs.members(start)
    tags = start.data.tags
    asked = [member.info.run_id for member in members]
    found = Lineage(start.info.run_id, tags.get("vitrine.pipeline_run", ""), asked)
    parent = runs.get(tags["mlflow.parentRunId"]) if "mlflow.parentRunId" in tags else None
    near = {m.info.run_id: m for m in (runs.members(parent) if parent else members)}
    todo = list(members)
    while todo:
        current = todo.pop()
        if current.info.run_id in found.nodes:
            continue
        node, upstream = _node(runs, current, near)
        found.nodes[node.run_id] = node
        todo += upstream
    return found


def _node(runs: Runs, run: Any, near: dict[str, Any]) -> tuple[Node, list[Any]]:
    tags = run.data.tags
    node = Node(
        run_id=run.info.run_id,
        stage=tags.get("vitrine.stage", run.info.run_name),
        status=run.info.status,
        commit=tags.get("vitrine.git_commit", ""),
        dirty=tags.get("vitrine.dirty", ""),
        lock_entry=tags.get("vitrine.lock_entry", ""),
        outputs={key.removeprefix(OUT): value for key, value in tags.items() if key.startswith(OUT)},
        models=_models(runs, run.info.run_id),
    )
    upstream = []
    for key, md5 in sorted(tags.items()):
        if key.startswith(DEP):
            entry, makers = _trace(runs, key.removeprefix(DEP), md5, node.run_id, near)
            node.inputs += entry
            upstream += makers
    return node, upstream


def _trace(
    runs: Runs, path: str, md5: str, asking: str, near: dict[str, Any]
) -> tuple[list[Input], list[Any]]:
    """Where an input comes from: by its hash, else by the folder that holds outputs of a run beside it."""
    tag = f"{OUT}{path}"
    makers = [m for m in near.values() if m.data.tags.get(tag) == md5]
    if not makers and not set("`'") & set(tag + md5):  # MLflow's filter language has no escape
        makers = runs.search(f"tags.`{tag}` = '{md5}'")
    makers = [maker for maker in makers if maker.info.run_id != asking][:1]
    by = "hash"
    if not makers:
        inside, around = f"{tag}/", [f"{OUT}{part}" for part in Path(path).parents if str(part) != "."]
        others = (m for m in near.values() if m.info.run_id != asking)
        makers = [m for m in others if any(t.startswith(inside) or t in around for t in m.data.tags)]
        by = "path"
    return [Input(path, md5, m.info.run_id, by) for m in makers] or [Input(path, md5)], makers


def _models(runs: Runs, run_id: str) -> list[str]:
    found = []
    for version in runs.client.search_model_versions(f"run_id='{run_id}'"):
        # The search leaves aliases out on some stores; the version itself has them.
        whole = runs.client.get_model_version(version.name, version.version)
        aliases = "".join(f" @{alias}" for alias in sorted(whole.aliases))
        found.append(f"{version.name} v{version.version}{aliases}")
    return sorted(found)


def tree(found: Lineage) -> Tree:
    """The lineage as a tree: final stages first, each above the runs it used; a run is shown in full once."""
    used = {i.run_id for node in found.nodes.values() for i in node.inputs}
    tops = [run_id for run_id in found.asked if run_id not in used] or found.asked
    top = Tree(f"[bold]run {found.run_id[:SHOWN]}[/bold] of pipeline run {escape(found.pipeline or '–')}")
    shown: set[str] = set()
    for run_id in tops:
        _grow(top, found, run_id, shown)
    return top


def _grow(branch: Tree, found: Lineage, run_id: str, shown: set[str]) -> None:
    node = found.nodes[run_id]
    if run_id in shown:
        branch.add(f"[cyan]{escape(node.stage)}[/cyan] run {run_id[:SHOWN]} [dim](above)[/dim]")
        return
    shown.add(run_id)
    code = f"commit {escape(node.commit[:SHOWN]) or '–'}{' + changes' if node.dirty == 'true' else ''}"
    here = branch.add(f"[cyan]{escape(node.stage)}[/cyan] run {run_id[:SHOWN]} {node.status.lower()}, {code}")
    for model in node.models:
        here.add(f"[green]registered as {escape(model)}[/green]")
    for path, md5 in node.outputs.items():
        here.add(f"[dim]made[/dim] {escape(f'{path} {md5[:SHOWN]}')}")
    for item in node.inputs:
        source = "" if item.run_id else " [dim](source)[/dim]"
        read = here.add(f"[dim]read[/dim] {escape(f'{item.path} {item.md5[:SHOWN]}')}{source}")
        if item.run_id:
            _grow(read, found, item.run_id, shown)

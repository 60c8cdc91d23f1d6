"""The graph of dvc.yaml as DVC resolves it: stages in order, what is stale and why, what belongs where.

DVC is asked once for everything: 33 questions for one stage each take 15 s, one for all 1.6 s.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from components.stage.params import Params, did_you_mean, full_stop, read_yaml, validate
from components.tracking.lineage.lockfile import read_lock
from flows.errors import LockHeldError, SelectionError, WorkspaceError
from flows.run.locks import Say, mend

if TYPE_CHECKING:
    from dvc.repo import Repo

STUDY = "study"  # what stands in a graph of its own: ablations, further networks and seeds
STUDY_FILE = "studies/dvc.yaml"


class StageMeta(Params):
    """``meta`` of a stage in dvc.yaml: what DVC does not care about and the flow does."""

    # the system, or systems, this stage is a target of; ancestors follow from the graph
    system: str | tuple[str, ...] = ()
    # where it runs: here, or on a GPU runner where one is configured
    pool: Literal["cpu", "gpu"] = "cpu"
    # how often a failed stage is tried again, and the pause before each try in seconds
    retries: int = 0
    retry_delay_s: float = 0.0
    # about how long it takes, in seconds: says which of two stages that could start had better not wait
    expected_s: float = Field(default=5.0, gt=0)


@dataclass(frozen=True)
class StageNode:
    """One stage; ``parents`` are the stages whose outputs it reads, ``lock`` hashes its dvc.lock entry."""

    name: str
    parents: tuple[str, ...]
    meta: StageMeta
    lock: str
    blocks: tuple[str, ...]  # top-level keys of params.yaml it depends on
    outs: tuple[str, ...] = ()  # its outputs, as dvc.yaml names them

    @property
    def metrics(self) -> list[str]:
        """Its files metrics/NAME.json, by name."""
        return [Path(out).stem for out in self.outs if Path(out).parent == Path("metrics")]

    @property
    def in_study(self) -> bool:
        """Whether the study's graph has it; DVC then puts the file before the name."""
        return self.name.startswith(f"{STUDY_FILE}:")

    @property
    def systems(self) -> tuple[str, ...]:
        """Systems that have this stage as a target."""
        return (self.meta.system,) if isinstance(self.meta.system, str) else self.meta.system


@dataclass(frozen=True)
class Graph:
    """``stages`` in topological order; ``reasons`` only for stages that changed themselves.

    ``missing`` are data under DVC that are neither in the workspace nor brought back by a stage.
    """

    stages: dict[str, StageNode]
    reasons: dict[str, tuple[str, ...]]
    missing: tuple[str, ...] = ()

    def ancestors(self, names: Iterable[str]) -> set[str]:
        """``names`` and everything they are computed from."""
        found = set(names)
        for name in reversed(self.stages):  # children come first
            found.update(self.stages[name].parents if name in found else ())
        return found

    def descendants(self, names: Iterable[str]) -> set[str]:
        """``names`` and everything computed from them."""
        found = set(names)
        for name, node in self.stages.items():  # parents come first
            found.update([name] if found.intersection(node.parents) else ())
        return found

    def why(self, name: str) -> tuple[str, ...]:
        """Why a stage has to be looked at again; empty when it is cached."""
        if name in self.reasons:
            return self.reasons[name]
        stale = [n for n in self.stages if n in self.reasons and n in self.ancestors([name])]
        return (f"downstream of {', '.join(stale)}",) if stale else ()


def read_graph(
    root: Path, lock_timeout_s: float = 60.0, say: Say = lambda text: None, study: bool = False
) -> Graph:
    """Ask DVC for the stages of dvc.yaml, with ``study`` for those of studies/dvc.yaml too, and their status.

    Raises WorkspaceError: dvc.yaml or dvc.lock does not fit DVC, or a stage's ``meta`` is not ours;
    LockHeldError: another process held DVC's lock for all of ``lock_timeout_s`` seconds.
    """
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo

    from flows.run.dvc_job import PatientLock, causes

    mend(root, say)
    with contextlib.chdir(root):  # DVC names paths relative to the working directory
        try:
            with Repo(str(root)) as repo:
                files = ("dvc.yaml", STUDY_FILE) if study else ("dvc.yaml",)
                repo.lock = PatientLock(repo.lock, lock_timeout_s, say=say)
                return _graph(repo, dict(repo.status(targets=list(files), with_deps=True)), files)
        except LockError as error:
            raise LockHeldError(
                f"Another DVC process kept its lock for {lock_timeout_s:g} s; wait for it to end, or stop "
                f"it, and run again ({error})."
            ) from None
        except DvcException as error:
            told = ": ".join(str(one) for one in causes(error) if str(one))
            raise WorkspaceError(f"DVC cannot read the graph in {root}: {' '.join(told.split())}") from error


def _graph(repo: Repo, status: dict[str, Any], files: tuple[str, ...]) -> Graph:
    """Stages of ``files`` in a stable topological order, with what DVC said of each."""
    import networkx as nx  # type: ignore[import-untyped]

    edges = repo.index.graph  # stage -> the stages and .dvc files it reads from
    ours = {str(Path(repo.root_dir) / file) for file in files}  # other graphs are not ours to run
    place = {stage.addressing: i for i, stage in enumerate(repo.index.stages)}  # ties: as dvc.yaml lists them
    order = nx.lexicographical_topological_sort(edges.reverse(), key=lambda stage: place[stage.addressing])
    locks = read_lock(Path(repo.root_dir))
    nodes: dict[str, StageNode] = {}
    for stage in order:
        if stage.path in ours:
            parents = sorted(p.addressing for p in edges.successors(stage) if not p.is_data_source)
            where = f"{Path(stage.path).relative_to(repo.root_dir)}: stages.{stage.name}.meta"
            meta = validate(StageMeta, stage.meta or {}, where)
            lock = locks[stage.addressing].digest() if stage.addressing in locks else ""
            keys = [key for p in stage.params if str(p.def_path) == "params.yaml" for key in p.params]
            blocks = sorted({str(key).split(".")[0] for key in keys})
            made = sorted(os.path.relpath(out.fs_path, repo.root_dir) for out in stage.outs)
            about = (tuple(parents), meta, lock, tuple(blocks), tuple(made))
            nodes[stage.addressing] = StageNode(stage.addressing, *about)
    missing = (name for name, items in status.items() if name not in nodes and "deleted" in str(items))
    changed = ((name, items) for name, items in status.items() if name in nodes)
    new = ("not computed yet",)
    reasons = {name: _reasons(items) if nodes[name].lock else new for name, items in changed}
    return Graph(nodes, reasons, tuple(sorted(missing)))


def _reasons(items: Iterable[Any]) -> tuple[str, ...]:
    """DVC's status of one stage in words."""
    found: list[str] = []
    for item in items:
        if isinstance(item, str):
            told = {"changed command": "command changed", "always changed": "always runs"}
            found.append(told.get(item, item))
            continue
        for what, paths in item.items():
            for path, state in paths.items():
                if isinstance(state, dict):  # parameters come as a mapping of keys
                    found += [f"parameter {key} {value}" for key, value in state.items()]
                else:
                    said = f"{path} {'missing' if state == 'deleted' else state}"
                    found.append(f"output {said}" if what == "changed outs" else said)
    return tuple(found) or ("changed",)


def select(graph: Graph, system: str, first: str | None = None, last: str | None = None) -> tuple[str, ...]:
    """Names of the stages to bring up to date, in topological order.

    A system is its target stages (``meta.system``) and all their ancestors. ``first`` keeps that stage and
    its descendants, ``last`` that stage and its ancestors.

    Raises SelectionError: unknown system or stage, or nothing is left; the message lists what there is.
    """
    chosen = _system(graph, system)
    for name in (first, last):
        if name is not None and name not in chosen:
            near = did_you_mean(name, [stage for stage in graph.stages if stage in chosen])
            raise SelectionError(full_stop(f"'{name}' is no stage of system '{system}'; {near}"))
    chosen &= graph.descendants([first]) if first is not None else chosen
    chosen &= graph.ancestors([last]) if last is not None else chosen
    if not chosen:
        raise SelectionError(f"No stage lies between '{first}' and '{last}'.")
    return tuple(name for name in graph.stages if name in chosen)


def _system(graph: Graph, system: str) -> set[str]:
    """All stages of a system."""
    if system == "all":
        return {name for name, node in graph.stages.items() if not node.in_study}
    if system == STUDY:
        return graph.ancestors(name for name, node in graph.stages.items() if node.in_study)
    targets = [name for name, node in graph.stages.items() if system in node.systems and not node.in_study]
    if targets:
        return graph.ancestors(targets)
    if system in graph.stages:
        raise SelectionError(
            f"'{system}' is a stage, not a system; run it with: vitrine run --until {system}"
        )
    known = ["all", STUDY, *sorted({s for node in graph.stages.values() for s in node.systems})]
    near = did_you_mean(system, known)
    raise SelectionError(full_stop(f"No stage of dvc.yaml belongs to system '{system}'; {near}"))


def check_names(root: Path, system: str, *stages: str | None) -> None:
    """SelectionError: no file of stages has one of these names; told before any lock is waited for.

    Of a name with ``@``, one of a matrix, what stands behind it only DVC knows.
    """
    metas: dict[str, StageMeta] = {}
    for file in filter(Path.exists, (root / "dvc.yaml", root / STUDY_FILE)):
        bodies: Any = read_yaml(file).get("stages") or {}
        metas |= {n: validate(StageMeta, b.get("do", b).get("meta") or {}, n) for n, b in bodies.items()}
    _system(Graph({name: StageNode(name, (), meta, "", ()) for name, meta in metas.items()}, {}), system)
    for name in filter(None, stages):
        if name.rpartition(":")[2].partition("@")[0] not in metas:
            raise SelectionError(full_stop(f"'{name}' is no stage; {did_you_mean(name, list(metas))}"))


def stale(graph: Graph, chosen: Iterable[str]) -> tuple[str, ...]:
    """Stages among ``chosen`` that have to be looked at again: changed, or downstream of a changed one."""
    touched = graph.descendants(graph.reasons)
    return tuple(name for name in chosen if name in touched)

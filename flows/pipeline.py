"""The flow: bring stages of the graph up to date, one Prefect task each.

DVC has said what is stale; this says when and where it runs. A task gets names and paths, never data. Stages
that do not need each other run side by side as far as the cores go (``flows.cores``): DVC frees its lock
while a command runs, so a workspace bears several ``dvc repro`` of different stages. A stage of the ``gpu``
pool goes to a runner where ``runner.gpu.work_pool`` names one, and runs here where it does not.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.states import State as PrefectState
from prefect.states import StateType
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import BaseModel

from components.stage.errors import VitrineError
from flows.cores import Cores, by_longest_way, machine_cores, wanted
from flows.errors import StageFailedError
from flows.graph import Graph, StageNode, lock_hashes, stale
from flows.params import RunnerParams
from flows.stages import QUIET, Stage, StageResult, State, Watcher, run_stage

WAIT_S = 0.2  # how often the wait for a stage lets a signal through


@dataclass
class Run:
    """One pipeline run: what was asked for, where, and how it comes out (``results`` fill as stages end)."""

    id: str
    root: Path
    system: str
    graph: Graph
    stages: tuple[str, ...]  # in topological order
    runner: RunnerParams
    parameters: Mapping[str, BaseModel] = field(default_factory=dict)  # blocks of params.yaml
    lock_timeout_s: float = 600.0
    watcher: Watcher = QUIET
    results: dict[str, StageResult] = field(default_factory=dict)
    prefect_run: str = ""
    called_off: threading.Event = field(default_factory=threading.Event)

    def __repr__(self) -> str:
        return f"Run({self.id})"  # Prefect shows it as a parameter of the flow

    def finish(self, result: StageResult) -> StageResult:
        """Keep and show a result."""
        self.results[result.stage] = result
        self.watcher.ended(result)
        return result


@flow(  # type: ignore[untyped-decorator]
    name="vitrine",
    flow_run_name="{system}",
    task_runner=ThreadPoolTaskRunner(),
    validate_parameters=False,
    log_prints=False,
)
def vitrine(system: str, stages: list[str], run: Run) -> None:
    """Run the stale ones of ``stages``; the others are shown as cached.

    Raises:
        StageFailedError: the first stage that failed. Stages beside it were let finish, none was begun after
            it, and what is done stays done.
    """
    run.prefect_run = str(flow_run.id or "")
    work = set(stale(run.graph, stages))
    try:
        for name in stages:
            if name not in work:
                cached_task(run.graph.stages[name])(name, run)
        _Dispatch(run, work).until_done()
    finally:
        create_table_artifact(table=table(run), key="vitrine-stages", description=f"Run {run.id} of {system}")


class _Dispatch:
    """Starts each stage when what it reads is there and its cores are free."""

    def __init__(self, run: Run, work: set[str]) -> None:
        self._run = run
        self._waiting = by_longest_way(run.graph, work)
        self._unfinished = set(work)
        self._cores = Cores(machine_cores())
        self._running: dict[str, tuple[int, ...]] = {}
        self._futures: dict[str, PrefectFuture[Any]] = {}
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()

    def until_done(self) -> None:
        """Run everything; see :func:`vitrine`."""
        failed: BaseException | None = None
        try:
            while self._running or (self._waiting and failed is None):
                if failed is None:
                    self._start_what_can()
                failed = self._one_end() or failed
        except BaseException:  # an interruption: the stages' threads see it and stop their processes
            self._run.called_off.set()
            raise
        if failed is not None:
            raise failed

    def _start_what_can(self) -> None:
        """Start stages in their order; one that lacks cores is not overtaken, or it might wait forever."""
        for name in list(self._waiting):
            node = self._run.graph.stages[name]
            if self._unfinished & set(node.parents):
                continue
            if len(self._running) >= self._run.runner.stages_at_once:
                return
            count = 0 if _goes_out(name, self._run) else wanted(node, self._run.parameters)
            cores = self._cores.take(count)
            if cores is None:
                return
            self._waiting.remove(name)
            self._running[name] = cores
            parents = [self._futures[p] for p in node.parents if p in self._futures]
            future = stage_task(node).submit(name, self._run, cores, wait_for=parents)
            self._futures[name] = future
            future.add_done_callback(self._told(name))

    def _told(self, name: str) -> Callable[[Any], None]:
        return lambda _: self._ended.put(name)

    def _one_end(self) -> BaseException | None:
        """Wait for the end of any running stage; its error, if it failed."""
        while True:
            try:
                name = self._ended.get(timeout=WAIT_S)
                break
            except queue.Empty:
                continue
        self._cores.give_back(self._running.pop(name))
        try:
            self._futures[name].result()
        except Exception as error:
            return error
        self._unfinished.discard(name)
        return None


def stage_task(node: StageNode) -> Any:
    """The Prefect task of a stale stage; only what its ``meta`` declares is tried again, and only crashes."""
    return task(
        bring_up_to_date,
        name=node.name,
        task_run_name=node.name,
        retries=node.meta.retries,
        retry_delay_seconds=node.meta.retry_delay_s,
        retry_condition_fn=worth_another_try,
        persist_result=False,
        tags=[node.meta.pool],
    )


def cached_task(node: StageNode) -> Any:
    """The Prefect task of a stage that DVC found up to date."""
    return task(
        found_cached, name=node.name, task_run_name=node.name, persist_result=False, tags=[node.meta.pool]
    )


def found_cached(name: str, run: Run) -> PrefectState[Any]:
    """Nothing to do; Prefect shows the state by this name."""
    run.finish(StageResult(name, "cached"))
    return PrefectState(type=StateType.COMPLETED, name="Cached", message="DVC: nothing changed")


def bring_up_to_date(name: str, run: Run, cores: tuple[int, ...]) -> PrefectState[Any]:
    """Run one stage, here on ``cores`` or on a runner.

    Raises:
        StageFailedError: it failed; carries the door's exit code.
    """
    result = run.finish(_remote(name, run) if _goes_out(name, run) else _here(name, run, cores))
    if result.state == "failed":
        raise StageFailedError(name, result.error, result.exit_code, result.log)
    shown = {"ran": "Completed", "restored": "Cached", "unchanged": "Cached"}[result.state]
    return PrefectState(
        type=StateType.COMPLETED, name=shown, message=f"{result.state} in {result.seconds:.1f} s"
    )


def worth_another_try(_: Any, __: Any, state: PrefectState[Any]) -> bool:
    """A gate, bad data or a wrong parameter fails the same way again; a crash may not."""
    try:
        error = state.result(raise_on_failure=False)
    except Exception as raised:
        error = raised
    return not isinstance(error, VitrineError) or error.exit_code == 1


def _here(name: str, run: Run, cores: tuple[int, ...]) -> StageResult:
    """Run the stage in this workspace."""
    stage = Stage(run.root, name, run.id, run.prefect_run, run.lock_timeout_s, cores, run.called_off)
    return run_stage(stage, run.watcher)


def _goes_out(name: str, run: Run) -> bool:
    """Whether a stage belongs on a runner, and there is one."""
    return run.graph.stages[name].meta.pool == "gpu" and run.runner.gpu.work_pool is not None


def _remote(name: str, run: Run) -> StageResult:
    """Run the stage on a GPU runner; its outputs come back through DVC's run cache."""
    from flows.runner import run_remote

    start = time.perf_counter()
    run.watcher.follow(name, 0.0, f"waits for pool '{run.runner.gpu.work_pool}'")
    try:
        outcome = run_remote(name, run.root, run.runner, run.id)
    except VitrineError as error:
        return StageResult(name, "failed", error.exit_code, str(error), time.perf_counter() - start)
    seconds, record = time.perf_counter() - start, outcome["record"] or {}
    state: State = "failed" if outcome["exit_code"] else "restored" if outcome["cached"] else "ran"
    peak = int(record.get("peak_memory_bytes") or 0)
    return StageResult(name, state, outcome["exit_code"], outcome["error"], seconds, peak)


def table(run: Run) -> list[dict[str, Any]]:
    """The run as rows: stage, state, seconds, peak memory in MiB, hash of the stage's dvc.lock entry."""
    hashes = lock_hashes(run.root)
    results = [
        run.results.get(name) or StageResult(name, "failed", error="not reached") for name in run.stages
    ]
    return [
        {
            "stage": r.stage,
            "state": r.error if r.error == "not reached" else r.state,
            "seconds": round(r.seconds, 2),
            "peak memory MiB": round(r.peak_memory_bytes / 2**20, 1),
            "lock": hashes.get(r.stage, "")[:12],
        }
        for r in results
    ]

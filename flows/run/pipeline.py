"""The flow: bring stages of the graph up to date, one Prefect task each.

DVC has said what is stale; this says when and where it runs. A task gets a name, never data. Prefect starts
each task when those it waits for are done; inside, a stage waits for its cores. DVC frees its lock while a
command runs, so a workspace bears several calls of DVC for different stages. A stage of the ``gpu`` pool goes
to a runner where ``runner.gpu.work_pool`` names one, and runs here where it does not.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
from prefect import Task, flow, task
from prefect.artifacts import create_table_artifact
from prefect.futures import PrefectFuture, as_completed
from prefect.runtime import flow_run, task_run
from prefect.states import State as PrefectState
from prefect.states import StateType
from prefect.task_runners import ThreadPoolTaskRunner

from components.parameters.runner import cores_wanted
from components.stage.errors import VitrineError
from components.stage.record import StageResult
from components.stage.resources.full_disk import DISK_FULL, full
from components.tracking.lineage.lockfile import read_lock
from flows.errors import SERVER_LOST, StageFailedError, TrackerError
from flows.run import FLOW_THREAD
from flows.run.cores import Cores, by_critical_path, machine_cores
from flows.run.graph import StageNode, stale
from flows.run.stages import PipelineRun, StageJob, run_stage

Action = Callable[[str], PrefectState[Any]]


WATCH_S = 1.0
END_S = 3.0  # how long Prefect may take to end a flow without its server, once no stage runs any more
INTERRUPTED_S = 30.0  # how long it may take to end one that was interrupted


def execute(run: PipelineRun, away: Callable[[], bool]) -> bool:
    """Run the stale ones of ``run.stages`` as a Prefect flow; the others are shown as cached.

    The flow has a thread of its own: without its server Prefect's client tries for minutes, and nothing else
    ends that. ``away`` tells whether the server is gone. Running stages then finish, and none begins.

    Returns whether Prefect saw the end of the flow; where it did not, its threads are left waiting.

    Raises StageFailedError of the first stage that failed, once all that does not read from it is done;
    TrackerError: the server was lost before all stages were done.
    """
    errors: list[BaseException] = []
    flow_thread = threading.Thread(
        target=contextvars.copy_context().run, args=(_flow, run, errors), daemon=True, name=FLOW_THREAD
    )
    flow_thread.start()
    try:
        _until_lost(run, flow_thread, away)
    except BaseException:  # an interruption: the stages' threads see it and stop their processes
        run.called_off.set()
        flow_thread.join(END_S if run.server_away else INTERRUPTED_S)
        raise
    if run.failure is not None:
        raise run.failure
    done = all(name in run.results and run.results[name].state != "failed" for name in run.stages)
    if not done and (run.server_away or (errors and isinstance(errors[0], httpx.HTTPError))):
        raise TrackerError(DISK_FULL if full(run.root) else SERVER_LOST) from (errors[0] if errors else None)
    if not done and errors:
        raise errors[0]
    return not errors and not flow_thread.is_alive()


def _until_lost(run: PipelineRun, flow_thread: threading.Thread, away: Callable[[], bool]) -> None:
    """Wait for the flow, or, once its server is gone, for the stages at work."""
    patience = END_S
    while flow_thread.is_alive() and patience > 0:
        flow_thread.join(WATCH_S)
        run.server_away = flow_thread.is_alive() and away()
        patience = patience - WATCH_S if run.server_away and not run.at_work else END_S


def _flow(run: PipelineRun, errors: list[BaseException]) -> None:
    """The Prefect flow, from start to end; what it raises goes into ``errors``."""
    threads = ThreadPoolTaskRunner(max_workers=len(run.stages) + 1)  # a waiting stage holds one

    @flow(name="vitrine", flow_run_name="{system}", task_runner=threads, log_prints=False)  # type: ignore[untyped-decorator]
    def _vitrine(system: str, stages: list[str], root: str) -> None:
        run.prefect_run = str(flow_run.id or "")
        try:
            _until_done(run)
        finally:
            text = f"Run {run.id} of {system} in {root}"
            create_table_artifact(table=table(run), key="vitrine-stages", description=text)

    try:
        _vitrine(run.system, list(run.stages), str(run.root))
    except BaseException as error:
        errors.append(error)


def _until_done(run: PipelineRun) -> None:
    """Submit a task for each stage, parents first, and wait for all; see :func:`execute`."""
    work = stale(run.graph, run.stages)
    parents = {name: run.graph.stages[name].parents for name in work}
    order = by_critical_path(run.graph, work)
    cores = Cores(machine_cores(), order, parents, run.runner.stages_at_once)
    futures: dict[str, PrefectFuture[Any]] = {}
    for name in run.stages:
        node = run.graph.stages[name]
        if name not in work:
            stage_task(node, lambda name: found_cached(name, run))(name)
            continue
        bring = stage_task(node, lambda name: bring_up_to_date(name, run, cores))
        futures[name] = bring.submit(name, wait_for=[futures[p] for p in node.parents if p in futures])
    failed: Exception | None = None
    try:
        for future in as_completed(list(futures.values())):
            try:
                future.result()
            except Exception as error:
                failed = failed or error
                if run.failure is None:  # no stage's own fault: the others would meet it too
                    cores.close()
    finally:
        cores.close()
    if failed is not None:
        raise run.failure or failed


def stage_task(node: StageNode, action: Action) -> Task[[str], Any]:
    """The Prefect task of a stage; only what its ``meta`` declares is tried again, and only crashes."""
    return task(
        action,
        name=node.name,
        task_run_name=node.name,
        retries=node.meta.retries,
        retry_delay_seconds=node.meta.retry_delay_s,
        retry_condition_fn=worth_another_try,
        persist_result=False,
        tags=[node.meta.pool],
    )


def found_cached(name: str, run: PipelineRun) -> PrefectState[Any]:
    """Nothing to do; Prefect shows the state by this name."""
    run.finish(StageResult(name, "cached"))
    return PrefectState(type=StateType.COMPLETED, name="Cached", message="DVC: nothing changed")


def bring_up_to_date(name: str, run: PipelineRun, cores: Cores) -> PrefectState[Any]:
    """Wait for cores and run one stage, here or on a runner; StageFailedError carries its exit code."""
    node = run.graph.stages[name]
    out = node.meta.pool == "gpu" and run.runner.gpu.work_pool is not None
    with cores.lent(name, 0 if out else cores_wanted(name, node.blocks, run.parameters)) as numbers:
        if numbers is None or run.server_away or run.called_off.is_set():
            return PrefectState(type=StateType.CANCELLED, message="not begun: the run is at its end")
        stage = StageJob(run.root, name, run.id, run.prefect_run, run.lock_timeout_s, numbers, run.called_off)
        run.at_work.add(name)
        try:
            result = run.finish(_remote(stage, run) if out else run_stage(stage, run.watcher))
        finally:
            run.at_work.discard(name)
        if result.state == "failed":
            error = StageFailedError(name, result.error, result.exit_code, result.log)
            if not _may_pass(error) or (task_run.run_count or 1) > node.meta.retries:
                run.failure = run.failure or error  # what does not read from it goes on
            raise error
        cores.finished(name)
    name, told = "Completed" if result.state == "ran" else "Cached", f"in {result.seconds:.1f} s"
    return PrefectState(type=StateType.COMPLETED, name=name, message=f"{result.state} {told}")


def worth_another_try(_: Any, __: Any, state: PrefectState[Any]) -> bool:
    """Whether a failed task may succeed when it is run again."""
    try:
        return _may_pass(state.result(raise_on_failure=False))
    except Exception as raised:
        return _may_pass(raised)


def _may_pass(error: object) -> bool:
    """A gate, bad data or a wrong parameter fails the same way again; a crash may not."""
    return not isinstance(error, VitrineError) or error.exit_code == 1


def _remote(stage: StageJob, run: PipelineRun) -> StageResult:
    """Run the stage on a GPU runner; its outputs come back through DVC's run cache."""
    from flows.remote.runner import run_remote

    start = time.perf_counter()
    run.watcher.follow(stage.name, 0.0, f"waits for pool '{run.runner.gpu.work_pool}'")
    try:
        result = run_remote(stage, run.runner.gpu, run.watcher)
    except VitrineError as error:
        result = StageResult(stage.name, "failed", error.exit_code, str(error))
    return replace(result, seconds=time.perf_counter() - start, log=stage.log if stage.log.exists() else None)


def table(run: PipelineRun) -> list[dict[str, Any]]:
    """The run as rows: stage, state, seconds, peak memory in MiB, hash of the stage's dvc.lock entry."""
    locks = read_lock(run.root)
    blank = StageResult("", "failed")
    return [
        {
            "stage": name,
            "state": run.results[name].state if name in run.results else "not reached",
            "seconds": round(run.results.get(name, blank).seconds, 2),
            "peak memory MiB": round(run.results.get(name, blank).peak_memory_bytes / 2**20, 1),
            "lock": locks[name].digest()[:12] if name in locks else "",
        }
        for name in run.stages
    ]

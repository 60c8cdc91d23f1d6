"""Run a stage with ``meta.pool: gpu`` on a GPU runner, and bring its results back.

Push the stage's inputs to the DVC remote, submit the flow ``gpu-stage`` (flows/gpu_stage.py) to the
deployment of the GPU pool, wait, and let DVC find the results in its run cache. Data travel through the DVC
remote, the outcome through Prefect's API.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from components.parameters.runner import GpuParams, RunnerParams
from components.stage.publish import write_text
from components.stage.record import STATE
from flows.gpu_stage import ARTIFACT_TYPE, POLL_S, SERVER_PATIENCE_S, Outcome, patiently, reproduce, run_dvc
from flows.handover import (
    Handover,
    RunnerConfigurationError,
    RunnerError,
    RunnerTimeoutError,
    current_fingerprint,
    differences,
    lock_entry,
    prepare,
    withdraw,
)
from flows.stages import QUIET, Stage, Watcher

RECORD_ID = re.compile(r"[0-9a-f]{32}")

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas import FlowRun


def _submit(handover: Handover, gpu: GpuParams, pipeline_run: str, client: SyncPrefectClient) -> FlowRun:
    """Create the flow run; it starts as soon as a worker of the pool takes it."""
    from prefect.deployments import run_deployment
    from prefect.exceptions import ObjectNotFound

    parameters = {**asdict(handover), "pipeline_run": pipeline_run}
    once = uuid.uuid4().hex  # a request that is sent again makes no second run

    def _create() -> FlowRun:
        client.read_work_pool(str(gpu.work_pool))
        # Returns at once (timeout=0); the waiting is ours, because it watches the workers as well.
        made: FlowRun = run_deployment(
            str(gpu.deployment), parameters=parameters, timeout=0, idempotency_key=once, _sync=True
        )
        return made

    try:
        return patiently(_create, client, gpu.worker_timeout_s)
    except ObjectNotFound:
        raise RunnerConfigurationError(
            f"The Prefect server at {client.api_url} has no work pool '{gpu.work_pool}' or no deployment "
            f"'{gpu.deployment}'; make them with infra/pools.sh, or set runner.gpu.work_pool and "
            "runner.gpu.deployment to null to run here."
        ) from None


def _workers(client: SyncPrefectClient, pool: str) -> int:
    """Number of live workers in a pool, by their heartbeats."""
    workers = client.read_workers_for_work_pool(pool, offset=0, limit=200)
    return sum(str(worker.status).endswith("ONLINE") for worker in workers)


def _wait(client: SyncPrefectClient, run: FlowRun, stage: str, gpu: GpuParams, watcher: Watcher) -> FlowRun:
    """Wait for the end of a flow run.

    Raises:
        RunnerTimeoutError: it took too long, no worker was alive for too long, or the server was away.
    """
    start = seen = now = time.monotonic()
    trouble = ""
    while now - seen <= gpu.worker_timeout_s and now - start <= gpu.timeout_s:
        try:
            current = client.read_flow_run(run.id)
            if current.state is not None and current.state.is_final():
                return current
            watcher.follow(
                stage, now - start, f"{current.state.name if current.state else ''} in {gpu.work_pool}"
            )
            if _workers(client, str(gpu.work_pool)):
                seen = now
            else:
                command = f"prefect worker start --pool {gpu.work_pool}"
                trouble = f"no worker of pool '{gpu.work_pool}' is alive; start one (`{command}`)"
        except httpx.HTTPError as error:
            trouble = f"the Prefect server at {client.api_url} is away ({type(error).__name__}); start it"
        time.sleep(POLL_S)
        now = time.monotonic()
    if now - seen > gpu.worker_timeout_s:
        raise RunnerTimeoutError(
            f"stage '{stage}' was called off after {now - start:.0f} s: {trouble} and run again."
        )
    raise RunnerTimeoutError(
        f"stage '{stage}' did not end on the runner within {gpu.timeout_s:.0f} s and was called off; raise "
        "runner.gpu.timeout_s, or look at the worker's log."
    )


def _call_off(client: SyncPrefectClient, run: FlowRun) -> None:
    """Cancel a flow run: no worker starts it later, and a running one stops. Trouble doing so is ignored."""
    from prefect.exceptions import PrefectException
    from prefect.states import Cancelled, Cancelling

    with suppress(httpx.HTTPError, PrefectException):
        state = client.read_flow_run(run.id).state
        waiting = state is None or state.is_scheduled() or state.is_pending()
        client.set_flow_run_state(run.id, Cancelled() if waiting else Cancelling(), force=waiting)


def _outcome(client: SyncPrefectClient, run: FlowRun, stage: str) -> Outcome:
    """Read the outcome a flow run left behind; one that died without becomes a failure with a sentence."""
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterType
    from prefect.client.schemas.filters import FlowRunFilter as RunFilter
    from prefect.client.schemas.filters import FlowRunFilterId as RunFilterId

    kind = ArtifactFilter(type=ArtifactFilterType(any_=[ARTIFACT_TYPE]))
    ours = RunFilter(id=RunFilterId(any_=[run.id]))
    found = patiently(
        lambda: client.read_artifacts(artifact_filter=kind, flow_run_filter=ours, limit=1, offset=0),
        client,
        SERVER_PATIENCE_S,
    )
    if found:
        return Outcome.model_validate(found[0].data)
    said = f"{run.state.name}: {run.state.message}" if run.state else "no state"
    error = f"the runner left no outcome ({said}); look at the worker's log and run again"
    return Outcome(stage=stage, exit_code=1, error=error, state="failed")


def _keep(stage: Stage, outcome: Outcome) -> None:
    """Write the runner's record among the records of this workspace, where tracking finds it, and its log."""
    if outcome.log:
        stage.log.parent.mkdir(parents=True, exist_ok=True)
        with stage.log.open("a", encoding="utf-8") as log:
            log.write(f"---- on the runner ----\n{outcome.log}\n---- here ----\n")
    if outcome.record is not None:
        name = str(outcome.record.get("id"))
        if RECORD_ID.fullmatch(name) is None:  # it came from another machine, and becomes the name of a file
            raise RunnerError(f"the runner's record of '{stage.name}' has the id {name[:80]!r}; run again.")
        text = json.dumps(outcome.record, indent=1, sort_keys=True)
        write_text(stage.root / STATE / "records" / stage.name / f"{name}.json", text)


def _bring_back(handover: Handover, stage: Stage, outcome: Outcome) -> None:
    """Let DVC check out the results from its run cache.

    Raises:
        RunnerError: the inputs changed meanwhile (DVC would run the stage here), or other hashes came back.
    """
    changed = differences(handover.fingerprint, current_fingerprint(stage.name, stage.root))
    if changed:
        raise RunnerError(
            f"stage '{stage.name}' ran on the runner, but meanwhile {', '.join(changed)} changed here; its "
            "results are kept in the run cache for the old inputs. Run again."
        )
    what = f"The results of '{stage.name}' could not be brought back"
    run_dvc(stage, "reproduce", what, targets=[stage.name], single_item=True, pull=True)
    wrong = differences(outcome.outputs, lock_entry(stage.name, stage.root))
    if wrong:
        raise RunnerError(f"stage '{stage.name}' came back with other contents than on the runner: {wrong}.")


def run_remote(
    stage: str, root: Path, params: RunnerParams, pipeline_run: str = "", watcher: Watcher = QUIET
) -> dict[str, Any]:
    """Run one stage on the configured GPU runner, or here where none is configured.

    Args:
        stage: DVC's name of the stage, with ``@item`` for matrix stages.
        root: root of the workspace (its git and DVC repository).
        pipeline_run: id of the pipeline run, written into the record and the name of the log.

    Returns:
        An :class:`Outcome` as a dictionary; a stage that failed is one too, with the exit code and sentence
        of its command. The record also lies in ``.vitrine/records``.

    Raises:
        RunnerConfigurationError: pool, deployment, stage, git or DVC are set up wrongly.
        RunnerInputError: an input of the stage is missing.
        RunnerTimeoutError: no live worker, no end in time, or no Prefect server.
        RunnerError: data could not be pushed or brought back.
    """
    work = Stage(root.resolve(), stage, pipeline_run or "runner")
    outcome = (
        reproduce(work, watcher) if params.gpu.deployment is None else _remote(work, params.gpu, watcher)
    )
    return outcome.model_dump()


def _remote(stage: Stage, gpu: GpuParams, watcher: Watcher) -> Outcome:
    """Hand a stage over, wait for it and bring it back."""
    from prefect.client.orchestration import get_client

    handover = prepare(stage.name, stage.root)
    try:
        with get_client(sync_client=True) as client:
            patiently(lambda: client.read_work_pools(limit=1, offset=0), client, 0.0)
            if handover.pushed:
                what = f"The inputs of '{stage.name}' could not be pushed"
                run_dvc(stage, "push", what, targets=handover.pushed)
            run = _submit(handover, gpu, stage.run, client)
            try:
                outcome = _outcome(client, _wait(client, run, stage.name, gpu, watcher), stage.name)
            except BaseException:
                _call_off(client, run)
                raise
    finally:
        withdraw(stage.root, handover.commit)
    _keep(stage, outcome)
    if not outcome.exit_code:
        _bring_back(handover, stage, outcome)
    return outcome

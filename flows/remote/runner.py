"""Run a stage with ``meta.pool: gpu`` on a GPU runner, and bring its results back.

Push the stage's inputs to the DVC remote, submit the flow ``gpu-stage`` (flows/remote/gpu_stage.py) to the
deployment of the GPU pool, wait, and let DVC find the results in its run cache. Data travel through the DVC
remote, the outcome through Prefect's API.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from uuid import uuid4

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import FlowRun
from prefect.client.schemas import filters as by
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.states import Cancelled, Cancelling

from components.parameters.runner import GpuParams
from components.stage.record import STATE, Record, StageResult, save_record
from flows.errors import RunnerError, RunnerTimeoutError, WorkspaceError
from flows.remote.gpu_stage import ARTIFACT_TYPE, POLL_S, RESULT, SERVER_PATIENCE_S, patiently, run_dvc
from flows.remote.handover import Handover, current_fingerprint, differences, lock_entry, prepare, withdraw
from flows.run.stages import QUIET, StageJob, Watcher

RECORD_ID = re.compile(r"[0-9a-f]{32}")


def _submit(handover: Handover, gpu: GpuParams, pipeline_run: str, client: SyncPrefectClient) -> FlowRun:
    """Create the flow run; it starts as soon as a worker of the pool takes it."""
    # It returns at once (timeout=0); the waiting is ours, because it watches the workers as well. A request
    # that is sent again makes no second run (idempotency_key).
    create = partial(run_deployment, str(gpu.deployment), timeout=0, idempotency_key=uuid4().hex, _sync=True)
    parameters = {**asdict(handover), "pipeline_run": pipeline_run}
    try:
        patiently(lambda: client.read_work_pool(str(gpu.work_pool)), client, gpu.worker_timeout_s)
        return patiently(lambda: create(parameters=parameters), client, gpu.worker_timeout_s)
    except ObjectNotFound:
        raise WorkspaceError(
            f"The Prefect server at {client.api_url} has no work pool '{gpu.work_pool}' or no deployment "
            f"'{gpu.deployment}'; make them with infra/pools.sh, or set runner.gpu.work_pool and "
            "runner.gpu.deployment to null to run here."
        ) from None


def _wait(client: SyncPrefectClient, run: FlowRun, stage: str, gpu: GpuParams, watcher: Watcher) -> FlowRun:
    """Wait for the end of a flow run.

    Raises RunnerTimeoutError: it took too long, no worker was alive for too long, or the server was away.
    """
    start = seen = now = time.monotonic()
    trouble = ""
    while now - seen <= gpu.worker_timeout_s and now - start <= gpu.timeout_s:
        try:
            current = client.read_flow_run(run.id)
            if current.state is not None and current.state.is_final():
                return current
            at = current.state.name if current.state else ""
            watcher.follow(stage, now - start, f"{at} in {gpu.work_pool}")
            workers = client.read_workers_for_work_pool(str(gpu.work_pool), offset=0, limit=200)
            if any(str(worker.status).endswith("ONLINE") for worker in workers):  # by their heartbeats
                seen = now
            command = f"prefect worker start --pool {gpu.work_pool}"
            trouble = f"no worker of pool '{gpu.work_pool}' is alive; start one (`{command}`)"
        except httpx.HTTPError as error:
            trouble = f"the Prefect server at {client.api_url} is away ({type(error).__name__}); start it"
        time.sleep(POLL_S)
        now = time.monotonic()
    if now - seen > gpu.worker_timeout_s:
        told = f"was called off after {now - start:.0f} s: {trouble} and run again."
    else:
        told = f"did not end on the runner within {gpu.timeout_s:.0f} s and was called off; raise "
        told += "runner.gpu.timeout_s, or look at the worker's log."
    raise RunnerTimeoutError(f"stage '{stage}' {told}")


def _call_off(client: SyncPrefectClient, run: FlowRun) -> None:
    """Cancel a flow run: no worker starts it later, and a running one stops. Trouble doing so is ignored."""
    with suppress(httpx.HTTPError, PrefectException):
        state = client.read_flow_run(run.id).state
        waiting = state is None or state.is_scheduled() or state.is_pending()
        client.set_flow_run_state(run.id, Cancelled() if waiting else Cancelling(), force=waiting)


def _outcome(client: SyncPrefectClient, run: FlowRun, stage: str) -> StageResult:
    """Read the outcome a flow run left behind; one that died without becomes a failure with a sentence."""
    asked = {
        "artifact_filter": by.ArtifactFilter(type=by.ArtifactFilterType(any_=[ARTIFACT_TYPE])),
        "flow_run_filter": by.FlowRunFilter(id=by.FlowRunFilterId(any_=[run.id])),
    }
    found = patiently(lambda: client.read_artifacts(**asked, limit=1, offset=0), client, SERVER_PATIENCE_S)
    if found:
        return RESULT.validate_python(found[0].data)
    said = f"{run.state.name}: {run.state.message}" if run.state else "no state"
    error = f"the runner left no outcome ({said}); look at the worker's log and run again"
    return StageResult(stage, "failed", 1, error)


def _keep(stage: StageJob, result: StageResult) -> None:
    """Write the runner's record among the records of this workspace, where tracking finds it, and its log."""
    if result.log_end:
        stage.log.parent.mkdir(parents=True, exist_ok=True)
        with stage.log.open("a", encoding="utf-8") as log:
            log.write(f"---- on the runner ----\n{result.log_end}\n---- here ----\n")
    if result.record is not None:
        name = str(result.record.get("id"))
        if RECORD_ID.fullmatch(name) is None:  # it came from another machine, and becomes the name of a file
            raise RunnerError(f"the runner's record of '{stage.name}' has the id {name[:80]!r}; run again.")
        save_record(Record.model_validate({**result.record, "stage": stage.name}), stage.root / STATE)


def _bring_back(handover: Handover, stage: StageJob, result: StageResult) -> None:
    """Let DVC check out the results from its run cache.

    Raises RunnerError: the inputs changed meanwhile (DVC would run it here), or other hashes came back.
    """
    changed = differences(handover.fingerprint, current_fingerprint(stage.name, stage.root))
    if changed:
        raise RunnerError(
            f"stage '{stage.name}' ran on the runner, but meanwhile {', '.join(changed)} changed here; its "
            "results are kept in the run cache for the old inputs. Run again."
        )
    what = f"The results of '{stage.name}' could not be brought back"
    run_dvc(stage, "reproduce", what, targets=[stage.name], single_item=True, pull=True)
    wrong = differences(result.outputs, lock_entry(stage.name, stage.root))
    if wrong:
        raise RunnerError(f"stage '{stage.name}' came back with other contents than on the runner: {wrong}.")


def run_remote(stage: StageJob, gpu: GpuParams, watcher: Watcher = QUIET) -> StageResult:
    """Run one stage on the configured GPU runner and bring its results and its record back.

    A stage that failed there is a result too, with the exit code and sentence of its command.

    Raises WorkspaceError: pool, deployment, stage, git or DVC are set up wrongly; RunnerInputError:
    an input is missing; RunnerTimeoutError: no live worker, no end in time, or no Prefect server;
    RunnerError: data could not be pushed or brought back.
    """
    handover = prepare(stage.name, stage.root)
    try:
        with get_client(sync_client=True) as client:
            patiently(lambda: client.read_work_pools(limit=1, offset=0), client, 0.0)
            if handover.pushed:
                what = f"The inputs of '{stage.name}' could not be pushed"
                run_dvc(stage, "push", what, targets=handover.pushed)
            run = _submit(handover, gpu, stage.run, client)
            try:
                result = _outcome(client, _wait(client, run, stage.name, gpu, watcher), stage.name)
            except BaseException:
                _call_off(client, run)
                raise
    finally:
        withdraw(stage.root, handover.commit)
    _keep(stage, result)
    if not result.exit_code:
        _bring_back(handover, stage, result)
    return result

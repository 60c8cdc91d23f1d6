"""Run a stage with ``meta.pool: gpu`` on a GPU runner, and bring its results back.

Two sides, one file. Here: push the stage's inputs to the DVC remote, submit the flow ``gpu-stage`` to the
deployment of the GPU pool, wait, and let DVC find the results in its run cache. There: a Prefect worker executes
that flow in the runner's own clone: check out what was handed over, pull the inputs, ``dvc repro`` the one
stage, push outputs and run cache. Results travel through the DVC remote; the outcome (exit code, sentence,
record) is a Prefect artifact of the flow run, so it needs nothing but the API.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from prefect import flow
from prefect.states import Completed, Failed

from components.stage.errors import VitrineError
from components.stage.publish import write_text
from components.stage.record import STATE
from flows.handover import (
    Handover,
    RunnerConfigurationError,
    RunnerError,
    RunnerInputError,
    RunnerTimeoutError,
    check_out,
    current_fingerprint,
    differences,
    lock_entry,
    prepare,
)
from flows.params import GpuParams, RunnerParams

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas import FlowRun
    from prefect.states import State

CLONE_VARIABLE = "VITRINE_RUNNER_CLONE"
ARTIFACT_TYPE = "stage-outcome"
POLL_S = 2.0
LOCK_WAIT_S = 300.0
STOP_GRACE_S = 10.0
# A DVC process that dies with the thread that started it, also when that one is killed outright; the second
# line closes the gap in which the parent went before the kernel knew.
LAUNCH = """import os, sys
from components.stage.door import die_with_parent
die_with_parent()
if os.getppid() != int(sys.argv[1]): sys.exit(1)
os.execv(sys.executable, [sys.executable, "-m", "dvc", *sys.argv[2:]])
"""


def _stop(process: subprocess.Popen[str]) -> None:
    """End a process group: SIGTERM first, SIGKILL after a grace period."""
    for sign, wait_s in ((signal.SIGTERM, STOP_GRACE_S), (signal.SIGKILL, STOP_GRACE_S)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)
            break
    with suppress(ProcessLookupError):  # the leader is gone; whoever it left behind goes too
        os.killpg(process.pid, signal.SIGKILL)


def _dvc_once(root: Path, arguments: tuple[str, ...], env: Mapping[str, str]) -> tuple[int, str]:
    """Run DVC once; its lines go to standard output and the last of them are returned with the exit code."""
    command = [sys.executable, "-c", LAUNCH, str(os.getpid()), *arguments]
    surroundings = {**os.environ, **env, "VITRINE_RUNNER": "1", "DVC_NO_ANALYTICS": "1"}
    tail: deque[str] = deque(maxlen=30)
    process = subprocess.Popen(
        command, cwd=root, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.strip():
                tail.append(line.strip())
        return process.wait(), "\n".join(tail)
    except BaseException:
        _stop(process)
        raise


def dvc(root: Path, *arguments: str, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run DVC in ``root`` in its own process group; a lock held by another DVC process is waited out.

    Returns:
        The exit code and the last lines it printed.
    """
    give_up = time.monotonic() + LOCK_WAIT_S
    while True:
        code, said = _dvc_once(root, arguments, env or {})
        if not (code and "Unable to acquire lock" in said and time.monotonic() < give_up):
            return code, said
        time.sleep(POLL_S)


def _must(root: Path, *arguments: str, what: str) -> None:
    code, said = dvc(root, *arguments)
    if code:
        reason = " ".join(line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR"))
        raise RunnerError(f"{what} (`dvc {' '.join(arguments)}` in {root}): {reason or said.splitlines()[-1:]}")


def _records(root: Path, stage: str) -> set[Path]:
    return set((root / STATE / "records" / stage).glob("*.json"))


def _newest_record(paths: set[Path]) -> dict[str, Any] | None:
    if not paths:
        return None
    record: dict[str, Any] = json.loads(max(paths, key=lambda path: path.stat().st_mtime).read_text(encoding="utf-8"))
    return record


def reproduce(stage: str, root: Path, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """``dvc repro`` one stage in ``root`` and tell how it went.

    Returns:
        ``{"stage", "exit_code", "error", "record", "outputs", "cached"}``: the record its door left behind (None
        where DVC had the results already), and output path → DVC hash.
    """
    before = _records(root, stage)
    code, said = dvc(root, "repro", "--single-item", stage, env=env)
    record = _newest_record(_records(root, stage) - before)
    error = ""
    if code:
        door = record or {}
        code = int(door.get("exit_code") or 0) or (code if code > 0 else 1)
        error = str(door.get("error") or "") or f"stage '{stage}' ended without a record: {said.splitlines()[-1] if said else 'no output'}"
    outputs = {} if code else lock_entry(stage, root)
    return {"stage": stage, "exit_code": code, "error": error, "record": record, "outputs": outputs, "cached": not code and record is None}


# ---- there: in the runner's clone ------------------------------------------------------------------------------


def runner_clone() -> Path:
    """The clone this runner works in, from its own environment.

    Raises:
        RunnerConfigurationError: the variable is not set, or is no git repository.
    """
    value = os.environ.get(CLONE_VARIABLE, "")
    if not value or not (Path(value) / ".git").exists():
        raise RunnerConfigurationError(f"{CLONE_VARIABLE} is '{value}'; set it to a clone of the project before starting the worker.")
    return Path(value).resolve()


@contextmanager
def _alone(clone: Path) -> Iterator[None]:
    """Let one stage at a time change a clone; the lock goes with its holder, however that one ends."""
    (clone / STATE).mkdir(exist_ok=True)
    with (clone / STATE / "runner.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remembered(clone: Path, facts: Mapping[str, str], outcome: dict[str, Any]) -> dict[str, Any]:
    """Keep the record of a finished stage, and give it again when the same stage is only found in the cache.

    It matters when whoever asked first has died: the second to ask still gets the record of the real run.
    """
    key = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode()).hexdigest()
    path = clone / STATE / "outcomes" / f"{key}.json"
    if outcome["record"] is not None:
        write_text(path, json.dumps(outcome["record"]))
    elif path.exists():
        outcome = {**outcome, "record": json.loads(path.read_text(encoding="utf-8"))}
    return outcome


def execute(handover: Handover, clone: Path, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a handed-over stage in ``clone`` and push what it made; the outcome is that of :func:`reproduce`.

    Raises:
        RunnerConfigurationError: the commit cannot be reached, or the patch does not fit.
        RunnerInputError: an input, parameter or the command differs from what was handed over.
        RunnerError: data could not be pulled or pushed.
    """
    with _alone(clone):
        check_out(clone, handover.commit, handover.patch)
        if handover.pushed:
            _must(clone, "pull", "--force", *handover.pushed, what=f"The inputs of '{handover.stage}' could not be pulled")
        wrong = differences(handover.fingerprint, current_fingerprint(handover.stage, clone))
        if wrong:
            raise RunnerInputError(
                f"The runner's clone {clone} differs from the workspace in {', '.join(wrong)}; commit and push every file that "
                f"'{handover.stage}' reads."
            )
        outcome = reproduce(handover.stage, clone, env)
        if not outcome["exit_code"]:
            _must(clone, "push", "--run-cache", handover.stage, what=f"The outputs of '{handover.stage}' could not be pushed")
        return _remembered(clone, handover.fingerprint, outcome)


@flow(name="gpu-stage", flow_run_name="{stage}", persist_result=False, retries=0)
def gpu_stage(
    stage: str, commit: str, patch: str, fingerprint: dict[str, str], pushed: list[str], pipeline_run: str = ""
) -> State[Any]:
    """The flow a worker of the GPU pool executes: one stage, in the clone ``VITRINE_RUNNER_CLONE`` names."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import ArtifactCreate
    from prefect.runtime import flow_run

    run_id = str(flow_run.id)
    env = {"VITRINE_PIPELINE_RUN": pipeline_run, "VITRINE_PREFECT_RUN": run_id}
    try:
        outcome = execute(Handover(stage, commit, patch, fingerprint, tuple(pushed)), runner_clone(), env)
    except VitrineError as error:
        outcome = {"stage": stage, "exit_code": error.exit_code, "error": str(error), "record": None, "outputs": {}, "cached": False}
    with get_client(sync_client=True) as client:
        client.create_artifact(ArtifactCreate(type=ARTIFACT_TYPE, data=outcome, flow_run_id=flow_run.id))
    if outcome["exit_code"]:
        return Failed(message=outcome["error"])
    return Completed(message="found in the run cache" if outcome["cached"] else "ran")


# ---- here: in the workspace ------------------------------------------------------------------------------------


def _submit(handover: Handover, gpu: GpuParams, pipeline_run: str, client: SyncPrefectClient) -> FlowRun:
    """Create the flow run; it starts as soon as a worker of the pool takes it."""
    from prefect.deployments import run_deployment
    from prefect.exceptions import ObjectNotFound

    parameters = {
        "stage": handover.stage, "commit": handover.commit, "patch": handover.patch, "fingerprint": handover.fingerprint,
        "pushed": list(handover.pushed), "pipeline_run": pipeline_run,
    }  # fmt: skip
    try:
        client.read_work_pool(str(gpu.work_pool))
        # Creates and returns at once; the waiting is ours, because it watches the workers as well.
        run: FlowRun = run_deployment(str(gpu.deployment), parameters=parameters, timeout=0, _sync=True)
    except ObjectNotFound:
        raise RunnerConfigurationError(
            f"The Prefect server at {client.api_url} has no work pool '{gpu.work_pool}' or no deployment '{gpu.deployment}'; create "
            "them (`prefect work-pool create`, `prefect deploy --all`), or set runner.gpu.work_pool and deployment to null to run here."
        ) from None
    return run


def _workers(client: SyncPrefectClient, pool: str) -> int:
    """Number of live workers in a pool, by their heartbeats."""
    return sum(str(worker.status).endswith("ONLINE") for worker in client.read_workers_for_work_pool(pool))


def _wait(client: SyncPrefectClient, run: FlowRun, stage: str, gpu: GpuParams) -> FlowRun:
    """Wait for the end of a flow run.

    Raises:
        RunnerTimeoutError: it took too long, no worker was alive for too long, or the server could not be reached.
    """
    start = seen = time.monotonic()
    trouble = ""
    while True:
        try:
            current = client.read_flow_run(run.id)
            if current.state is not None and current.state.is_final():
                return current
            if _workers(client, str(gpu.work_pool)):
                seen = time.monotonic()
            else:
                trouble = f"no worker of pool '{gpu.work_pool}' is alive; start one with `prefect worker start --pool {gpu.work_pool}`"
        except httpx.HTTPError as error:
            trouble = f"the Prefect server at {client.api_url} cannot be reached ({type(error).__name__})"
        now = time.monotonic()
        if now - seen > gpu.worker_timeout_s:
            raise RunnerTimeoutError(f"Stage '{stage}' was called off after {now - start:.0f} s: {trouble}, and run again.")
        if now - start > gpu.timeout_s:
            raise RunnerTimeoutError(
                f"Stage '{stage}' did not end on the runner within {gpu.timeout_s:.0f} s and was called off; raise "
                "runner.gpu.timeout_s, or look at the worker's log."
            )
        time.sleep(POLL_S)


def _call_off(client: SyncPrefectClient, run: FlowRun) -> None:
    """Cancel a flow run, so that no worker starts it later and a running one stops; trouble doing so is ignored."""
    from prefect.exceptions import PrefectException
    from prefect.states import Cancelled, Cancelling

    with suppress(httpx.HTTPError, PrefectException):
        state = client.read_flow_run(run.id).state
        waiting = state is None or state.is_scheduled() or state.is_pending()
        client.set_flow_run_state(run.id, Cancelled() if waiting else Cancelling(), force=waiting)


def _outcome(client: SyncPrefectClient, run: FlowRun, stage: str) -> dict[str, Any]:
    """Read the outcome a flow run left behind; a run that died before that becomes a failure with a sentence."""
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterType, FlowRunFilter, FlowRunFilterId

    found = client.read_artifacts(
        artifact_filter=ArtifactFilter(type=ArtifactFilterType(any_=[ARTIFACT_TYPE])),
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])),
    )
    if found:
        outcome: dict[str, Any] = found[0].data
        return outcome
    state = run.state
    said = f"{state.name}: {state.message}" if state else "no state"
    return {
        "stage": stage, "exit_code": 1, "error": f"the runner gave no outcome ({said}); look at the worker's log",
        "record": None, "outputs": {}, "cached": False,
    }  # fmt: skip


def _bring_back(handover: Handover, root: Path, outcome: dict[str, Any]) -> None:
    """Let DVC check out the results from its run cache.

    Raises:
        RunnerError: the inputs changed meanwhile (DVC would run the stage here), or other hashes came back.
    """
    changed = differences(handover.fingerprint, current_fingerprint(handover.stage, root))
    if changed:
        raise RunnerError(
            f"Stage '{handover.stage}' ran on the runner, but meanwhile {', '.join(changed)} changed here; its results are kept "
            "in the run cache for the old inputs. Run again."
        )
    _must(root, "repro", "--pull", "--single-item", handover.stage, what=f"The results of '{handover.stage}' could not be brought back")
    wrong = differences(outcome["outputs"], lock_entry(handover.stage, root))
    if wrong:
        raise RunnerError(f"Stage '{handover.stage}' came back with other contents than the runner made, in {', '.join(wrong)}.")


def _keep_record(root: Path, outcome: Mapping[str, Any]) -> None:
    """Write the runner's record among the records of this workspace, where tracking finds it."""
    record = outcome["record"]
    if record is not None:
        name = Path(str(record["id"])).name  # never a path out of the folder, whatever came over the wire
        write_text(root / STATE / "records" / outcome["stage"] / f"{name}.json", json.dumps(record, indent=1, sort_keys=True))


def run_remote(stage: str, root: Path, params: RunnerParams, pipeline_run: str = "") -> dict[str, Any]:
    """Run one stage on the configured GPU runner, or here where none is configured.

    Args:
        stage: DVC's name of the stage, with ``@item`` for matrix stages.
        root: root of the workspace (its git and DVC repository).
        pipeline_run: id of the pipeline run, written into the record.

    Returns:
        ``{"stage", "exit_code", "error", "record", "outputs", "cached"}``; a stage that failed on the runner is an
        outcome with its exit code and sentence, not an exception. The record is also written to ``.vitrine/records``.

    Raises:
        RunnerConfigurationError: pool, deployment, stage, git or DVC are set up wrongly.
        RunnerInputError: an input of the stage is missing.
        RunnerTimeoutError: no live worker, no end in time, or no Prefect server.
        RunnerError: data could not be pushed or brought back.
    """
    gpu = params.gpu
    root = root.resolve()
    if gpu.deployment is None:
        return reproduce(stage, root, {"VITRINE_PIPELINE_RUN": pipeline_run} if pipeline_run else None)
    from prefect.client.orchestration import get_client

    handover = prepare(stage, root)
    with get_client(sync_client=True) as client:
        try:
            client.read_work_pools(limit=1)
        except httpx.HTTPError as error:
            raise RunnerError(
                f"The Prefect server at {client.api_url} cannot be used ({error}); check PREFECT_API_URL and PREFECT_API_AUTH_STRING."
            ) from None
        if handover.pushed:
            _must(root, "push", *handover.pushed, what=f"The inputs of '{stage}' could not be pushed to the DVC remote")
        run = _submit(handover, gpu, pipeline_run, client)
        try:
            outcome = _outcome(client, _wait(client, run, stage, gpu), stage)
        except BaseException:
            _call_off(client, run)
            raise
    _keep_record(root, outcome)
    if not outcome["exit_code"]:
        _bring_back(handover, root, outcome)
    return outcome

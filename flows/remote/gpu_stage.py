"""The flow a worker of the GPU pool executes: one handed-over stage, in the runner's own clone.

Check out what was handed over, pull the inputs, ``dvc repro`` the one stage, push outputs and run cache. The
outcome (exit code, sentence, record) becomes a Prefect artifact of the flow run, so that whoever asked needs
nothing but the API and the DVC remote to have everything back.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State
from pydantic import TypeAdapter

from components.stage.errors import VitrineError
from components.stage.files.publish import write_text
from components.stage.record import STATE, StageResult
from components.tracking.lineage.lockfile import is_inside
from flows.errors import RunnerError, RunnerInputError, WorkspaceError
from flows.remote.handover import Handover, check_out, current_fingerprint, differences, lock_entry
from flows.run.locks import held
from flows.run.stages import QUIET, StageJob, Watcher, call_dvc, run_stage

CLONE_VARIABLE = "VITRINE_RUNNER_CLONE"
ARTIFACT_TYPE = "stage-outcome"
POLL_S = 2.0
CLONE_WAIT_S = 86400.0  # stages queue for a clone; whoever asked gives up earlier, by its own timeout
SERVER_PATIENCE_S = 600.0  # hours of training are not thrown away because the server restarts
LOG_BYTES = 16 * 1024
RESULT = TypeAdapter(StageResult)  # how it crosses Prefect's API
T = TypeVar("T")


def patiently(call: Callable[[], T], client: SyncPrefectClient, patience_s: float) -> T:
    """Call Prefect's API; a server that is away or overloaded is given ``patience_s`` seconds to come back.

    Raises RunnerError: it did not, or it refused the request.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return call()
        except httpx.HTTPError as error:
            status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else 503
            if status < 500 or time.monotonic() > deadline:
                raise RunnerError(
                    f"the Prefect server at {client.api_url} is unusable ({type(error).__name__}, {status}); "
                    "check PREFECT_API_URL and PREFECT_API_AUTH_STRING, and that it runs."
                ) from None
        time.sleep(POLL_S)


def run_dvc(stage: StageJob, call: str, what: str, **arguments: Any) -> None:
    """Have DVC ``push``, ``pull`` or ``reproduce`` for a stage; a RunnerError begins with ``what``."""
    state, error = call_dvc(stage, call, arguments)
    if state == "failed":
        raise RunnerError(f"{what}: {error} (in {stage.root}; log: {stage.log}).")


def runner_clone() -> Path:
    """The clone this runner works in, from its environment; WorkspaceError: none is named there."""
    value = os.environ.get(CLONE_VARIABLE, "")
    if not value or not (Path(value) / ".git").exists():
        raise WorkspaceError(
            f"{CLONE_VARIABLE} is '{value}' on the runner; set it to a clone of the project and restart "
            "the worker."
        )
    return Path(value).resolve()


def _remembered(clone: Path, facts: Mapping[str, str], result: StageResult) -> StageResult:
    """Keep the record of a finished stage, and give it again when the same stage is only found in the cache.

    It matters when whoever asked first has died: the second to ask still gets the record of the real run.
    """
    key = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode()).hexdigest()
    path = clone / STATE / "outcomes" / f"{key}.json"
    if result.record is not None and not result.exit_code:
        write_text(path, json.dumps(result.record))
    elif result.record is None and path.exists():
        return replace(result, record=json.loads(path.read_text(encoding="utf-8")))
    return result


def execute(handover: Handover, stage: StageJob, watcher: Watcher = QUIET) -> StageResult:
    """Run a handed-over stage in the clone ``stage.root`` and push what it made.

    Raises WorkspaceError: no possible name, or the commit cannot be reached; RunnerInputError: an
    input, parameter or the command differs from what was handed over; RunnerError: no pull or push of data.
    """
    clone = stage.root
    if not is_inside(stage.name):  # it comes from elsewhere, and names a log and a lock
        raise WorkspaceError(f"{stage.name[:80]!r} is no stage; hand it over again.")
    with held(clone / STATE / "locks" / "clone.lock", f"Clone {clone}", CLONE_WAIT_S, watcher.say):
        check_out(clone, handover.commit)
        if handover.pushed:
            what = f"The inputs of '{stage.name}' could not be pulled on the runner"
            run_dvc(stage, "pull", what, targets=handover.pushed, force=True)
        wrong = differences(handover.fingerprint, current_fingerprint(stage.name, clone))
        if wrong:
            raise RunnerInputError(
                f"The runner's clone {clone} differs from the workspace in {', '.join(wrong)}; commit and "
                f"push every file that '{stage.name}' reads, and give both sides the same DVC remote."
            )
        result = run_stage(stage, watcher)
        result = replace(result, log_end=stage.log.read_bytes()[-LOG_BYTES:].decode("utf-8", "replace"))
        if not result.exit_code:
            result = replace(result, outputs=lock_entry(stage.name, clone))
            what = f"The outputs of '{stage.name}' could not be pushed from the runner"
            run_dvc(stage, "push", what, targets=[stage.name], run_cache=True)
        return _remembered(clone, handover.fingerprint, result)


def _until_called_off(client: SyncPrefectClient, run_id: Any) -> Callable[[str, float, str], None]:
    """A follower of a running stage that raises once the flow run has been cancelled.

    A worker kills a cancelled run by itself; but where the worker has died, only the run is left to notice.
    """
    asked = time.monotonic()

    def _follow(stage: str, seconds: float, line: str) -> None:
        nonlocal asked
        if time.monotonic() - asked < POLL_S:
            return
        asked = time.monotonic()
        with suppress(httpx.HTTPError):  # a server that is away does not stop a training
            state = client.read_flow_run(run_id).state
            if state is not None and (state.is_cancelling() or state.is_cancelled()):
                raise RunnerError(f"stage '{stage}' was called off after {seconds:.0f} s.")

    return _follow


@flow(name="gpu-stage", flow_run_name="{stage}", persist_result=False, retries=0)  # type: ignore[untyped-decorator]
def gpu_stage(
    stage: str, commit: str, fingerprint: dict[str, str], pushed: list[str], pipeline_run: str = ""
) -> State[Any]:
    """The flow a worker of the GPU pool executes: one stage, in the clone ``VITRINE_RUNNER_CLONE`` names."""
    run_id = str(flow_run.id)
    with get_client(sync_client=True) as client:
        watcher = Watcher(say=print, follow=_until_called_off(client, flow_run.id))
        try:
            here = StageJob(runner_clone(), stage, pipeline_run or run_id, run_id)
            result = execute(Handover(stage, commit, fingerprint, pushed), here, watcher)
        except VitrineError as error:
            result = StageResult(stage, "failed", error.exit_code, str(error))
        data = RESULT.dump_python(replace(result, log=None, started=0.0), mode="json")
        artifact = ArtifactCreate(type=ARTIFACT_TYPE, data=data, flow_run_id=flow_run.id)
        patiently(lambda: client.create_artifact(artifact), client, SERVER_PATIENCE_S)
    return Failed(message=result.error) if result.exit_code else Completed(message=result.state)

"""The flow a worker of the CPU pool executes: a run of the graph, or of a system, in its own clone.

It brings the clone to the newest commit of its origin (or to a given one), runs ``vitrine run`` there as a
process of its own, and pushes outputs and run cache to the DVC remote, for ``dvc repro --pull`` anywhere.
Schedule it, or start it: ``prefect deployment run pipeline/cpu`` runs everything, ``vlclip/cpu`` one system
(encoder, vlclip, fusion, opal), ``--param revision=my-branch`` another state of the code.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State

from components.machine import processes
from components.stage.errors import VitrineError
from components.stage.record import STATE
from flows.remote.gpu_stage import CLONE_WAIT_S, LOG_BYTES, run_dvc, runner_clone
from flows.remote.handover import check_out
from flows.run.locks import held
from flows.run.stages import StageJob, last_line
from flows.workspace import git

System = Literal["all", "encoder", "vlclip", "fusion", "opal", "report", "study"]


def newest_commit(clone: Path, revision: str) -> str:
    """The commit a branch, tag or commit of the clone's origin stands for, after fetching.

    Raises WorkspaceError: the origin cannot be reached, or has no such revision.
    """
    git(clone, "fetch", "--quiet", "--prune", "--tags", "origin")
    branch = f"refs/remotes/origin/{revision}"
    known = git(clone, "for-each-ref", "--format=%(refname)", branch).split()
    name = branch if branch in known else revision
    return git(clone, "rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}").strip()


def run_pipeline(clone: Path, system: str, log: Path) -> int:
    """``vitrine run SYSTEM`` in ``clone``, into ``log``; the exit code is that of the command."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = processes.start([sys.executable, "-m", "flows.cli", "run", "--", system], clone, output)
        try:
            return process.wait()
        except BaseException:
            processes.stop(process)
            raise


@flow(name="pipeline", flow_run_name="{system}", persist_result=False)  # type: ignore[untyped-decorator]
def pipeline(system: System = "all", revision: str = "HEAD", push: bool = True) -> State[Any]:
    """Run a system of the graph at ``revision`` (a branch, tag or commit; HEAD: the default branch)."""
    try:
        clone = runner_clone()
        work = StageJob(clone, "pipeline", str(flow_run.id))
        with held(clone / STATE / "locks" / "clone.lock", f"Clone {clone}", CLONE_WAIT_S, print):
            check_out(clone, newest_commit(clone, revision))
            code = run_pipeline(clone, system, work.log)
            print(work.log.read_bytes()[-LOG_BYTES:].decode("utf-8", "replace"))
            if code:
                return Failed(message=f"vitrine run {system}: exit code {code}: {last_line(work.log)}")
            if push:
                run_dvc(work, "push", "The results could not be pushed to the DVC remote", run_cache=True)
    except VitrineError as error:
        return Failed(message=str(error))
    return Completed(message=f"{system} at {revision}")


# The same flow under the name of each system, so that each is a deployment of its own (prefect.yaml).
encoder = pipeline.with_options(name="encoder")
vlclip = pipeline.with_options(name="vlclip")
fusion = pipeline.with_options(name="fusion")
opal = pipeline.with_options(name="opal")

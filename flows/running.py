"""``vitrine run`` from start to end: check, lock, ask DVC, run the flow, record, tell."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from components.parameters.blocks import check_parameters
from components.parameters.profiles import profile_text
from components.parameters.runner import RunnerParams
from components.stage.errors import ConfigurationError, InvalidDataError, VitrineError
from flows.display import Display
from flows.errors import FlowError
from flows.graph import STUDY, Graph, read_graph, select, stale
from flows.locks import held
from flows.profiles import (
    commit_worktree,
    dvc_output,
    keep_results,
    prepare_worktree,
    run_lock,
    work_name,
)
from flows.stages import Run, StageResult
from flows.summary import print_plan, print_summary

HERE = RunnerParams(stages_at_once=1)


@dataclass(frozen=True)
class Request:
    """What the user asked for."""

    system: str = "all"
    profile: str | None = None
    overrides: Sequence[str] = ()
    first: str | None = None
    last: str | None = None
    dry_run: bool = False
    lock_timeout_s: float = 600.0


def run(main: Path, request: Request, console: Console) -> None:
    """Bring the selected stages of the workspace, or of a profile's worktree, up to date.

    Raises:
        ConfigurationError, FlowError, StageFailedError: see the modules that do each part.
    """
    start = time.perf_counter()
    name = work_name(request.profile, request.overrides)
    with ExitStack() as stack:
        say = partial(console.print, style="dim", markup=False, highlight=False, soft_wrap=True)
        place = run_lock(main, name)
        stack.enter_context(held(place, f"Workspace {name or main}", request.lock_timeout_s, say))
        root = main
        if name is not None:
            root = prepare_worktree(main, name, profile_text(main, request.profile, request.overrides))
            say(f"profile {name}: {root}")
        checked = check_parameters(root / "params.yaml")
        graph = read_graph(root, request.lock_timeout_s, say, study=request.system == STUDY)
        stages = select(graph, request.system, request.first, request.last)
        _check_blocks(root, graph, stages, checked)
        if request.dry_run:
            print_plan(console, graph, stages, stale(graph, stages))
            return
        _check_sources(root, graph)
        runner = checked.get("runner", HERE)
        assert isinstance(runner, RunnerParams)
        job = Run(uuid.uuid4().hex, root, request.system, graph, stages, runner, checked)
        job.lock_timeout_s = request.lock_timeout_s
        results = _execute(main, job, console)
    if request.profile is not None and not request.overrides:
        folder = keep_results(main, root, request.profile)
        say(f"results kept in {folder}")
    if name is not None and commit_worktree(root, f"Results of profile {name}"):
        say(f"committed on branch profile/{name}")
    print_summary(console, root, results, time.perf_counter() - start, graph)


def _check_blocks(root: Path, graph: Graph, stages: Sequence[str], checked: Mapping[str, object]) -> None:
    """Every block that a selected stage reads must be there: a missing one is told now, not after an hour.

    Raises:
        ConfigurationError: names the blocks and the stages.
    """
    missing = {b: name for name in stages for b in graph.stages[name].blocks if b not in checked}
    if missing:
        told = ", ".join(f"'{block}' (stage {stage})" for block, stage in missing.items())
        raise ConfigurationError(
            f"{root / 'params.yaml'} lacks the block {told}; 'vitrine params' lists every block."
        )


def _check_sources(root: Path, graph: Graph) -> None:
    """Bring back sources that DVC tracks and the workspace lacks.

    Raises:
        InvalidDataError: they are not in the cache either.
    """
    if not graph.missing:
        return
    try:
        dvc_output(root, "checkout", "--quiet", *graph.missing)
    except FlowError as error:
        raise InvalidDataError(
            f"Source data of {', '.join(graph.missing)} is neither in {root} nor in DVC's cache; "
            f"run 'dvc pull', or bring it in with 'vitrine import' ({error})"
        ) from None


def _execute(main: Path, job: Run, console: Console) -> list[StageResult]:
    """Run the flow; with nothing to do there is none, unless a lasting Prefect server is there to keep it."""
    if not stale(job.graph, job.stages) and not os.environ.get("PREFECT_API_URL"):
        console.print("Nothing has changed: every stage is cached.", highlight=False)
        return [StageResult(name, "cached") for name in job.stages]
    from flows.server import PrefectServer, configure

    configure(main)
    server = PrefectServer(main).start()  # before heavy work, and while Prefect is being imported
    try:
        from prefect.exceptions import TerminationSignal
        from prefect.settings import PREFECT_API_URL, temporary_settings

        from components.tracking.publish.pending import start_pipeline
        from flows.pipeline import execute

        display = Display(console, job.stages)
        job.watcher = display.watcher
        start_pipeline(job.root, job.id)  # notes the code the run starts from
        try:
            with temporary_settings({PREFECT_API_URL: server.ready()}), display:
                execute(job)
        except TerminationSignal:  # Prefect's own answer to SIGTERM while a flow runs
            raise KeyboardInterrupt("SIGTERM") from None
        finally:
            record(job.root, job.id, list(job.results.values()), console)
        return [job.results[name] for name in job.stages]
    finally:
        server.stop()


def record(root: Path, run_id: str, results: Sequence[StageResult], console: Console) -> None:
    """Write what ran to MLflow, after the stages so that training is not delayed; a failure only warns."""
    from components.tracking.publish.pending import link_cached, pending

    try:
        link_cached(
            root, run_id, [r.stage for r in results if r.state in ("cached", "unchanged", "restored")]
        )
        if not pending(root):
            return
        from components.tracking.publish.publish import publish

        for warning in publish(root).warnings:
            console.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False, soft_wrap=True)
    except (VitrineError, OSError) as error:
        console.print(
            f"[yellow]warning:[/] not recorded in MLflow yet: {escape(str(error))}",
            highlight=False,
            soft_wrap=True,
        )

"""``vitrine run`` from start to end: check, lock, ask DVC, run the flow, record, tell."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from components.parameters.blocks import check_parameters, unknown_in_workspace
from components.parameters.profiles import profile_text, without_import, work_name
from components.parameters.runner import RunnerParams
from components.report.budget import plan_table, print_summary
from components.report.display import Display
from components.stage.errors import InvalidDataError
from components.stage.record import StageResult
from components.tracking.compare.sides import keep_results
from flows.errors import FlowError
from flows.importing import check_import
from flows.options import RunRequest
from flows.profiles import commit_worktree, dvc_output, prepare_worktree, run_lock
from flows.run.graph import STUDY, Graph, check_names, read_graph, select, stale
from flows.run.locks import held
from flows.run.partial import partial_report, with_report
from flows.run.stages import PipelineRun, Watcher

HERE = RunnerParams(stages_at_once=1)


def run(main: Path, request: RunRequest, console: Console) -> None:
    """Bring the selected stages of the workspace, or of a profile's worktree, up to date."""
    start = time.perf_counter()
    overrides = request.overrides or []
    name = work_name(request.profile, overrides)
    # what is misspelt is told now, not once another run has ended
    check_names(main, request.system, request.first, request.last)
    params = profile_text(main, request.profile, overrides) if name is not None else ""
    with ExitStack() as stack:
        say = partial(console.print, style="dim", markup=False, highlight=False, soft_wrap=True)
        place = run_lock(main, name)
        stack.enter_context(held(place, f"Workspace {name or main}", request.lock_timeout_s, say))
        root = main
        if name is not None:
            root = prepare_worktree(main, name, params)
            say(f"profile {name}: {root}")
        if request.profile and (told := without_import(main, root, request.profile)):
            say(told)
        check_import(root)
        check_parameters(root / "params.yaml")
        graph = read_graph(root, request.lock_timeout_s, say, study=request.system == STUDY)
        stages = select(graph, request.system, request.first, request.last)
        whole = request.first is None and request.last is None
        if whole and request.system != STUDY:
            stages = with_report(graph, stages)
        reads = {block for name in stages for block in graph.stages[name].blocks}
        checked = check_parameters(root / "params.yaml", required=sorted(reads))
        runner = checked.get("runner", HERE)
        assert isinstance(runner, RunnerParams)
        if request.dry_run:
            _print_plan(console, graph, stages, runner.gpu.work_pool)
            return
        _check_sources(root, graph)
        for warning in unknown_in_workspace(root):
            console.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)
        job = PipelineRun(uuid.uuid4().hex, root, request.system, graph, stages, runner, checked)
        job.lock_timeout_s = request.lock_timeout_s
        with partial_report(job, whole):
            results = _execute(main, job, console)
    if request.profile is not None and not overrides:
        say(f"results kept in {keep_results(main, root, request.profile)}")
    if name is not None and commit_worktree(root, f"Results of profile {name}"):
        say(f"committed on branch profile/{name}")
    made = {metric for stage in stages for metric in graph.stages[stage].metrics}
    print_summary(console, root, results, made, time.perf_counter() - start)


def _print_plan(console: Console, graph: Graph, stages: Sequence[str], pool: str | None) -> None:
    """What a run would do, why, and where: ``pool`` is the work pool of stages for a GPU, None for here."""
    work, changed = stale(graph, stages), graph.reasons
    runs = {name: (True if name in changed else None) if name in work else False for name in stages}
    why = {name: "; ".join(graph.why(name)[:4]) if name in work else "" for name in stages}
    where = {n: f"pool {pool}" if pool and graph.stages[n].meta.pool == "gpu" else "here" for n in stages}
    console.print(plan_table((n, runs[n], why[n], where[n]) for n in stages))


def _check_sources(root: Path, graph: Graph) -> None:
    """Bring back sources that the workspace lacks; InvalidDataError: DVC's cache lacks them too."""
    if not graph.missing:
        return
    try:
        dvc_output(root, "checkout", "--quiet", *graph.missing)
    except FlowError as error:
        raise InvalidDataError(
            f"Source data of {', '.join(graph.missing)} is neither in {root} nor in DVC's cache; "
            f"run 'dvc pull', or bring it in with 'vitrine import' ({error})"
        ) from None


def _execute(main: Path, job: PipelineRun, console: Console) -> list[StageResult]:
    """Run the flow; with nothing to do there is none, unless a lasting Prefect server is there to keep it."""
    if not stale(job.graph, job.stages) and not os.environ.get("PREFECT_API_URL"):
        console.print("Nothing has changed: every stage is cached.", highlight=False)
        record(job.root, job.id, (), console)  # what a run that was killed did not get to record
        return [StageResult(name, "cached") for name in job.stages]
    from flows.run.server import PrefectServer

    with PrefectServer(main) as server:  # started before heavy work, and while Prefect is being imported
        from prefect.settings import PREFECT_API_URL, temporary_settings

        from components.parameters.listing import changed, resolved
        from components.tracking.publish.pending import start_pipeline
        from flows.run.pipeline import execute

        display = Display(console, job.stages)
        job.watcher = Watcher(display.say, display.follow, display.ended)
        # notes the code and the parameters that the run starts from
        start_pipeline(job.root, job.id, changed(resolved(job.root, None)))
        try:
            with temporary_settings({PREFECT_API_URL: server.ready()}), display:
                if not execute(job, server.away):
                    display.say("Prefect's server has gone away; its history lacks the end of this run")
        finally:
            record(job.root, job.id, job.results.values(), console)
        return [job.results[name] for name in job.stages]


def record(root: Path, run_id: str, results: Iterable[StageResult], console: Console) -> None:
    """Write what ran to MLflow, after the stages so that training is not delayed; a failure only warns."""
    from components.tracking.publish.publish import publish_run

    for warning in publish_run(root, run_id, [r.stage for r in results if r.cached]):
        console.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False, soft_wrap=True)

"""The report of a run that does not make everything: refreshed where that can be, partial where it cannot.

A run of one system ends with the stage ``report`` where all that it reads is up to date. Where it is not, or
a stage has failed, a page of what is there is built beside the graph: ``reports/partial/index.html``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from components.report.budget import title
from components.stage.files.publish import remove
from flows.errors import StageFailedError
from flows.importing import CommandFailedError, passed_on
from flows.run.graph import STUDY, Graph, stale
from flows.run.stages import PipelineRun

PARTIAL = Path("reports/partial")
REPORT = "report"  # the stage, and the last of the graph


def with_report(graph: Graph, stages: Sequence[str]) -> tuple[str, ...]:
    """The stages of a whole system, and the report where it reads nothing else that is out of date."""
    others = graph.ancestors([REPORT]) - {REPORT, *stages} if REPORT in graph.stages else set()
    if REPORT not in graph.stages or REPORT in stages or stale(graph, others):
        return tuple(stages)
    return tuple(name for name in graph.stages if name in {REPORT, *stages})


@contextmanager
def partial_report(job: PipelineRun, whole: bool = True) -> Iterator[None]:
    """Around a run: where a stage fails, or the report would read what is out of date, a page is built.

    Args:
        whole: whether the run is of a whole system; of a range of stages there is a page when one fails.
    """
    alone = whole and job.system not in ("all", STUDY) and REPORT in job.graph.stages
    alone = alone and REPORT not in job.stages
    if alone and not stale(job.graph, job.stages) and (job.root / PARTIAL / "index.html").exists():
        yield  # it shows what is there
        return
    remove(job.root / PARTIAL)
    try:
        yield
    except StageFailedError as error:
        if job.system == "all" or alone:
            _build(job, left_alone(job) | absent_outputs(job, error))
        raise
    if alone:
        _build(job, left_alone(job))


def _build(job: PipelineRun, absent: dict[str, str]) -> None:
    if "data/checked" not in absent:
        with suppress(CommandFailedError):  # it has said why; the run's own end matters more
            told = [str(PARTIAL / "index.html"), json.dumps(absent)]
            passed_on(job.root, [sys.executable, "-m", "components.report", "partial", *told])


def left_alone(job: PipelineRun) -> dict[str, str]:
    """Output -> why it is not shown, for stages that are out of date and not of this run's system."""
    others = [name for name in stale(job.graph, job.graph.stages) if name not in job.stages]
    why = f"not up to date; this run was of {job.system} alone"
    return {out: why for name in others for out in job.graph.stages[name].outs}


def absent_outputs(job: PipelineRun, error: StageFailedError) -> dict[str, str]:
    """Output -> why it is missing or of another run, for stages that failed and those that read from them."""
    failed = [name for name in job.stages if name in job.results and job.results[name].state == "failed"]
    done = {name for name in job.stages if name in job.results} - set(failed)
    absent: dict[str, str] = {}
    for name in job.stages:
        if name not in done:
            source = next((f for f in failed if f in job.graph.ancestors([name])), error.stage)
            told = job.results[source].error if source in job.results else str(error)
            absent |= dict.fromkeys(job.graph.stages[name].outs, f"stage {title(source)} failed: {told}")
    return absent

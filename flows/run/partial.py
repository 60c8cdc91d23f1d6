"""A page of what is there, when a stage has failed: ``reports/partial/index.html``, outside of the graph."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from components.report.budget import title
from components.stage.files.publish import remove
from flows.errors import StageFailedError
from flows.importing import CommandFailedError, passed_on
from flows.run.stages import Run

PARTIAL = Path("reports/partial")


@contextmanager
def partial_report(job: Run) -> Iterator[None]:
    """Around a run: where a stage fails, the page of what the others made is built, and the error goes on."""
    remove(job.root / PARTIAL)
    try:
        yield
    except StageFailedError as error:
        absent = absent_outputs(job, error)
        if "data/checked" not in absent and job.system == "all":
            with suppress(CommandFailedError):  # it has said why; the stage's error matters more
                where = str(PARTIAL / "index.html")
                passed_on(
                    job.root,
                    [sys.executable, "-m", "components.report", "partial", where, json.dumps(absent)],
                )
        raise


def absent_outputs(job: Run, error: StageFailedError) -> dict[str, str]:
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

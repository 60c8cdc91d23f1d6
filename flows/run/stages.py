"""Run one stage of the graph here, as a call of DVC in a process group that dies with us (``dvc_job``).

The flow's own output stays short; what DVC and the stage's command print goes to one log per stage and run,
``.vitrine/logs/<pipeline run>/<stage>.log``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from components.machine import processes
from components.parameters.runner import RunnerParams
from components.stage.record import STATE, StageResult, State, newest_record
from components.stage.resources.full_disk import why_it_ended
from flows.errors import CalledOffError, LockHeldError, StageFailedError
from flows.run.graph import Graph
from flows.run.locks import held, mend

JOB = Path(__file__).with_name("dvc_job.py")
POLL_S = 0.1
TAIL_BYTES = 4096
COUNTED = r": \d[\d,]*/\d"  # a line in which a stage counts its work: "training: 12/300 steps, ..."
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class StageJob:
    """Which stage to run where: ``run`` names the pipeline run, ``prefect_run`` Prefect's flow run."""

    root: Path
    name: str
    run: str
    prefect_run: str = ""
    # how long the stage waits for a lock of another process before the stage begins, in seconds
    lock_timeout_s: float = 600.0
    # numbers of the cores it is bound to; empty: all
    cores: tuple[int, ...] = ()
    # set from another thread: stop, as at Ctrl-C
    called_off: threading.Event = field(default_factory=threading.Event)

    @property
    def log(self) -> Path:
        """Its log in this run; the run's id may be foreign, so one that is no plain name goes by its hash."""
        plain = self.run if PLAIN.fullmatch(self.run) else hashlib.sha256(self.run.encode()).hexdigest()[:32]
        return self.root / STATE / "logs" / plain / f"{self.name}.log"


@dataclass(frozen=True)
class Watcher:
    """Where progress goes: ``say`` gets sentences, ``follow`` stage, seconds and newest line of the running
    stage, ``ended`` how a stage came out."""

    say: Callable[[str], None] = lambda text: None
    follow: Callable[[str, float, str], None] = lambda stage, seconds, line: None
    ended: Callable[[StageResult], None] = lambda result: None


QUIET = Watcher()


@dataclass
class PipelineRun:
    """One pipeline run: what was asked for, where, and how it comes out (``results`` fill as stages end)."""

    id: str
    root: Path
    system: str
    graph: Graph
    stages: tuple[str, ...]  # in topological order
    runner: RunnerParams
    parameters: Mapping[str, BaseModel] = field(default_factory=dict)  # blocks of params.yaml
    lock_timeout_s: float = 600.0
    watcher: Watcher = QUIET
    results: dict[str, StageResult] = field(default_factory=dict)
    prefect_run: str = ""
    called_off: threading.Event = field(default_factory=threading.Event)
    failure: StageFailedError | None = None  # of the stage that failed first
    at_work: set[str] = field(default_factory=set)  # stages that have cores now
    server_away: bool = False  # Prefect's server does not answer: no stage begins

    def finish(self, result: StageResult) -> StageResult:
        """Keep and show a result."""
        self.results[result.stage] = result
        self.watcher.ended(result)
        return result


def run_stage(stage: StageJob, watcher: Watcher = QUIET) -> StageResult:
    """Run one stage here and tell how it ended; only a lock held too long or an interruption raises.

    Raises LockHeldError: another process runs this stage, or holds DVC's lock, for longer than the timeout;
    CalledOffError: ``called_off`` was set; every process of the stage is gone when this is raised.
    """
    lock, records = stage.root / STATE / "locks" / f"{stage.name}.lock", stage.root / STATE / "records"
    with held(lock, f"Stage '{stage.name}'", stage.lock_timeout_s, watcher.say) as handle:
        mend(stage.root, watcher.say)
        before, start = set((records / stage.name).glob("*.json")), time.perf_counter()
        arguments = {"targets": [stage.name], "single_item": True}
        state, error = call_dvc(stage, "reproduce", arguments, watcher, handle)
        seconds = time.perf_counter() - start
        record = newest_record(set((records / stage.name).glob("*.json")) - before)
    code, peak = 0, record.peak_memory_bytes if record else 0
    if state == "failed":
        code, error = (record.exit_code, record.error) if record and record.exit_code else (1, error)
        error = why_it_ended(error, end_of(stage.log), stage.root) if code == 1 else error
    elif record:
        state = "ran"
    left = record.model_dump() if record else None
    return StageResult(stage.name, state, code, error, seconds, peak, stage.log, start, left)


def call_dvc(
    job: StageJob, call: str, arguments: dict[str, Any], watcher: Watcher = QUIET, handle: int | None = None
) -> tuple[State, str]:
    """Have DVC do ``call`` for a stage, follow the stage's log, and leave no process behind.

    Returns how it ended (ran, restored, unchanged, failed), and a sentence for a failure.

    Raises LockHeldError: another DVC process held its lock for too long; CalledOffError: see above.
    """
    job.log.parent.mkdir(parents=True, exist_ok=True)
    answer = job.log.with_suffix(f".{os.getpid()}.{call}.json")
    answer.unlink(missing_ok=True)
    patience = str(job.lock_timeout_s)
    command = [sys.executable, "-P", str(JOB), str(answer), str(os.getpid()), patience, call]
    env = {"VITRINE_RUNNER": "1", "VITRINE_PIPELINE_RUN": job.run, "VITRINE_PREFECT_RUN": job.prefect_run}
    start = time.perf_counter()
    with job.log.open("ab") as output:
        child = [*command, json.dumps(arguments)]
        process = processes.start(child, job.root, output, env=env, keep_open=handle, cores=job.cores)
        try:
            while process.poll() is None:
                if job.called_off.is_set():
                    raise CalledOffError(f"Stage '{job.name}' was called off.")
                watcher.follow(job.name, time.perf_counter() - start, last_line(job.log, COUNTED))
                time.sleep(POLL_S)
        except BaseException:
            processes.stop(process)
            raise
    return _answer(job, answer, process.returncode)


def _answer(stage: StageJob, path: Path, code: int) -> tuple[State, str]:
    """What a job wrote down before it ended; one that was killed wrote nothing."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        ended = f"DVC ended with exit code {code}; the log has the details."
        return "failed", why_it_ended(ended, end_of(stage.log), stage.root)
    finally:
        path.unlink(missing_ok=True)
    if told["state"] == "busy":
        raise LockHeldError(
            f"Another DVC process kept its lock for {stage.lock_timeout_s:g} s, so stage '{stage.name}' "
            f"could not start; wait for that process to end, or stop it, and run again (log: {stage.log})."
        )
    return told["state"], told["error"]


def end_of(log: Path) -> str:
    """The last few thousand bytes of a log as text; "" where there is none."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        return CONTROL.sub("", file.read().decode("utf-8", "replace"))


def last_line(log: Path, having: str = r"\S") -> str:
    """The newest complete or running line of a log that has something (a regular expression); "" without."""
    lines = re.split(r"[\r\n]+", end_of(log))
    return next((line.strip() for line in reversed(lines) if re.search(having, line)), "")

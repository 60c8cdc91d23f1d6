"""Run one stage of the graph here, as a call of DVC in a process group that dies with us (flows/dvc_job.py).

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel

from components.parameters.runner import RunnerParams
from components.stage.record import STATE, Record
from flows import processes
from flows.errors import CalledOffError, LockHeldError, StageFailedError
from flows.graph import Graph
from flows.locks import clear_dead_locks, guard_lock_file, held

State = Literal["ran", "restored", "unchanged", "cached", "failed"]
JOB = Path(__file__).with_name("dvc_job.py")
POLL_S = 0.1
TAIL_BYTES = 4096
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
KILLED = "its process was killed from outside (out of memory?); run again, finished stages are kept."


@dataclass(frozen=True)
class Stage:
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
        """The log of this stage in this run."""
        return log_path(self.root, self.run, self.name)


@dataclass(frozen=True)
class StageResult:
    """How a stage ended. ``cached``: nothing to do; ``unchanged``: DVC found so when asked; ``restored``: the
    outputs came from the run cache; ``ran``: its command ran."""

    stage: str
    state: State
    exit_code: int = 0
    error: str = ""
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    log: Path | None = None
    record: Path | None = None
    started: float = 0.0  # seconds on the clock of time.perf_counter; 0 for nothing run here


@dataclass(frozen=True)
class Watcher:
    """Where progress goes: ``say`` gets sentences, ``follow`` stage, seconds and newest line of the running
    stage, ``ended`` how a stage came out."""

    say: Callable[[str], None]
    follow: Callable[[str, float, str], None]
    ended: Callable[[StageResult], None]


QUIET = Watcher(say=lambda text: None, follow=lambda stage, seconds, line: None, ended=lambda result: None)


@dataclass
class Run:
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

    def finish(self, result: StageResult) -> StageResult:
        """Keep and show a result."""
        self.results[result.stage] = result
        self.watcher.ended(result)
        return result


def log_path(root: Path, run: str, stage: str) -> Path:
    """Path of a stage log; the run's id may be foreign, so what is no plain name goes by its hash."""
    plain = run if PLAIN.fullmatch(run) else hashlib.sha256(run.encode()).hexdigest()[:32]
    return root / STATE / "logs" / plain / f"{stage}.log"


def run_stage(stage: Stage, watcher: Watcher = QUIET) -> StageResult:
    """Run one stage here and tell how it ended; only a lock held too long or an interruption raises.

    Raises:
        LockHeldError: another process runs this stage, or holds DVC's lock, for longer than the timeout.
        CalledOffError: ``called_off`` was set; every process of the stage is gone when this is raised.
    """
    lock = stage.root / STATE / "locks" / f"{stage.name}.lock"
    with held(lock, f"Stage '{stage.name}'", stage.lock_timeout_s, watcher.say) as handle:
        if clear_dead_locks(stage.root):
            watcher.say("removed DVC's locks of a process that is gone")
        if guard_lock_file(stage.root):
            watcher.say("repaired dvc.lock, which a killed run had cut short")
        before, start = _records(stage), time.perf_counter()
        arguments = {"targets": [stage.name], "single_item": True}
        answer = call_dvc(stage, "reproduce", arguments, watcher, keep_open=[handle])
        seconds, new = time.perf_counter() - start, _records(stage) - before
    return replace(_result(stage, answer, new), seconds=seconds, started=start)


def call_dvc(
    stage: Stage,
    call: str,
    arguments: dict[str, Any],
    watcher: Watcher = QUIET,
    keep_open: Sequence[int] = (),
) -> tuple[str, str]:
    """Have DVC do ``call`` for a stage, follow the stage's log, and leave no process behind.

    Returns:
        How it ended (ran, restored, unchanged, failed), and a sentence for a failure.

    Raises:
        LockHeldError: another DVC process held its lock for longer than the stage's timeout.
        CalledOffError: ``called_off`` was set meanwhile.
    """
    stage.log.parent.mkdir(parents=True, exist_ok=True)
    answer = stage.log.with_suffix(f".{os.getpid()}.{call}.json")
    answer.unlink(missing_ok=True)
    patience = str(stage.lock_timeout_s)
    command = [sys.executable, "-P", str(JOB), str(answer), str(os.getpid()), patience, call]
    extra = {
        "VITRINE_RUNNER": "1",
        "VITRINE_PIPELINE_RUN": stage.run,
        "VITRINE_PREFECT_RUN": stage.prefect_run,
    }
    start = time.perf_counter()
    with stage.log.open("ab") as output:
        child = [*command, json.dumps(arguments)]
        process = processes.start(child, stage.root, output, extra, keep_open, stage.cores)
        try:
            while process.poll() is None:
                if stage.called_off.is_set():
                    raise CalledOffError(f"Stage '{stage.name}' was called off.")
                watcher.follow(stage.name, time.perf_counter() - start, last_line(stage.log))
                time.sleep(POLL_S)
        except BaseException:
            processes.stop(process)
            raise
    return _answer(stage, answer, process.returncode)


def _answer(stage: Stage, path: Path, code: int) -> tuple[str, str]:
    """What a job wrote down before it ended; one that was killed wrote nothing."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        ended = f"DVC ended with exit code {code}; the log has the details."
        return "failed", KILLED if code in (137, 143) else ended
    finally:
        path.unlink(missing_ok=True)
    if told["state"] == "busy":
        raise LockHeldError(
            f"Another DVC process kept its lock for {stage.lock_timeout_s:g} s, so stage '{stage.name}' "
            f"could not start; wait for that process to end, or stop it, and run again (log: {stage.log})."
        )
    return told["state"], told["error"]


def _records(stage: Stage) -> set[Path]:
    """All records of a stage."""
    return set((stage.root / STATE / "records" / stage.name).glob("*.json"))


def _result(stage: Stage, answer: tuple[str, str], new: set[Path]) -> StageResult:
    """Join what DVC answered with the record of the stage's command."""
    state, error = answer
    record, path = newest_record(new)
    peak = record.peak_memory_bytes if record else 0
    if state != "failed":
        known = "ran" if record else cast(State, state)
        return StageResult(stage.name, known, peak_memory_bytes=peak, log=stage.log, record=path)
    code = record.exit_code if record and record.exit_code else 1
    error = record.error if record and record.exit_code else error
    return StageResult(stage.name, "failed", code, error, 0.0, peak, stage.log, path)


def newest_record(paths: set[Path]) -> tuple[Record | None, Path | None]:
    """The record that started last, and its path; unreadable files are passed over."""
    found: list[tuple[float, str, Record]] = []
    for path in paths:
        try:
            record = Record.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue
        found.append((record.started, str(path), record))
    if not found:
        return None, None
    _, name, record = max(found, key=lambda item: item[:2])
    return record, Path(name)


def last_line(log: Path) -> str:
    """The newest complete or running line of a log, for the progress display."""
    with log.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        lines = re.split(r"[\r\n]+", CONTROL.sub("", file.read().decode("utf-8", "replace")))
    return next((line.strip() for line in reversed(lines) if line.strip()), "")

"""Run one stage of the graph here, as ``dvc repro --single-item`` in a process group that dies with us.

The flow's own output stays short; what DVC and the door print goes to one log per stage and run,
``.vitrine/logs/<pipeline run>/<stage>.log``.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NoReturn

from components.stage.record import STATE, Record
from flows import processes
from flows.errors import LockHeldError
from flows.locks import StrangersLock, clear_dead_locks, guard_lock_file, held

State = Literal["ran", "restored", "unchanged", "cached", "failed"]
# What DVC prints (dvc/stage/__init__.py, dvc/stage/cache.py, dvc/lock.py, dvc/rwlock.py).
UNCHANGED = "didn't change, skipping"
RESTORED = "is cached - skipping run"
LOCKED = ("Unable to acquire lock", "is busy, it is being blocked by")
BEGUN = "Running stage '"
POLL_S = 0.1
LOCK_RETRY_S = 1.0
TAIL_BYTES = 4096
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Stage:
    """Which stage to run where: ``run`` names the pipeline run, ``prefect_run`` Prefect's flow run."""

    root: Path
    name: str
    run: str
    prefect_run: str = ""
    # how long a stranger's lock is waited out before the stage begins, in seconds
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
    outputs came from the run cache; ``ran``: its door ran."""

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


def log_path(root: Path, run: str, stage: str) -> Path:
    """Path of a stage log; the run's id may come over the wire, so what is no plain name goes by its hash."""
    plain = run if PLAIN.fullmatch(run) else hashlib.sha256(run.encode()).hexdigest()[:32]
    return root / STATE / "logs" / plain / f"{stage}.log"


def run_stage(stage: Stage, watcher: Watcher = QUIET) -> StageResult:
    """Run one stage here and tell how it ended; only a lock held too long or an interruption raises.

    Raises:
        LockHeldError: another process runs this stage, or holds DVC's lock, for longer than the timeout.
        KeyboardInterrupt: we were interrupted; every process of the stage is gone when this is raised.
    """
    stage.log.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + stage.lock_timeout_s
    lock = stage.root / STATE / "locks" / f"{stage.name}.lock"
    with held(lock, f"Stage '{stage.name}'", stage.lock_timeout_s, watcher.say) as handle:
        while True:
            before = _records(stage)
            start, offset = time.perf_counter(), stage.log.stat().st_size if stage.log.exists() else 0
            code = _reproduce(stage, handle, watcher, offset)
            seconds, text = time.perf_counter() - start, _text(stage.log, offset)
            new = _records(stage) - before
            if not code or new or not any(sign in text for sign in LOCKED):
                return replace(_result(stage, code, seconds, text, new), started=start)
            _wait_for_dvc(stage, deadline, watcher)


def _reproduce(stage: Stage, lock: int, watcher: Watcher, offset: int) -> int:
    """Start DVC for one stage, follow its log and return its exit code; leave no process behind."""
    if clear_dead_locks(stage.root):
        watcher.say("removed DVC's locks of a process that is gone")
    if guard_lock_file(stage.root):
        watcher.say("mended dvc.lock, which a killed run had cut short")
    # DVC gives up a lock it waits for after 3 s, also after the command: then the stage's work would be lost.
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", stage.name]
    extra = {
        "VITRINE_RUNNER": "1",
        "VITRINE_PIPELINE_RUN": stage.run,
        "VITRINE_PREFECT_RUN": stage.prefect_run,
    }
    with stage.log.open("ab") as output:
        start = time.perf_counter()
        process = processes.start(command, stage.root, output, extra, keep_open=[lock], cores=stage.cores)
        strangers = StrangersLock(stage.root)
        try:
            while process.poll() is None:
                if stage.called_off.is_set():
                    raise KeyboardInterrupt
                if strangers.waited_s() > 0 and BEGUN not in _text(stage.log, offset):
                    _sit_out(stage, strangers, watcher)
                watcher.follow(stage.name, time.perf_counter() - start, last_line(stage.log))
                time.sleep(POLL_S)
        except BaseException:
            processes.stop(process)
            raise
    return process.returncode


def _sit_out(stage: Stage, strangers: StrangersLock, watcher: Watcher) -> None:
    """Tell once that the stage waits for a DVC process that is not ours, and for how long at most.

    Raises:
        LockHeldError: the timeout has passed.
    """
    if strangers.waited_s() > stage.lock_timeout_s:
        _give_up(stage)
    if not strangers.told:
        watcher.say(f"another DVC process holds its lock; stage '{stage.name}' waits")
        strangers.told = True


def _give_up(stage: Stage) -> NoReturn:
    raise LockHeldError(
        f"Another DVC process kept its lock for {stage.lock_timeout_s:g} s, so stage '{stage.name}' "
        f"could not start; wait for that process to end, or stop it, and run again (log: {stage.log})."
    )


def _wait_for_dvc(stage: Stage, deadline: float, watcher: Watcher) -> None:
    """Sit out DVC's lock on the paths of a stage.

    Raises:
        LockHeldError: the deadline has passed.
    """
    if time.monotonic() >= deadline:
        _give_up(stage)
    watcher.say(f"another DVC process holds its lock; stage '{stage.name}' waits")
    time.sleep(LOCK_RETRY_S)


def _records(stage: Stage) -> set[Path]:
    """All records of a stage."""
    return set((stage.root / STATE / "records" / stage.name).glob("*.json"))


def _result(stage: Stage, code: int, seconds: float, text: str, new: set[Path]) -> StageResult:
    """Join DVC's exit code with the door's record."""
    record, path = newest_record(new)
    if code == 0 and record is None:
        state: State = "unchanged" if UNCHANGED in text else "restored" if RESTORED in text else "ran"
        return StageResult(stage.name, state, seconds=seconds, log=stage.log)
    peak = record.peak_memory_bytes if record else 0
    if code == 0:
        return StageResult(stage.name, "ran", 0, "", seconds, peak, stage.log, path)
    if record and record.exit_code:
        error, exit_code = record.error, record.exit_code
    else:
        error, exit_code = explain(text, code), 130 if code == 130 else 1
    return StageResult(stage.name, "failed", exit_code, error, seconds, peak, stage.log, path)


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


def explain(text: str, code: int) -> str:
    """One sentence for a stage that failed without a record of its own, from what DVC printed."""
    if "No space left on device" in text or "Disk quota exceeded" in text:
        return "the disk is full: free some space ('vitrine gc') and run again; finished stages are kept."
    missing = re.findall(r"(?:missing data|No such file or directory:) '([^']+)'", text)
    if missing:
        return f"its input {missing[0]} is missing; run what makes it, 'dvc pull', or 'vitrine import'."
    if code in (137, 143):
        return "its process was killed from outside (out of memory?); run again, finished stages are kept."
    errors = [line.removeprefix("ERROR: ") for line in text.splitlines() if line.startswith("ERROR: ")]
    return errors[-1] if errors else f"dvc repro ended with exit code {code}; the log has the details."


def _text(log: Path, offset: int) -> str:
    """What was written to a log since ``offset``, without terminal codes."""
    with log.open("rb") as file:
        file.seek(offset)
        return CONTROL.sub("", file.read().decode("utf-8", "replace"))


def last_line(log: Path) -> str:
    """The newest complete or running line of a log, for the progress display."""
    with log.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        lines = re.split(r"[\r\n]+", CONTROL.sub("", file.read().decode("utf-8", "replace")))
    return next((line.strip() for line in reversed(lines) if line.strip()), "")

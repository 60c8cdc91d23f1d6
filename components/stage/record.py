"""What one execution of a stage did: parameters, metrics, curves, timings, environment.

A record is the only thing that a stage writes besides its outputs. Records are written beside the graph
(``.vitrine/records/<stage>/<uuid>.json``), never into it, so clocks and hosts stay out of DVC's hashes.
"""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from components.stage.files.publish import write_text
from components.stage.resources.accelerator import computed_in, device

STATE = Path(".vitrine")
State = Literal["ran", "restored", "unchanged", "cached", "failed"]
LIBRARIES = (
    "torch",
    "open_clip_torch",
    "transformers",
    "numpy",
    "pyarrow",
    "faiss-cpu",
    "great-expectations",
)


LOWER_IS_BETTER = frozenset(
    {"hallucination_rate", "hallucination_at", "fallback_rate", "risk_coverage_area", "calibration_error"}
)


def lower_is_better(metric: str) -> bool:
    """Whether a smaller value of ``metric`` is the better one."""
    words = f"_{metric.split('.')[-1]}_"  # raw_hallucination_rate and the like: slices of one metric
    return any(f"_{name}_" in words for name in LOWER_IS_BETTER)


class Interval(BaseModel):
    """A figure with its 95% interval and the number of independent units it was computed from."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int


class Exchange(BaseModel):
    """A question to a chat model about one product: what it cost; the answer is in the stage's outputs."""

    product_id: str
    task: str  # the role that answered
    started: float  # Unix time, seconds
    seconds: float  # until the answer was there, waiting for a free place included
    prompt_tokens: int = 0
    completion_tokens: int = 0
    attempts: int = 1


class Record(BaseModel):
    """One execution of one stage. ``stage`` is DVC's name, with ``@item`` for matrix stages."""

    id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    stage: str
    status: str = "running"  # finished | failed
    error: str = ""
    exit_code: int = 0
    left_out: str = ""  # why it did nothing: the catalogue lacks what it works on
    started: float = Field(default_factory=time.time)  # Unix time, seconds
    seconds: float = 0.0
    peak_memory_bytes: int = 0  # resident set of the stage's process, and of its largest child
    parameters: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    # curve name -> list of {step, value}
    curves: dict[str, list[dict[str, float]]] = {}
    timings: dict[str, float] = {}  # part of the work -> seconds
    # how busy the machine was: MLflow's name without system/ -> list of {seconds, value}
    system: dict[str, list[dict[str, float]]] = {}
    prompts: dict[str, str] = {}  # role -> what a chat model was told
    exchanges: list[Exchange] = []  # with a chat model, about a sample of the products
    outputs: list[str] = []
    environment: dict[str, str] = {}
    parent: str = ""  # pipeline run id: VITRINE_PIPELINE_RUN
    prefect_run: str = ""  # VITRINE_PREFECT_RUN

    def timing(self, name: str, seconds: float) -> None:
        """Add seconds to a named part of the work."""
        self.timings[name] = self.timings.get(name, 0.0) + seconds

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Time a block of code under ``name``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timing(name, time.perf_counter() - start)


@dataclass(frozen=True)
class StageResult:
    """How a stage of a pipeline run ended, wherever it ran.

    ``cached``: nothing to do; ``unchanged``: DVC found so when asked; ``restored``: the outputs came from the
    run cache; ``ran``: its command ran; ``failed``.
    """

    stage: str
    state: State
    exit_code: int = 0
    error: str = ""
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    log: Path | None = None
    started: float = 0.0  # seconds on the clock of time.perf_counter; 0 for nothing run here
    record: dict[str, Any] | None = None  # what the command left behind, a :class:`Record`
    outputs: dict[str, str] = field(default_factory=dict)  # path -> DVC's hash; of a stage that ran elsewhere
    log_end: str = ""  # the end of what was printed elsewhere

    @property
    def cached(self) -> bool:
        """Whether the results were there already."""
        return self.state in ("cached", "restored", "unchanged")


def environment() -> dict[str, str]:
    """Versions and machine of this process, for the record only."""
    found = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": str(os.cpu_count()),
        "host": platform.node(),
    }
    if "torch" in sys.modules:
        where = device()
        found["bf16"] = f"{where.type}, computed in {computed_in('bf16', where)}"
    for name in LIBRARIES:
        if name.replace("-", "_").split("_")[0] in {m.split(".")[0] for m in sys.modules} or name in (
            "numpy",
        ):
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
    return found


def peak_memory_bytes() -> int:
    """Largest resident set of this process and of any finished child, in bytes.

    Linux starts ``ru_maxrss`` of a new program at what the process that started it held, so this process's
    own peak is read from ``/proc`` where there is one.
    """
    unit = 1 if sys.platform == "darwin" else 1024
    own, children = (
        resource.getrusage(who).ru_maxrss * unit for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
        own = int(found[1]) * 1024 if found else own
    return max(own, children)


def save_record(record: Record, state: Path = STATE) -> Path:
    """Write a record under ``state/records/<stage>/<id>.json`` and return its path."""
    path = state / "records" / record.stage / f"{record.id}.json"
    write_text(path, json.dumps(record.model_dump(), indent=1, sort_keys=True))
    return path


def newest_record(paths: Iterable[Path]) -> Record | None:
    """The record that started last; unreadable files are passed over."""
    found: list[tuple[float, str, Record]] = []
    for path in paths:
        try:
            record = Record.model_validate_json(path.read_bytes())
        except (OSError, ValueError):
            continue
        found.append((record.started, str(path), record))
    return max(found, key=lambda item: item[:2])[2] if found else None


def last_finished(root: Path, stage: str, most: int = 20) -> Record | None:
    """The record of the last successful execution of a stage in a workspace; ``most`` files are looked at."""
    paths = (root / STATE / "records" / stage).glob("*.json")
    for path in sorted(paths, key=lambda p: p.stat().st_mtime, reverse=True)[:most]:
        record = newest_record([path])
        if record is not None and record.status == "finished":
            return record
    return None

"""Writing into an MLflow run, in few calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components.stage.record import Record
from components.tracking.publish.pending import Join
from components.tracking.publish.run_content import Figure

# MLflow takes 1,000 in all, 100 of each of the last two
PER_BATCH = {"metrics": 800, "params": 100, "tags": 100}


@dataclass(frozen=True)
class StageRun:
    """A stage's run while it is written: MLflow's client and run, and what the stage left behind."""

    client: Any
    run: Any
    record: Record
    join: Join


@dataclass(frozen=True)
class FigureSource:
    """What figures were measured of, and on which data set ("" for none)."""

    model_id: str
    dataset: str = ""
    digest: str = ""


@dataclass(frozen=True)
class Entries:
    """What is written into a run; ``timestamp`` is that of figures without their own, Unix milliseconds."""

    figures: Sequence[Figure] = ()
    timestamp: int = 0
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    measured: FigureSource | None = None


def log(client: Any, run_id: str, entries: Entries) -> None:
    """Write entries to a run, in batches of a size that the store takes."""
    from mlflow.entities import Metric, Param, RunTag

    of = entries.measured
    tied = {"model_id": of.model_id} if of else {}
    tied |= {"dataset_name": of.dataset, "dataset_digest": of.digest} if of and of.dataset else {}
    batches = {
        "metrics": [
            Metric(f.key, f.value, f.timestamp or entries.timestamp, f.step, **tied) for f in entries.figures
        ],
        "params": [Param(key, value) for key, value in entries.params.items()],
        "tags": [RunTag(key, value) for key, value in entries.tags.items()],
    }
    while any(batches.values()):
        call = {kind: items[: PER_BATCH[kind]] for kind, items in batches.items()}
        batches = {kind: items[PER_BATCH[kind] :] for kind, items in batches.items()}
        client.log_batch(run_id, **call, synchronous=True)


def milliseconds(seconds: float) -> int:
    """MLflow's unit of time."""
    return round(seconds * 1000)

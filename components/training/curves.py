"""What a training run looked like: by step as CSV for ``dvc plots``, and as part of its record."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from components.stage.record import Record

Row = Mapping[str, float]
MOST_POINTS = 500  # of a curve that go into the record


@dataclass
class History:
    """One entry per step and per validation, and what the run waited for.

    ``step`` of a training entry counts from zero; of a validation it is how many steps were done. ``further``
    are curves over something else than steps, named after it, that were made after the last step.
    """

    steps: list[dict[str, float]] = field(default_factory=list)
    validation: list[dict[str, float]] = field(default_factory=list)
    further: list[dict[str, float]] = field(default_factory=list)
    data_seconds: float = 0.0
    train_seconds: float = 0.0  # data included
    resumed_from: int = 0


def curves_csv(steps: Sequence[Row], validation: Sequence[Row] = (), further: Sequence[Row] = ()) -> str:
    """One line per step, then those of further curves; columns are empty where there is nothing to say."""
    checks = {int(row["step"]) - 1: row for row in validation}
    names, extra, more = (
        sorted({k for row in rows for k in row} - {"step"}) for rows in (steps, validation, further)
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", *names, *extra, *more])
    for row in steps:
        step = int(row["step"])
        values = [f"{row[n]:.6g}" if n in row else "" for n in names]
        checked = (f"{checks[step][n]:.6g}" if step in checks else "" for n in extra)
        writer.writerow([step, *values, *checked, *[""] * len(more)])
    for row in further:
        empty = [""] * (len(names) + len(extra))
        writer.writerow([int(row["step"]), *empty, *(f"{row[n]:.6g}" for n in more)])
    return text.getvalue()


def thinned(rows: Sequence[Row], name: str) -> list[dict[str, float]]:
    """One figure by step, evenly thinned to the record's size."""
    points = [{"step": row["step"], "value": row[name]} for row in rows if name in row]
    return points[:: max(1, len(points) // MOST_POINTS)]


def record_history(record: Record, history: History, batch_size: int) -> None:
    """Put speed, last figures and curves of a run into its record."""
    done = len(history.steps) - history.resumed_from
    record.timing("waiting_for_data", history.data_seconds)
    record.metrics |= {
        "pairs_per_second": done * batch_size / max(history.train_seconds, 1e-9),
        "final_loss": history.steps[-1]["loss"],
        "resumed_from_step": float(history.resumed_from),
    }
    if history.validation:
        record.metrics |= {name: value for name, value in history.validation[-1].items() if name != "step"}
    for rows in (history.steps, history.validation, history.further):
        for name in sorted({key for row in rows for key in row} - {"step"}):
            record.curves[name] = thinned(rows, name)

"""Per-query and per-product results: Parquet files of an evaluation as arrays, one system at a time."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Texts = NDArray[Any]  # of str

KEYS = ("query_id", "product_id")
SLICED_BY = ("kind", "category")  # columns whose values part the rows into slices
SAID = ("text", "truth_title", "true_title")  # what a key stands for: equal on both sides, or not the same
PLACES = frozenset({"x", "y"})  # where something was seen in a picture: not how well


@dataclass(frozen=True, order=True)
class System:
    """What was measured: ``table`` is the evaluation, ``variant`` the system, ``task`` what it was asked."""

    table: str
    variant: str
    task: str = ""

    def figure(self, metric: str) -> str:
        """The name that the figures of the evaluation give to this metric of this task."""
        return metric if self.task in ("", "queries", "attributes") else f"{self.task}_{metric}"


@dataclass
class Results:
    """Values of one system, by key in alphabetical order; NaN where a metric is not defined."""

    keys: Texts
    metrics: dict[str, Floats]
    slices: dict[str, Texts] = field(default_factory=dict)  # dimension -> label of each key, "" unknown
    groups: Texts | None = None  # keys of one group are not independent
    said: Texts | None = None
    rows: Any = None  # the pyarrow table behind it, in the order of the keys

    def at(self, keys: Texts) -> Results:
        """The same for some of the keys, in their order."""
        where = np.searchsorted(self.keys, keys)
        groups, said = (None if texts is None else texts[where] for texts in (self.groups, self.said))
        metrics = {name: values[where] for name, values in self.metrics.items()}
        slices = {name: labels[where] for name, labels in self.slices.items()}
        rows = None if self.rows is None else self.rows.take(where)
        return Results(keys, metrics, slices, groups, said, rows)


def read_results(files: Mapping[str, bytes]) -> dict[System, Results]:
    """System -> its values, of files named as under ``results/per_query/``.

    A file that is no Parquet table, or has no keys, gives nothing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: dict[System, Results] = {}
    for name, raw in sorted(files.items()):
        path = PurePosixPath(name)
        try:
            table = pq.read_table(io.BytesIO(raw))
        except (pa.ArrowException, OSError):
            continue
        found |= dict(_systems(table, path.parts[0] if len(path.parts) > 1 else path.stem, path.stem))
    return found


def _systems(table: Any, folder: str, stem: str) -> Iterator[tuple[System, Results]]:
    import pyarrow as pa

    held = set(table.column_names)
    key = next((name for name in KEYS if name in held), None)
    if key is None or "variant" not in held:
        return
    # columns that say how well: 64-bit floats; weights and coordinates are none
    floats = [f.name for f in table.schema if f.type == pa.float64() and f.name not in PLACES]
    metrics = {name: table.column(name).to_numpy().astype(np.float64) for name in floats}
    ids = _texts(table, key)
    if {"attribute", "truth", "predicted"} <= held:  # a row for each attribute of a product
        ids = ids + " " + _texts(table, "attribute")
        answers = zip(_texts(table, "truth"), _texts(table, "predicted"), strict=True)
        metrics["attribute_accuracy"] = np.array([float(said in stated(truth)) for truth, said in answers])
    variants, tasks = _texts(table, "variant"), _texts(table, "task")
    for variant, task in sorted(set(zip(variants, tasks, strict=True))) if metrics else ():
        rows = np.flatnonzero((variants == variant) & (tasks == task))
        keys, first = np.unique(ids[rows].astype(str), return_index=True)
        values = {name: column[rows[first]] for name, column in metrics.items()}
        kept = {name: column for name, column in values.items() if not np.isnan(column).all()}
        part = table.take(rows[first])
        slices = {name: _texts(part, name) for name in SLICED_BY if name in held}
        if by_attribute := {"attribute", "truth"} <= held:
            slices["attribute"] = _texts(part, "attribute")
        grouped = "group_id" if "group_id" in held else "product_id" if by_attribute else ""
        groups = _texts(part, grouped) if grouped else None
        said = next((_texts(part, name) for name in SAID if name in held), None)
        said = said if said is not None and any(said) else None
        system = System(folder, variant, task or ("" if stem in (folder, variant) else stem))
        yield system, Results(keys, kept, slices, groups, said, part)


def stated(truth: str) -> frozenset[str]:
    """The true values of an attribute; evaluations write several of them as a JSON list."""
    try:
        several = json.loads(truth) if truth.startswith("[") else None
    except ValueError:
        several = None
    return frozenset(map(str, several)) if isinstance(several, list) else frozenset((truth,))


def _texts(table: Any, name: str) -> Texts:
    """A column as texts; "" for null, and all "" where there is no such column."""
    values = table.column(name).to_pylist() if name in table.column_names else [None] * table.num_rows
    return np.array(["" if value is None else str(value) for value in values], dtype=object)


def mean_over(seeds: list[Results]) -> Results:
    """The same queries answered with several seeds: the mean of each query's values."""
    keys = seeds[0].keys
    for other in seeds[1:]:
        keys = np.intersect1d(keys, other.keys)
    first, *others = aligned = [one.at(keys) for one in seeds]
    shared = [name for name in first.metrics if all(name in one.metrics for one in others)]
    first.metrics = {name: np.mean([one.metrics[name] for one in aligned], axis=0) for name in shared}
    return first

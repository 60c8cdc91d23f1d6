"""What a stage's MLflow run says: parameters, figures, curves, tags, files.

Everything here is a pure function of the record, its lock entry and files named by hash: writing a
run twice writes the same.
"""

from __future__ import annotations

import hashlib
import json
import math
import posixpath
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from components.stage.record import Record
from components.tracking.lineage.lockfile import LockEntry, Output, digest, located
from components.tracking.publish.pending import Join

# MLflow's limits (mlflow.utils.validation)
KEY_LENGTH, PARAM_LENGTH, TAG_LENGTH = 250, 6000, 5000  # MLflow takes tags of 8,000; some SQL back ends 5,000
CURVE_POINTS = 1000  # per curve; the full curve is a file of the graph
COPIED_FOLDERS = ("metrics", "results", "reports", "plots")
COPIED_SUFFIXES = (".json", ".csv", ".parquet", ".html")
CODE_SUFFIXES = (".py", ".toml", ".txt")


class Figure(BaseModel):
    """One value of one MLflow metric."""

    key: str
    value: float
    step: int = 0


def clean_key(key: str) -> str:
    """A name MLflow takes for a parameter, metric or tag; distinct names stay distinct.

    Letters, digits, ``_ - . : /`` and spaces pass; others become ``_``. A name that had to change in a way
    that could equal another carries six digits of its hash.
    """
    cleaned = posixpath.normpath(re.sub(r"[^/\w.\- :]", "_", key, flags=re.ASCII)).strip("/.") or "_"
    if cleaned == key and len(key) <= KEY_LENGTH:
        return key
    return f"{cleaned[: KEY_LENGTH - 7]}_{hashlib.sha256(key.encode()).hexdigest()[:6]}"


def shortened(value: str, limit: int) -> str:
    """The value, cut to ``limit`` characters; the hash of the whole behind it lets equality still show."""
    if len(value) <= limit:
        return value
    tail = f"... sha256:{hashlib.sha256(value.encode()).hexdigest()}"
    return value[: limit - len(tail)] + tail


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings as dotted keys with text values; lists and nulls as JSON."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, f"{name}.")
        else:
            flat[name] = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return flat


def parameters(record: Record, join: Join) -> dict[str, str]:
    """Parameters of the run: the lock entry's, under those that the stage resolved.

    The record has defaults and what the command changed (``vlclip.seed=43``); the entry has params.yaml.
    """
    flat = flattened(join.entry.parameters()) if join.entry else {}
    for key, value in flattened(record.parameters).items():
        if key in flat or not any(known.endswith(f".{key}") for known in flat):
            flat[key] = value
    return {clean_key(key): shortened(value, PARAM_LENGTH) for key, value in flat.items()}


def metric_figures(table: Mapping[str, Any]) -> dict[str, float]:
    """Figures of a metrics file: ``variant/metric`` with ``_low`` and ``_high``, or a flat file's names."""
    found: dict[str, float] = {}
    for variant, metrics in table.items():
        if variant.startswith("_"):
            continue
        if _number(metrics):
            found[variant] = float(metrics)
        for name, interval in metrics.items() if isinstance(metrics, Mapping) else ():
            parts = interval if isinstance(interval, Mapping) else {"value": interval}
            for part, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
                if _number(parts.get(part)):
                    found[f"{variant}/{name}{suffix}"] = float(parts[part])
    return found


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def table_figures(tables: list[Mapping[str, Any]]) -> list[Figure]:
    """Figures of metrics files."""
    return [
        Figure(key=clean_key(key), value=value)
        for table in tables
        for key, value in metric_figures(table).items()
    ]


def figures(record: Record, tables: list[Mapping[str, Any]]) -> list[Figure]:
    """All figures of the run: what the stage recorded, the metrics files, time and memory, curves."""
    single = dict(record.metrics)
    single["system/seconds"] = record.seconds
    single["system/peak_memory_bytes"] = float(record.peak_memory_bytes)
    single |= {f"timing/{part}_s": seconds for part, seconds in record.timings.items()}
    found = [Figure(key=clean_key(key), value=value) for key, value in single.items()]
    found += table_figures(tables)
    for name, points in record.curves.items():
        key = clean_key(f"curve/{name}")
        found += [
            Figure(key=key, value=p["value"], step=int(p["step"]))
            for p in thinned(points)
            if {"step", "value"} <= p.keys()
        ]
    return [figure for figure in found if math.isfinite(figure.value)]  # the record keeps the others


def thinned(points: list[dict[str, float]]) -> list[dict[str, float]]:
    """At most ``CURVE_POINTS`` points, evenly spread, first and last among them."""
    if len(points) <= CURVE_POINTS:
        return points
    last = len(points) - 1
    return [points[round(i * last / (CURVE_POINTS - 1))] for i in range(CURVE_POINTS)]


def common_tags(join: Join) -> dict[str, str]:
    """Tags that a pipeline run and its stage runs share."""
    dirty = "" if join.code.dirty is None else str(join.code.dirty).lower()
    return {
        "vitrine.pipeline_run": join.pipeline,
        "vitrine.prefect_run": join.prefect_run,
        "vitrine.profile": join.profile,
        "vitrine.git_commit": join.code.commit,
        "vitrine.dirty": dirty,
        "mlflow.source.git.commit": join.code.commit,
    }


def tags(record: Record, join: Join) -> dict[str, str]:
    """Tags of a stage's run: where it comes from, and the hash of everything it read and wrote."""
    found = common_tags(join) | {
        "vitrine.kind": "stage",
        "vitrine.stage": record.stage,
        "vitrine.record": record.id,
        "vitrine.params_hash": digest(join.entry.params if join.entry else record.parameters),
        "vitrine.exit_code": str(record.exit_code),
        "mlflow.source.name": str(join.entry.cmd) if join.entry else "",
    }
    if record.error:
        found["vitrine.error"] = record.error
    if join.reason:
        found["vitrine.no_lock_entry"] = join.reason
    if join.entry:
        found |= entry_tags(join.entry)
    return {clean_key(key): shortened(value, TAG_LENGTH) for key, value in found.items() if value}


def is_code(path: str) -> bool:
    """Is a dependency source code? Code is tagged as one hash: a stage may depend on dozens of modules."""
    return path.endswith(CODE_SUFFIXES)


def entry_tags(entry: LockEntry) -> dict[str, str]:
    """Hashes as tags: the entry, its outputs and data dependencies one by one, its code as a whole."""
    code = sorted((dep.path, dep.md5) for dep in entry.deps if is_code(dep.path))
    found = {"vitrine.lock_entry": entry.digest(), "vitrine.code": digest(code)}
    found |= {f"vitrine.out.{data_name(out)}": out.md5 for out in entry.outs}
    return found | {f"vitrine.dep.{data_name(dep)}": dep.md5 for dep in entry.deps if not is_code(dep.path)}


def data_name(output: Output) -> str:
    """One spelling for a path, whether dvc.yaml writes it with a slash at its end or not."""
    return output.path.rstrip("/")


def evidence(root: Path, join: Join, limit_bytes: int) -> dict[str, Path]:
    """Files of the entry worth keeping in MLflow: metrics, per-query results, pages, plots; no models.

    Relative path -> a local file with the recorded bytes. Files above ``limit_bytes`` stay in DVC alone.
    """
    found: dict[str, Path] = {}
    for output in join.entry.outs if join.entry else ():
        if output.path.split("/")[0] in COPIED_FOLDERS and (
            output.size is None or output.size <= limit_bytes
        ):
            found |= located(root, output)
    return {
        path: file
        for path, file in found.items()
        if path.endswith(COPIED_SUFFIXES)
        and ".." not in Path(path).parts
        and file.stat().st_size <= limit_bytes
    }


def metric_tables(files: Mapping[str, Path]) -> list[Mapping[str, Any]]:
    """The metrics files among ``files``, parsed; one that is no JSON mapping is kept as a file only."""
    tables: list[Mapping[str, Any]] = []
    for path, file in sorted(files.items()):
        if path.startswith("metrics/") and path.endswith(".json"):
            try:
                loaded = json.loads(file.read_text(encoding="utf-8"))
            except ValueError:
                continue
            if isinstance(loaded, dict):
                tables.append(loaded)
    return tables


def lay_out(folder: Path, record: Record, join: Join, files: Mapping[str, Path]) -> None:
    """Put the run's files into ``folder`` under their own names, record and lock entry beside them."""
    for path, file in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    (folder / "record.json").write_text(
        json.dumps(record.model_dump(), indent=1, sort_keys=True), encoding="utf-8"
    )
    if join.entry:
        (folder / "lock_entry.json").write_text(
            json.dumps(join.entry.model_dump(), indent=1), encoding="utf-8"
        )

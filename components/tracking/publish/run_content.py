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
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from components.stage.record import Record
from components.tracking.lineage.lockfile import LockEntry, Output, digest, located
from components.tracking.params import TrackingParams
from components.tracking.publish import headline
from components.tracking.publish.pending import Join, Origin
from components.tracking.store import CATALOGUE

# MLflow's limits (mlflow.utils.validation)
KEY_LENGTH, PARAM_LENGTH, TAG_LENGTH = 250, 6000, 5000  # MLflow takes tags of 8,000; some SQL back ends 5,000
CURVE_POINTS = 1000  # per curve; the full curve is a file of the graph
MOST_SYSTEM, SYSTEM_POINTS = 40, 60  # series of the machine, and points of each; the record has all
COPIED_FOLDERS = ("metrics", "results", "reports", "plots")
COPIED_SUFFIXES = (".json", ".csv", ".parquet", ".html")
ROOM = re.compile(r"components\.stage (\w+)")
CODE_SUFFIXES = (".py", ".toml", ".txt")


class Figure(BaseModel):
    """One value of one MLflow metric."""

    key: str
    value: float
    step: int = 0
    timestamp: int = 0  # Unix time, milliseconds; 0: that of the figures around it


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


def figures(record: Record, tables: headline.Tables, params: TrackingParams) -> list[Figure]:
    """The metrics of the run: a dozen figures and curves, and what the execution cost."""
    cost = {"system/seconds": record.seconds, "system/peak_memory_bytes": float(record.peak_memory_bytes)}
    single = headline.shown(record, tables, params) | cost
    found = [Figure(key=clean_key(key), value=value) for key, value in single.items()]
    for name, points in islice(record.curves.items(), headline.MOST_CURVES):
        key = clean_key(f"curve/{name}")
        found += [
            Figure(key=key, value=p["value"], step=int(p["step"]))
            for p in thinned(points)
            if {"step", "value"} <= p.keys() and headline.number(p["value"]) is not None
        ]
    found += usage(record)
    return [figure for figure in found if math.isfinite(figure.value)]  # the record keeps the others


def usage(record: Record) -> list[Figure]:
    """How busy the machine was, as series under the names of MLflow's page of system metrics."""
    return [
        Figure(
            key=clean_key(f"system/{name}"),
            value=point["value"],
            step=step,
            timestamp=round((record.started + point["seconds"]) * 1000),
        )
        for name, points in islice(record.system.items(), MOST_SYSTEM)
        for step, point in enumerate(thinned(points, SYSTEM_POINTS))
        if {"seconds", "value"} <= point.keys()
    ]


def thinned(points: list[dict[str, float]], most: int = CURVE_POINTS) -> list[dict[str, float]]:
    """At most ``most`` points, evenly spread, first and last among them."""
    if len(points) <= most:
        return points
    last = len(points) - 1
    return [points[round(i * last / (most - 1))] for i in range(most)]


def pipeline_figures(tables: headline.Tables, params: TrackingParams) -> list[Figure]:
    """What a stage says to its pipeline run: the headline file, or the first figure of each system."""
    flat = {key: value for table in tables.values() for key, value in table.items()}
    found = {key: headline.number(value) for key, value in flat.items() if not isinstance(value, dict)}
    for name, table in tables.items():
        if shown := params.headline.get(name):
            own = headline.evaluated(table, shown.variant, shown)
            found |= {f"{name}.{metric}": value for metric, value in list(own.items())[:1]}
    return [Figure(key=clean_key(k), value=v) for k, v in found.items() if v is not None]


def pipeline_name(join: Origin, started: float, what: str = "") -> str:
    """What a person calls a pipeline run: what ran, commit, and when it began (UTC).

    MLflow's table cuts names early, so what tells runs apart comes first; the experiment says the catalogue,
    and the profile stands here only where it is another (``--set``).
    """
    when = time.strftime("%d %b %H:%M", time.gmtime(started)) if started else ""
    dirty = "+" if join.code.dirty else ""
    commit = f"{join.code.commit[:7]}{dirty}" if join.code.commit else ""
    profile = "" if join.profile == join.catalogue else join.profile
    return " · ".join(part for part in (what, profile, commit, when) if part) or "run"


def room_of(join: Join) -> str:
    """The component that a stage's command names: ``vlclip`` of ``... components.stage vlclip.model``."""
    found = ROOM.search(str(join.entry.cmd)) if join.entry else None
    return found[1] if found else ""


def stage_name(stage: str) -> str:
    """A stage as a person calls it; those of studies without the place of their graph."""
    place, _, name = stage.rpartition(":")
    return f"{name} (study)" if place else stage


def table_tag(tables: Mapping[str, str]) -> dict[str, str]:
    """The tag by which MLflow knows that artifacts are tables."""
    shown = [{"path": name, "type": "table"} for name in tables]
    return {"mlflow.loggedArtifacts": json.dumps(shown)} if shown else {}


def common_tags(join: Origin) -> dict[str, str]:
    """Tags that a pipeline run and its stage runs share."""
    dirty = "" if join.code.dirty is None else str(join.code.dirty).lower()
    return {
        "vitrine.pipeline_run": join.pipeline,
        "vitrine.prefect_run": join.prefect_run,
        "vitrine.profile": join.profile,
        CATALOGUE: join.catalogue,
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


def metric_tables(files: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """The metrics files among ``files``, parsed, by stem; what is no JSON mapping is kept as a file only."""
    tables: dict[str, dict[str, Any]] = {}
    for path, file in sorted(files.items()):
        if path.startswith("metrics/") and path.endswith(".json"):
            try:
                loaded = json.loads(file.read_text(encoding="utf-8"))
            except ValueError:
                continue
            if isinstance(loaded, dict):
                tables[Path(path).stem] = loaded
    return tables


def logged_tables(record: Record, tables: headline.Tables) -> dict[str, str]:
    """File -> contents of the tables that MLflow shows: all figures, and the paired tests."""
    found = {}
    if rows := headline.figure_rows(record, tables):
        found["figures.json"] = headline.logged_table(headline.COLUMNS, rows)
    if rows := headline.paired_rows(tables):
        found["paired_tests.json"] = headline.logged_table(headline.TESTS, rows)
    return found


def lay_out(folder: Path, record: Record, join: Join, files: Mapping[str, Path]) -> None:
    """Put the run's files into ``folder`` under their own names, with tables, record and lock entry."""
    for name, text in logged_tables(record, metric_tables(files)).items():
        (folder / name).write_text(text, encoding="utf-8")
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

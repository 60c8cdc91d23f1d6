"""What a stage's MLflow run says: names, parameters, tags, files; and how they are written.

What is said is a pure function of the record, its lock entry and files named by hash: writing a run twice
writes the same.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.stage.record import Record
from components.tracking.lineage.lockfile import LockEntry, Output, digest, located
from components.tracking.publish import figures
from components.tracking.publish.figures import Figure
from components.tracking.publish.pending import Join, Origin
from components.tracking.store import CATALOGUE

# MLflow's limits (mlflow.utils.validation)
KEY_LENGTH, PARAM_LENGTH, TAG_LENGTH = 250, 6000, 5000  # MLflow takes tags of 8,000; some SQL back ends 5,000
OUT, DEP = "vitrine.out.", "vitrine.dep."  # tags: hashes of what a stage made and read
NO_FIGURES = ("system/", "timing/", "curve/")  # metrics that say nothing of how well
COPIED_FOLDERS = ("metrics", "results", "reports", "plots")
COPIED_SUFFIXES = (".json", ".csv", ".parquet", ".html")
CODE_SUFFIXES = (".py", ".toml", ".txt")
ROOM = re.compile(r"components\.stage (\w+)")


@dataclass(frozen=True)
class StageRun:
    """A stage's run while it is written: MLflow's client and run, and what the stage left behind."""

    client: Any
    run: Any
    record: Record
    join: Join

    @property
    def ended(self) -> int:
        """When the stage ended, Unix milliseconds."""
        return milliseconds(self.record.started + self.record.seconds)


@dataclass(frozen=True)
class Entries:
    """What is written into a run; ``timestamp`` is that of figures without their own, Unix milliseconds.

    ``measured`` says of which model and data set the figures are, as fields of MLflow's ``Metric``.
    """

    figures: Sequence[Figure] = ()
    timestamp: int = 0
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    measured: Mapping[str, str] = field(default_factory=dict)


def log(client: Any, run_id: str, entries: Entries) -> None:
    """Write entries to a run; MLflow's client parts them into batches that the store takes."""
    from mlflow.entities import Metric, Param, RunTag

    metrics = [
        Metric(clean_key(f.key), f.value, f.timestamp or entries.timestamp, f.step, **entries.measured)
        for f in entries.figures
    ]
    params = [Param(key, value) for key, value in entries.params.items()]
    tags = [RunTag(key, value) for key, value in entries.tags.items()]
    client.log_batch(run_id, metrics, params, tags, synchronous=True)


@contextmanager
def artifacts(log_artifacts: Any, owner: str) -> Iterator[Path]:
    """A folder whose files are logged for the run or model ``owner`` in the end, if there are any."""
    with tempfile.TemporaryDirectory(prefix="vitrine-") as folder:
        yield Path(folder)
        if any(Path(folder).iterdir()):
            log_artifacts(owner, folder)


def milliseconds(seconds: float) -> int:
    """MLflow's unit of time."""
    return round(seconds * 1000)


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


def cleaned(values: Mapping[str, str], limit: int) -> dict[str, str]:
    """Parameters or tags that MLflow takes: names cleaned, values cut, empty ones left out."""
    return {clean_key(key): shortened(value, limit) for key, value in values.items() if value}


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


def pipeline_name(join: Origin, started: float, what: str = "") -> str:
    """What a person calls a pipeline run: what ran, commit, and when it began (UTC).

    MLflow's table cuts names early, so what tells runs apart comes first; the experiment says the catalogue,
    and the profile stands here only where it is another (``--set``).
    """
    when = time.strftime("%d %b %H:%M", time.gmtime(started)) if started else ""
    dirty = "+" if join.code.dirty and join.code.commit else ""
    profile = "" if join.profile == join.catalogue else join.profile
    parts = (what, profile, f"{join.code.commit[:7]}{dirty}", when)
    return " · ".join(filter(None, parts)) or "run"


def room_of(join: Join) -> str:
    """The component that a stage's command names: ``vlclip`` of ``... components.stage vlclip.model``."""
    found = ROOM.search(str(join.entry.cmd)) if join.entry else None
    return found[1] if found else ""


def stage_name(stage: str) -> str:
    """A stage as a person calls it; those of studies without the place of their graph."""
    place, _, name = stage.rpartition(":")
    return f"{name} (study)" if place else stage


def common_tags(join: Origin) -> dict[str, str]:
    """Tags that a pipeline run, its stage runs and their evaluations share; those that say something."""
    tags = {
        "vitrine.pipeline_run": join.pipeline,
        "vitrine.prefect_run": join.prefect_run,
        "vitrine.profile": join.profile,
        CATALOGUE: join.catalogue,
        "vitrine.git_commit": join.code.commit,
        "vitrine.dirty": "" if join.code.dirty is None else str(join.code.dirty).lower(),
        "mlflow.source.git.commit": join.code.commit,
    }
    return {key: value for key, value in tags.items() if value}


def tags(record: Record, join: Join) -> dict[str, str]:
    """Tags of a stage's run: where it comes from, and the hash of everything it read and wrote.

    Code is tagged as one hash: a stage may depend on dozens of modules.
    """
    entry = join.entry or LockEntry()
    found = common_tags(join) | {
        "vitrine.kind": "stage",
        "vitrine.stage": record.stage,
        "vitrine.record": record.id,
        "vitrine.params_hash": digest(entry.params if join.entry else record.parameters),
        "vitrine.exit_code": str(record.exit_code),
        "vitrine.error": record.error,
        "vitrine.no_lock_entry": join.reason,
        "mlflow.source.name": str(entry.cmd),
    }
    if join.entry:
        code = sorted((dep.path, dep.md5) for dep in entry.deps if is_code(dep.path))
        found |= {"vitrine.lock_entry": entry.digest(), "vitrine.code": digest(code)}
    found |= {f"{OUT}{out.name}": out.md5 for out in entry.outs}
    found |= {f"{DEP}{dep.name}": dep.md5 for dep in entry.deps if not is_code(dep.path)}
    return cleaned(found, TAG_LENGTH)


def is_code(path: str) -> bool:
    """Is a dependency source code?"""
    return path.endswith(CODE_SUFFIXES)


def evidence(root: Path, join: Join, limit_bytes: int) -> dict[str, Path]:
    """Files of the entry worth keeping in MLflow: metrics, per-query results, pages, plots; no models.

    Relative path -> a local file with the recorded bytes. Files above ``limit_bytes`` stay in DVC alone.
    """

    def _kept(output: Output) -> bool:
        return output.path.split("/")[0] in COPIED_FOLDERS and (output.size or 0) <= limit_bytes

    outs = filter(_kept, join.entry.outs if join.entry else ())
    found = {path: file for out in outs for path, file in located(root, out).items()}
    wanted = {path: file for path, file in found.items() if path.endswith(COPIED_SUFFIXES)}
    return {path: file for path, file in wanted.items() if file.stat().st_size <= limit_bytes}


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


def logged_tables(record: Record, tables: figures.Tables) -> dict[str, str]:
    """File -> contents of the tables that MLflow shows: all figures, and the paired tests."""
    found = {
        "figures.json": (figures.COLUMNS, figures.figure_rows(record, tables)),
        "paired_tests.json": (figures.TESTS, figures.paired_rows(tables)),
    }
    return {name: figures.logged_table(columns, rows) for name, (columns, rows) in found.items() if rows}


def lay_out(
    folder: Path, record: Record, join: Join, files: Mapping[str, Path], tables: Mapping[str, str]
) -> None:
    """Put the run's files into ``folder`` under their own names, with tables, record and lock entry."""
    for path, file in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / path)
    texts = {**tables, "record.json": json.dumps(record.model_dump(), indent=1, sort_keys=True)}
    if join.entry:
        texts["lock_entry.json"] = json.dumps(join.entry.model_dump(), indent=1)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
